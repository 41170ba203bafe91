"""What the engine trains: a frozen backbone, and parts that learn from its features or from images."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from aseg_bench.errors import InputError
from aseg_bench.training.backbone import Backbone


class Network(nn.Module):
    """A module whose call gives anomaly maps (B, H, W) of images (B, 3, H, W), RGB in [0, 255].

    Args:
        backbone: frozen.

    Attributes:
        sees_images: a batch is images (B, 3, H, W) as above; else features as the backbone gives them, a tensor
            (B, C, H, W) per level.
        learns_in_turns: not all parts learn in every step.
        needs_categories: its call, ``losses`` and ``pairs`` also take ``categories``, one for each image of the batch.
        tells_apart: it has ``judged``; else ``pairs``, the targets and reconstructions (B, C, ...positions) of a batch.
        about: plain values that the record of a run keeps.
    """

    sees_images: ClassVar[bool] = False
    learns_in_turns: ClassVar[bool] = False
    needs_categories: bool = False
    tells_apart: bool = False

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone
        self.about: Mapping[str, Any] = {}

    def told(self, categories: Sequence[str]) -> dict[str, Any]:
        """What it takes beside a batch of images of these categories: them, if it ``needs_categories``, or nothing."""
        return {"categories": categories} if self.needs_categories else {}

    def losses(self, batch: Any, progress: float = 0.0) -> dict[str, Tensor]:
        """Named terms whose sum is minimised after a share of the training; draws come from torch's generator."""
        raise NotImplementedError

    def pairs(self, batch: Any) -> Any:
        """Targets and reconstructions (B, C, ...positions) per level, of a model that reconstructs."""
        raise NotImplementedError

    def judged(self, batch: Any) -> tuple[Tensor, Tensor]:
        """Scores of what is normal and of what was spoilt: higher is more normal, 0 undecided."""
        raise NotImplementedError

    def set_categories(self, names: Sequence[str]) -> None:
        """Tell a model that needs categories which there are, before it is trained."""
        raise NotImplementedError

    def parameter_groups(self) -> list[dict[str, Any]]:
        """What the optimiser trains, in groups that may have a ``rate_share`` of the learning rate."""
        return [{"params": [parameter for parameter in self.parameters() if parameter.requires_grad]}]

    def level_maps(self, images: Tensor) -> Tensor:
        """Maps of the single levels (B, levels, H, W) of images (B, 3, H, W), shallowest first.

        Raises:
            InputError: the model knows no levels.
        """
        raise InputError("this model has one map per image, not one per level")
