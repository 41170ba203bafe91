"""Every number of ViTAD, from the authors' configuration for MVTec-AD. No torch is needed to read them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from aseg_bench.training.settings import OFFLINE_BACKBONE, ImageSize, TrainingSettings


@dataclass(frozen=True)
class ViTADSettings(TrainingSettings):
    """Every number of ViTAD; the defaults are the authors' configuration for MVTec-AD.

    Attributes:
        blocks: of a plain transformer as encoder: those after which its features are rebuilt, and last the one that
            the decoder starts from.
        strides: of a convolutional backbone in its place, which is not the paper's: the strides of the same features.
            Those that are rebuilt are brought to the grid of the last of them, and so is what the decoder starts from.
        channels: width of the decoder.
        n_heads: of its attentions.
        n_layers: of the decoder; the features are rebuilt after equal parts of them, the deepest first.
        smoothing: deviation in pixels of the Gaussian over the map.
    """

    image_size: ImageSize = 256
    backbone: str = "vit_small_patch16_224.dino"
    n_epochs: PositiveInt = 100
    batch_size: PositiveInt = 8
    step_share: PositiveFloat = 0.8
    clip_norm: NonNegativeFloat = 5.0
    blocks: tuple[PositiveInt, ...] = (3, 6, 9, 12)
    strides: tuple[PositiveInt, ...] = (4, 8, 16, 32)
    channels: PositiveInt = 384
    n_heads: PositiveInt = 6
    n_layers: PositiveInt = 9
    smoothing: NonNegativeFloat = 4.0


_CPU = ViTADSettings(
    image_size=224,
    backbone=OFFLINE_BACKBONE,  # weights come with the package, those of the paper's DINO ViT-S/16 with none
    channels=192,  # a ViT-Ti, half as wide
    n_heads=3,
    sampling="balanced",  # our choice: in small sets the categories differ much in size
    n_steps=1200,
    learning_rate=1e-3,  # a short training, which ends at a small rate
    schedule="one_cycle",
    clip_norm=1.0,
)
PRESETS: Mapping[str, ViTADSettings] = {
    "paper": ViTADSettings(),
    "cpu": _CPU,
    "quick": replace(_CPU, n_steps=400),
}
