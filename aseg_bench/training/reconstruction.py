"""The frame of every feature-reconstruction model: frozen backbone, scaling of its features, and a decoder."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from aseg_bench.errors import InputError
from aseg_bench.training.backbone import Backbone
from aseg_bench.training.features import FeatureScaler
from aseg_bench.training.network import Network


class Decoder(Protocol):
    """The part that learns: it reconstructs normal features.

    One that tells them from others instead has, in the place of ``pairs``, a method ``judged``: its scores of scaled
    features and of the same features spoilt, higher is more normal, 0 undecided; what it draws comes from torch's
    generator. One may also have ``level_maps``, and ``parameter_groups`` for the optimiser, each with a ``rate_share``
    of the learning rate.

    One that must be told the category of every image has ``categories``, the names that it knows, and
    ``set_categories``, which a training calls before anything else; its other methods take ``labels`` as well, (B,)
    places in ``categories``.
    """

    def pairs(self, features: Sequence[Tensor]) -> Sequence[tuple[Tensor, Tensor]]:
        """What is reconstructed of scaled features, and the reconstruction: (B, C, ...positions) per level."""

    def losses(self, features: Sequence[Tensor]) -> dict[str, Tensor]:
        """Named terms whose sum is minimised, for scaled features, one (B, C, H, W) per level."""

    def anomaly_map(self, features: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        """Anomaly score per pixel, (B, height, width), at the size given."""


class FeatureReconstruction(Network):
    """Backbone, scaler and decoder as one module.

    Args:
        backbone: frozen.
        scaler: passes features unchanged until its ``fit`` is called.
        decoder: an nn.Module that meets ``Decoder``.
    """

    def __init__(self, backbone: Backbone, scaler: FeatureScaler, decoder: nn.Module) -> None:
        super().__init__(backbone)
        self.scaler, self.decoder = scaler, decoder
        self.tells_apart = hasattr(decoder, "judged")
        self.needs_categories = hasattr(decoder, "set_categories")

    def forward(self, images: Tensor, categories: Sequence[str] = ()) -> Tensor:
        """Anomaly maps (B, H, W) of images (B, 3, H, W), RGB in [0, 255].

        Raises:
            InputError: the decoder must be told the categories and is not, or does not know one.
        """
        height, width = images.shape[-2:]
        size = int(height), int(width)  # numbers, where an exporter that traces the model would have tensors
        return self.anomaly_map(self.backbone(images), size, categories)

    def losses(
        self, batch: Sequence[Tensor], progress: float = 0.0, categories: Sequence[str] = ()
    ) -> dict[str, Tensor]:
        """The decoder's losses on features as the backbone gives them, alike through the whole training."""
        del progress
        terms: dict[str, Tensor]
        terms = self.decoder.losses(self.scaler(batch), **self._labels(categories))  # type: ignore[operator]
        return terms

    def pairs(self, batch: Sequence[Tensor], categories: Sequence[str] = ()) -> Sequence[tuple[Tensor, Tensor]]:
        """The decoder's targets and reconstructions of features as the backbone gives them."""
        found: Sequence[tuple[Tensor, Tensor]]
        found = self.decoder.pairs(self.scaler(batch), **self._labels(categories))  # type: ignore[operator]
        return found

    def judged(self, batch: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """The decoder's scores of features as the backbone gives them, and of the same spoilt."""
        scores: tuple[Tensor, Tensor] = self.decoder.judged(self.scaler(batch))  # type: ignore[operator]
        return scores

    def set_categories(self, names: Sequence[str]) -> None:
        """Tell the decoder which categories there are."""
        self.decoder.set_categories(names)  # type: ignore[operator]

    def parameter_groups(self) -> list[dict[str, Any]]:
        """What the optimiser trains: the decoder's own groups, or all its parameters in one."""
        if hasattr(self.decoder, "parameter_groups"):
            groups: list[dict[str, Any]] = self.decoder.parameter_groups()  # type: ignore[operator]
            return groups
        return super().parameter_groups()

    def anomaly_map(self, features: Sequence[Tensor], size: Sequence[int], categories: Sequence[str] = ()) -> Tensor:
        """The decoder's maps (B, height, width) on features as the backbone gives them."""
        told = self._labels(categories)
        maps: Tensor = self.decoder.anomaly_map(self.scaler(features), size, **told)  # type: ignore[operator]
        return maps

    def level_maps(self, images: Tensor) -> Tensor:
        """The decoder's maps of the single levels, where it has them."""
        if not hasattr(self.decoder, "level_maps"):
            return super().level_maps(images)
        by_level: Callable[..., Tensor] = self.decoder.level_maps  # type: ignore[assignment]
        return by_level(self.scaler(self.backbone(images)), images.shape[-2:])

    def _labels(self, categories: Sequence[str]) -> dict[str, Tensor]:
        """What the decoder is told beside features: nothing, or the places of these categories among those it knows.

        Raises:
            InputError: it must be told and is not, or does not know one.
        """
        if not self.needs_categories:
            return {}
        known: Sequence[str] = self.decoder.categories  # type: ignore[assignment]
        if not categories:
            raise InputError(f"this model must be told the category of every image; it knows {', '.join(known)}")
        unknown = sorted(set(categories) - set(known))
        if unknown:
            raise InputError(
                f"this model knows only the categories that it was trained on, {', '.join(known)}, and not "
                f"{', '.join(unknown)}; train it on normal images of these too, or leave them out with --categories"
            )
        return {"labels": torch.tensor([known.index(name) for name in categories], device=self.backbone.mean.device)}
