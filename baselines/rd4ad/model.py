"""RD4AD, written from the paper and from facts of the authors' release (commit 6554076); no code is taken from it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from aseg_bench.errors import InputError
from aseg_bench.methods import MethodOptions
from aseg_bench.training.backbone import Backbone
from aseg_bench.training.checkpoints import load_renamed
from aseg_bench.training.features import FeatureScaler, smoothed
from aseg_bench.training.method import TrainedMethod
from aseg_bench.training.official import state_in
from aseg_bench.training.reconstruction import FeatureReconstruction
from aseg_bench.training.settings import settings_for
from baselines.rd4ad.embedding import MultiScaleFusion, OneClassEmbedding
from baselines.rd4ad.settings import PRESETS, RD4ADSettings
from baselines.rd4ad.student import StudentDecoder

STRIDES = (4, 8, 16)  # layers 1 to 3 of a ResNet
_OFFICIAL = {
    "bn.conv1.": "fusion.paths.0.0.",
    "bn.bn1.": "fusion.paths.0.1.",
    "bn.conv2.": "fusion.paths.0.3.",
    "bn.bn2.": "fusion.paths.0.4.",
    "bn.conv3.": "fusion.paths.1.0.",
    "bn.bn3.": "fusion.paths.1.1.",
    "bn.bn_layer.": "embedding.",
    "decoder.layer1.": "student.stages.0.",
    "decoder.layer2.": "student.stages.1.",
    "decoder.layer3.": "student.stages.2.",
    ".downsample.": ".shortcut.",
    ".upsample.": ".shortcut.",
}


class ReverseDistillation(nn.Module):
    """Embedding, student, and the cosine distance between teacher and student (section 3).

    Args:
        level_channels: channels of the teacher's levels, shallowest first.
        settings: the other numbers.
    """

    def __init__(self, level_channels: Sequence[int], settings: RD4ADSettings) -> None:
        super().__init__()
        deepest = level_channels[-1]
        self.smoothing = settings.smoothing
        self.fusion = MultiScaleFusion(level_channels)
        self.embedding = OneClassEmbedding(
            len(level_channels) * deepest, 2 * deepest, settings.n_embedding_blocks, settings.block_width
        )
        self.student = StudentDecoder(
            2 * deepest, level_channels, settings.n_student_blocks, settings.block_width, settings.rectified
        )

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """The student's features, in the shapes of the teacher's."""
        levels: list[Tensor] = self.student(self.embedding(self.fusion(features)))
        return levels

    def losses(self, features: Sequence[Tensor]) -> dict[str, Tensor]:
        """One minus the cosine per level, each image's level as one long vector.

        The paper averages the cosine distance of each position (eq. 2); the authors' code does this.
        """
        return {
            f"level_{number}": (1 - functional.cosine_similarity(teacher.flatten(1), student.flatten(1))).mean()
            for number, (teacher, student) in enumerate(zip(features, self(features), strict=True), start=1)
        }

    def pairs(self, features: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """Features of teacher and student, (B, C, positions) per level.

        The loss leaves the scale of an image's level free, so it is the one that fits best.
        """
        found = []
        for teacher, student in zip(features, self(features), strict=True):
            scale = (teacher * student).sum((1, 2, 3)) / student.square().sum((1, 2, 3)).clamp_min(1e-12)
            found.append((teacher.flatten(2), (student * scale.view(-1, 1, 1, 1)).flatten(2)))
        return found

    def level_maps(self, features: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        """Cosine distance per position (eq. 1), upsampled and smoothed, (B, levels, height, width) in [0, 2]."""
        maps = [
            functional.interpolate(
                1 - functional.cosine_similarity(teacher, student)[:, None],
                tuple(size),
                mode="bilinear",
                align_corners=True,
            )
            for teacher, student in zip(features, self(features), strict=True)
        ]
        return smoothed(torch.cat(maps, dim=1), self.smoothing)

    def anomaly_map(self, features: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        """Sum of the levels' maps (section 3.3), (B, height, width)."""
        return self.level_maps(features, size).sum(1)


def build_rd4ad(settings: RD4ADSettings, weights: Path | None = None, pretrained: bool = True) -> FeatureReconstruction:
    """RD4AD as a module: ``model(images)`` maps RGB images (B, 3, H, W) in [0, 255] to (B, H, W).

    Args:
        settings: every number.
        weights: file with the backbone's weights.
        pretrained: False leaves the backbone random, for a checkpoint that holds its weights.

    Raises:
        InputError: numbers do not fit together, or the backbone lacks a stride.
        MissingWeightsError: the backbone's weights cannot be found.
    """
    settings.grid((*STRIDES, 2 * STRIDES[-1]))
    if len(settings.n_student_blocks) != len(STRIDES):
        raise InputError(f"n_student_blocks {settings.n_student_blocks}: one number for each of {len(STRIDES)} levels")
    backbone = Backbone(settings.backbone, STRIDES, weights, pretrained)
    decoder = ReverseDistillation(backbone.channels, settings)
    return FeatureReconstruction(backbone, FeatureScaler(backbone.channels), decoder)


def load_official(model: FeatureReconstruction, content: Mapping[str, Any]) -> None:
    """Load what the authors' ``main.py`` saves: the state dicts ``bn`` and ``decoder``, for the preset ``paper``.

    Raises:
        InputError: an entry has no place here, has another shape, or is missing.
    """
    parts = {part: state_in(content, part) for part in ("bn", "decoder")}
    load_renamed(model.decoder, parts, _OFFICIAL, unused=("bn.conv4.", "bn.bn4."))


def make_method(options: MethodOptions) -> TrainedMethod:
    """RD4AD as the runner uses it."""
    settings = settings_for(PRESETS, options)
    return TrainedMethod("rd4ad", lambda: build_rd4ad(settings, options.backbone_weights), settings, options)
