"""Every number of SimpleNet, from the authors' code unless a section is named. No torch is needed to read them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from aseg_bench.training.settings import OFFLINE_BACKBONE, ImageSize, TrainingSettings


@dataclass(frozen=True)
class SimpleNetSettings(TrainingSettings):
    """Every number of SimpleNet; the defaults are the authors' for one category of MVTec-AD, here for all in one.

    40 times 4 epochs of batches of 8, the discriminator at 0.0002 with a decay of 0.00001, the adaptor at 0.0001, no
    schedule, no limit on the gradient. Three departures: whole images of 288 x 288 in the place of their middle, cut
    from 329, outside which nothing would be scored; the discriminator's decay is AdamW's, where the authors add it to
    Adam's gradient; and the last step's weights, where the authors keep those with the best score on test images.

    Attributes:
        embedding: channels of the local features, to which those of each level and then those of all are averaged; 0
            keeps the channels of all levels, side by side (section 3.1).
        adaptor_rate_share: learning rate of the adaptor over that of the discriminator.
        adaptor_weight_decay: of the adaptor, that of PyTorch's AdamW.
        noise: deviation of the noise on adapted features (section 3.3).
        hidden: hidden units of the discriminator.
        margin: of the truncated L1 loss (section 3.5).
        smoothing: deviation in pixels of the Gaussian over the map.
    """

    image_size: ImageSize = 288
    backbone: str = "wide_resnet50_2.tv_in1k"
    n_epochs: PositiveInt = 160
    batch_size: PositiveInt = 8
    learning_rate: PositiveFloat = 2e-4
    weight_decay: NonNegativeFloat = 1e-5
    step_share: PositiveFloat = 1.0
    clip_norm: NonNegativeFloat = 0.0
    embedding: NonNegativeInt = 1536
    adaptor_rate_share: PositiveFloat = 0.5
    adaptor_weight_decay: NonNegativeFloat = 0.01
    noise: PositiveFloat = 0.015
    hidden: PositiveInt = 1024
    margin: PositiveFloat = 0.5
    smoothing: NonNegativeFloat = 4.0


_CPU = SimpleNetSettings(
    image_size=224,
    backbone=OFFLINE_BACKBONE,  # weights come with the package
    feature_scaling="z_score",  # as in the cpu presets of UniAS and UniAD: one noise fits all channels
    sampling="balanced",  # our choice: in small sets the categories differ much in size
    n_steps=4500,  # about as long as UniAS, on two cores
    embedding=0,  # the levels have 152 channels together
    noise=0.25,  # our choice: features are of deviation 1 here, where the authors' 0.015 is for raw ones
    hidden=512,
)

PRESETS: Mapping[str, SimpleNetSettings] = {
    "paper": SimpleNetSettings(),
    "cpu": _CPU,
    "quick": replace(_CPU, n_steps=1500),
}
