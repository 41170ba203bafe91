"""SimpleNet, written from the paper and facts of the authors' release (commit 351a2b8); no code is taken from it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from aseg_bench.methods import MethodOptions
from aseg_bench.training.backbone import Backbone
from aseg_bench.training.checkpoints import load_renamed
from aseg_bench.training.features import FeatureScaler, smoothed
from aseg_bench.training.method import TrainedMethod
from aseg_bench.training.official import state_in
from aseg_bench.training.reconstruction import FeatureReconstruction
from aseg_bench.training.settings import settings_for
from baselines.simplenet.discriminator import Discriminator
from baselines.simplenet.local_features import LocalFeatures
from baselines.simplenet.settings import PRESETS, SimpleNetSettings

STRIDES = (8, 16)  # layers 2 and 3 of a ResNet
_OFFICIAL = {
    "pre_projection.layers.0fc.": "adaptor.",
    "discriminator.body.block1.": "discriminator.",
    "discriminator.tail.": "discriminator.3.",
}


class SimpleNet(nn.Module):
    """Local features, their adaptor, noise, and the discriminator of both (section 3).

    Args:
        level_channels: channels of the levels, shallowest first.
        settings: the other numbers.
    """

    def __init__(self, level_channels: Sequence[int], settings: SimpleNetSettings) -> None:
        super().__init__()
        self.noise, self.margin, self.smoothing = settings.noise, settings.margin, settings.smoothing
        self._adaptor_group = {
            "rate_share": settings.adaptor_rate_share,
            "weight_decay": settings.adaptor_weight_decay,
        }
        self.local_features = LocalFeatures(level_channels, settings.embedding)
        channels = self.local_features.channels
        self.adaptor = nn.Linear(channels, channels)  # section 3.2
        nn.init.xavier_normal_(self.adaptor.weight)
        self.discriminator = Discriminator(channels, settings.hidden)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Adapted local features, (B, rows, columns, C)."""
        local = self.local_features(features).permute(0, 2, 3, 1)  # (B, C, rows, columns) -> (B, rows, columns, C)
        adapted: Tensor = self.adaptor(local)
        return adapted

    def judged(self, features: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """The discriminator's scores of adapted features, and of the same with Gaussian noise (section 3.3), (N, 1)."""
        normal = self(features).flatten(0, 2)
        anomalous = normal + self.noise * torch.randn_like(normal)
        scores: Tensor = self.discriminator(torch.cat([normal, anomalous]))  # one batch: normalised with both, as one
        return scores[: len(normal)], scores[len(normal) :]

    def losses(self, features: Sequence[Tensor]) -> dict[str, Tensor]:
        """Truncated L1 loss (section 3.5): scores count up to the margin on their side of 0."""
        normal, anomalous = self.judged(features)
        return {
            "normal": functional.relu(self.margin - normal).mean(),
            "noisy": functional.relu(self.margin + anomalous).mean(),
        }

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The adaptor learns at a rate of its own."""
        return [
            {"params": list(self.adaptor.parameters()), **self._adaptor_group},
            {"params": list(self.discriminator.parameters())},
        ]

    def anomaly_map(self, features: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        """Negative scores (section 3.6), upsampled and smoothed, (B, height, width)."""
        adapted = self(features)
        scores = -self.discriminator(adapted.flatten(0, 2)).view(-1, 1, *adapted.shape[1:3])
        maps = functional.interpolate(scores, tuple(size), mode="bilinear", align_corners=False)[:, 0]
        return smoothed(maps, self.smoothing)


def build_simplenet(
    settings: SimpleNetSettings, weights: Path | None = None, pretrained: bool = True
) -> FeatureReconstruction:
    """SimpleNet as a module: ``model(images)`` maps RGB images (B, 3, H, W) in [0, 255] to (B, H, W).

    Args:
        settings: every number.
        weights: file with the backbone's weights.
        pretrained: False leaves the backbone random, for a checkpoint that holds its weights.

    Raises:
        InputError: the image size is not a multiple of the coarsest stride, or the backbone lacks a stride.
        MissingWeightsError: the backbone's weights cannot be found.
    """
    settings.grid(STRIDES)
    backbone = Backbone(settings.backbone, STRIDES, weights, pretrained)
    return FeatureReconstruction(backbone, FeatureScaler(backbone.channels), SimpleNet(backbone.channels, settings))


def load_official(model: FeatureReconstruction, content: Mapping[str, Any]) -> None:
    """Load the authors' ``ckpt.pth``: state dicts ``discriminator`` and ``pre_projection``, for the preset ``paper``.

    Raises:
        InputError: an entry has no place here, has another shape, or is missing.
    """
    parts = {part: state_in(content, part) for part in ("discriminator", "pre_projection")}
    load_renamed(model.decoder, parts, _OFFICIAL)


def make_method(options: MethodOptions) -> TrainedMethod:
    """SimpleNet as the runner uses it."""
    settings = settings_for(PRESETS, options)
    return TrainedMethod("simplenet", lambda: build_simplenet(settings, options.backbone_weights), settings, options)
