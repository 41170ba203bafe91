"""Every number of HVQ-Trans, from the authors' code unless said otherwise. No torch is needed to read them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from aseg_bench.training.settings import OFFLINE_BACKBONE, Share, TrainingSettings


@dataclass(frozen=True)
class HVQTransSettings(TrainingSettings):
    """Every number of HVQ-Trans; the defaults are the authors' configuration for MVTec-AD.

    Three departures: the backbone stays as it was trained, where the authors leave its batch normalisation and its
    dropped blocks in training mode; the images of a batch are all quantised before they move the codes, where the
    authors' do so one after the other; and maps are reconstruction errors alone, as in the authors' ``train_val.py``,
    without the transport score that they add for the paper's numbers.

    Attributes:
        channels: width of the encoder; the decoder's is twice as much.
        n_layers: encoder layers, and as many decoder layers.
        n_heads: of all attentions.
        ffn_channels: hidden units of the feed-forward networks.
        dropout: in all layers.
        n_codes: of a codebook; each category has one for each encoder output, the projected features among them.
        code_decay: of the moving averages that are the codes.
        commitment: weight of the distance between what is quantised and its code.
        restart_below: codes whose moving count falls below this start again at vectors of the image at hand; 0 never,
            as in the authors' code.
    """

    batch_size: PositiveInt = 16
    step_share: PositiveFloat = 0.8
    channels: PositiveInt = 256
    n_layers: PositiveInt = 4
    n_heads: PositiveInt = 8
    ffn_channels: PositiveInt = 1024
    dropout: Share = 0.1
    n_codes: PositiveInt = 512
    code_decay: Share = 0.99
    commitment: NonNegativeFloat = 0.25
    restart_below: NonNegativeFloat = 0.0


_CPU = HVQTransSettings(
    backbone=OFFLINE_BACKBONE,  # weights come with the package
    feature_scaling="z_score",  # as in the cpu presets of UniAS and UniAD
    channels=128,
    ffn_channels=512,
    sampling="balanced",  # our choice: in small sets the categories differ much in size
    n_steps=900,
    batch_size=8,
    learning_rate=1e-3,
    schedule="one_cycle",
    clip_norm=1.0,
    dropout=0.0,  # a short training underfits, and drawing masks takes time
    restart_below=0.1,  # of codes drawn at random, after 60 steps 2 to 22 of 512 are in use
)
PRESETS: Mapping[str, HVQTransSettings] = {
    "paper": HVQTransSettings(),
    "cpu": _CPU,
    "quick": replace(_CPU, n_steps=300),
}
