"""Every number of DeSTSeg, from the authors' code unless a section is named. No torch is needed to read them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from aseg_bench.training.settings import OFFLINE_BACKBONE, ImageSize, Share, TrainingSettings

_MVTEC_UPRIGHT = frozenset({"cable", "wood", "zipper"})  # tilted only
_MVTEC_TURNED = frozenset({"bottle", "carpet", "grid", "hazelnut", "leather", "screw", "tile"})


@dataclass(frozen=True)
class DeSTSegSettings(TrainingSettings):
    """Every number of DeSTSeg; the defaults are the authors' for one category of MVTec-AD, here for all in one.

    SGD with momentum 0.9 and a decay of 0.0001, the student at 0.4 for 1000 steps, then the segmentation's residual
    blocks at 0.1 and its head at 0.01 for 4000, batches of 32, images of 256 x 256, no schedule, no limit on the
    gradient. Two departures: batches are filled across the end of an epoch, where the authors leave the last images
    out, and a spoilt image is not cut off to whole grey levels.

    Attributes:
        textures: folder with pictures, in it or below, that are blended into the anomalies: DTD in the paper. Empty
            makes them from the training images, which is not in the paper.
        student_share: share of the training in which the student learns; the segmentation learns in the rest. The
            schedule of the rate runs over either part.
        encoder_channels: of the four stages of the student's encoder, a ResNet; the paper's is that of the teacher.
        encoder_blocks: of these stages.
        rectified: the student's levels end in a ReLU, as those of a ResNet teacher do; False where the teacher's
            features have both signs.
        channels: of the segmentation network.
        dilations: of its ASPP.
        gamma: of the focal loss.
        res_rate_share: learning rate of the segmentation's residual blocks over that of the student.
        head_rate_share: learning rate of the rest of it over that of the student.
        rotate: categories turned by quarters in training; by halves where images are not square.
        tilt: categories turned by up to 5 degrees.
    """

    image_size: ImageSize = 256
    backbone: str = "resnet18.tv_in1k"
    n_steps: NonNegativeInt = 5000
    batch_size: PositiveInt = 32
    optimiser: Literal["adamw", "sgd"] = "sgd"
    learning_rate: PositiveFloat = 0.4
    step_share: PositiveFloat = 1.0
    clip_norm: NonNegativeFloat = 0.0
    textures: str = ""
    student_share: Share = 0.2
    encoder_channels: tuple[PositiveInt, ...] = (64, 128, 256, 512)
    encoder_blocks: tuple[PositiveInt, ...] = (2, 2, 2, 2)
    rectified: bool = True
    channels: PositiveInt = 256
    dilations: tuple[PositiveInt, ...] = (6, 12, 18)
    gamma: NonNegativeFloat = 4.0
    res_rate_share: PositiveFloat = 0.25
    head_rate_share: PositiveFloat = 0.025
    rotate: frozenset[str] = frozenset()
    tilt: frozenset[str] = frozenset()

    def rate(self, progress: float) -> float:
        """Learning rate after a share of the training in [0, 1], its schedule over either part."""
        own = self.student_share
        return super().rate(progress / own if progress < own else (progress - own) / ((1 - own) or 1))


_CPU = DeSTSegSettings(
    image_size=224,
    backbone=OFFLINE_BACKBONE,  # weights come with the package
    sampling="balanced",  # our choice: in small sets the categories differ much in size
    n_steps=1200,
    batch_size=8,
    optimiser="adamw",  # our choice, with all parts at one rate: a short training by SGD stays behind
    learning_rate=2e-3,
    schedule="one_cycle",  # a short training ends at a small rate
    student_share=0.5,
    # not the teacher's network, whose depthwise layers learn slowly from nothing, but a ResNet of half the width and
    # depth; its levels have the channels of EfficientNet's, which end in no ReLU
    encoder_channels=(32, 64, 128, 256),
    encoder_blocks=(1, 1, 1, 1),
    rectified=False,
    channels=32,
    res_rate_share=1.0,
    head_rate_share=1.0,
)
PRESETS: Mapping[str, DeSTSegSettings] = {
    "paper": DeSTSegSettings(rotate=_MVTEC_TURNED, tilt=_MVTEC_TURNED | _MVTEC_UPRIGHT),
    "cpu": _CPU,
    "quick": replace(_CPU, n_steps=400),
}
