"""Every number of RD4AD, from the authors' code unless a section is named. No torch is needed to read them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from aseg_bench.training.settings import OFFLINE_BACKBONE, ImageSize, TrainingSettings


@dataclass(frozen=True)
class RD4ADSettings(TrainingSettings):
    """Every number of RD4AD; the defaults are the authors' for one category of MVTec-AD, here for all in one.

    Adam at 0.005 with betas 0.5 and 0.999, 200 epochs of batches of 16, images of 256 x 256, no augmentation, no
    schedule, no limit on the gradient; so the tables of UniAS ran it, too (its section 4.6). AdamW without decay is
    Adam.

    Attributes:
        block_width: inner channels of a residual block, as a share of those that it gives (Wide-ResNet-50-2: a half).
        n_embedding_blocks: residual blocks of the one-class embedding.
        n_student_blocks: residual blocks of the student's stages, deepest first.
        rectified: the student's levels end in a ReLU, as those of a ResNet teacher do; False where the teacher's
            features have both signs.
        smoothing: deviation in pixels of the Gaussian over the map.
    """

    image_size: ImageSize = 256
    backbone: str = "wide_resnet50_2.tv_in1k"
    n_epochs: PositiveInt = 200
    batch_size: PositiveInt = 16
    learning_rate: PositiveFloat = 5e-3
    weight_decay: NonNegativeFloat = 0.0
    beta_1: NonNegativeFloat = 0.5
    step_share: PositiveFloat = 1.0
    clip_norm: NonNegativeFloat = 0.0
    block_width: PositiveFloat = 0.5
    n_embedding_blocks: PositiveInt = 3
    n_student_blocks: tuple[PositiveInt, ...] = (3, 4, 6)
    rectified: bool = True
    smoothing: NonNegativeFloat = 4.0


_CPU = RD4ADSettings(
    image_size=224,
    backbone=OFFLINE_BACKBONE,  # weights come with the package
    sampling="balanced",  # our choice: in small sets the categories differ much in size
    n_steps=1800,  # about as long as UniAS, on two cores
    schedule="one_cycle",  # a short training ends at a small rate
    # the student mirrors EfficientNet, not ResNet: blocks as wide inside as outside, since its levels have a tenth
    # of the channels, two per stage, and levels that end in no ReLU
    block_width=1.0,
    n_embedding_blocks=1,
    n_student_blocks=(2, 2, 2),
    rectified=False,
)

PRESETS: Mapping[str, RD4ADSettings] = {
    "paper": RD4ADSettings(),
    "cpu": _CPU,
    "quick": replace(_CPU, n_steps=600),
}
