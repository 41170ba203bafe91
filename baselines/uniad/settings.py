"""Every number of UniAD. No torch is needed to read them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from aseg_bench.training.settings import OFFLINE_BACKBONE, Share, TrainingSettings


@dataclass(frozen=True)
class UniADSettings(TrainingSettings):
    """Every number of UniAD; the defaults are the authors' configuration for MVTec-AD.

    Attributes:
        channels: width of the transformer.
        n_layers: encoder layers, and as many decoder layers.
        n_heads: of all attentions.
        ffn_channels: hidden units of the feed-forward networks.
        dropout: in all layers.
        neighbour_size: side of the neighbourhood hidden from all attentions.
        jitter_scale: noise on the features in training, in units of their norm over C.
        jitter_probability: share of the images that get noise.
        norms: ``after`` each attention and feed-forward network, or ``before`` (an option of the authors' code).
        query_scale: deviation of the layer queries before the training; 1 in the authors' code.
    """

    batch_size: PositiveInt = 8
    step_share: PositiveFloat = 0.8
    channels: PositiveInt = 256
    n_layers: PositiveInt = 4
    n_heads: PositiveInt = 8
    ffn_channels: PositiveInt = 1024
    dropout: Share = 0.1
    neighbour_size: NonNegativeInt = 7
    jitter_scale: NonNegativeFloat = 20.0
    jitter_probability: Share = 1.0
    norms: Literal["after", "before"] = "after"
    query_scale: PositiveFloat = 1.0


_CPU = UniADSettings(
    backbone=OFFLINE_BACKBONE,  # weights come with the package
    feature_scaling="z_score",  # as in the cpu preset of UniAS
    channels=128,
    ffn_channels=512,
    sampling="balanced",  # our choice: in small sets the categories differ much in size
    n_steps=1500,  # 1.4 times the time of UniAS's preset cpu, on two cores
    learning_rate=1e-3,
    schedule="one_cycle",
    clip_norm=1.0,
    dropout=0.0,  # a short training underfits, and drawing masks takes half of its time
    jitter_scale=5.0,  # a quarter of the paper's: a short training cannot learn through more
    norms="before",  # with norms after the layers and queries of deviation 1 a short training learns to ignore
    query_scale=0.02,  # what attention finds, and stands at the mean of each category
)

PRESETS: Mapping[str, UniADSettings] = {
    "paper": UniADSettings(),
    "cpu": _CPU,
    "quick": replace(_CPU, n_steps=750),
}
