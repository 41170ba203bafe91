"""Sections 3.1 and 3.3: locally aware patches, and the map of their distances to a bank of normal ones."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from aseg_bench.errors import InputError
from aseg_bench.training.backbone import Backbone
from aseg_bench.training.features import FeatureScaler, smoothed
from aseg_bench.training.reconstruction import FeatureReconstruction
from baselines.patchcore.settings import PatchCoreSettings

_BLOCK = 4096  # entries of the bank that are compared at a time


def averaging(n_channels: int, pool: int, dimensions: int) -> Tensor:
    """Kernel (D, C, pool, pool) of a convolution that averages the C x pool x pool values of a patch to D ones.

    The values lie in this order, and neighbours are averaged as adaptive pooling does it; as a convolution, it can be
    exported.
    """
    each = torch.eye(n_channels * pool * pool)
    return functional.adaptive_avg_pool1d(each, dimensions).T.reshape(dimensions, n_channels, pool, pool)


def nearest_distance(patches: Tensor, bank: Tensor) -> Tensor:
    """Euclidean distance of each patch (N, D) to the nearest entry of a bank (K, D), (N,).

    The nearest is found by |b|^2 - 2ab, whose rounding does not reach the distance: that is taken of the difference.
    """
    with torch.autocast(patches.device.type, enabled=False):  # bfloat16 could not tell near entries apart
        patches = patches.float()
        centre = bank.mean(0)  # |b|^2 and 2ab of vectors far from zero would hide their difference
        centred = patches - centre
        lowest: Tensor | None = None
        index = torch.zeros(0)
        for start in range(0, len(bank), _BLOCK):
            block = bank[start : start + _BLOCK] - centre
            found, place = torch.addmm(block.square().sum(1), centred, block.T, alpha=-2).min(1)
            if lowest is None:
                lowest, index = found, place
            else:
                index = torch.where(found < lowest, place + start, index)
                lowest = torch.minimum(found, lowest)
        distance: Tensor = (patches - bank[index]).norm(dim=1)
        return distance


class MemoryBank(nn.Module):
    """Patch features of normal images, and the distance of others to them; it stands where others have a decoder.

    Args:
        level_channels: channels of the levels, shallowest first.
        grid: rows and columns of patches.
        settings: the other numbers.

    Attributes:
        banks: (K, D) each, empty until they are filled: one, or one per level.
    """

    def __init__(self, level_channels: Sequence[int], grid: tuple[int, int], settings: PatchCoreSettings) -> None:
        super().__init__()
        self.grid, self.settings, self.strides = grid, settings, sorted(set(settings.levels))
        is_joint = settings.combination == "joint"
        widths = [settings.dimensions or width for width in level_channels]
        widths = [settings.dimensions or sum(widths)] if is_joint else widths
        self.n_banks = len(widths)
        for number, width in enumerate(widths):
            self.register_buffer(f"bank_{number}", torch.empty(0, width))
        for number, n_channels in enumerate(level_channels if settings.dimensions else ()):
            kernel = averaging(n_channels, settings.pool, settings.dimensions)
            self.register_buffer(f"kernel_{number}", kernel, persistent=False)

    @property
    def banks(self) -> list[Tensor]:  # noqa: D102 (see the class)
        return [self.get_buffer(f"bank_{number}") for number in range(self.n_banks)]

    def fill(self, banks: Sequence[Tensor]) -> None:
        """Take these banks, (K, D) each, in the place of what there was."""
        for number, bank in enumerate(banks):
            setattr(self, f"bank_{number}", bank)

    def locally_aware(self, number: int, level: Tensor) -> Tensor:
        """Features of a level averaged over their neighbourhood, (B, D, H, W)."""
        pool = self.settings.pool
        mode = "constant" if self.settings.borders == "zeros" else "reflect"
        padded = functional.pad(level, (pool // 2,) * 4, mode)
        if self.settings.dimensions:
            return functional.conv2d(padded, self.get_buffer(f"kernel_{number}"))
        return functional.avg_pool2d(padded, pool, 1)

    def patches(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Locally aware patches (B * rows * columns, D) for each bank, of scaled features (B, C_i, H_i, W_i)."""
        settings, levels = self.settings, []
        for number, level in enumerate(features):
            pooled, finer = self.locally_aware(number, level), settings.stride // self.strides[number]
            levels.append(
                functional.avg_pool2d(pooled, finer)
                if finer > 1
                else functional.interpolate(pooled, self.grid, mode="bilinear", align_corners=False)
            )
        rows = [level.permute(0, 2, 3, 1).flatten(0, 2) for level in levels]  # (B, C, H, W) -> (B * H * W, C)
        if settings.combination == "product":
            return rows
        joint = torch.cat(rows, dim=1)
        if settings.dimensions:
            joint = joint.reshape(-1, settings.dimensions, len(rows)).mean(2)
        return [joint]

    def anomaly_map(self, features: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        """Distance to the nearest entry, upsampled and smoothed (section 3.3), (B, height, width)."""
        parts = zip(self.patches(features), self.banks, strict=True)
        distance = torch.stack([nearest_distance(patches, bank) for patches, bank in parts]).prod(0)
        maps = functional.interpolate(
            distance.reshape(-1, 1, *self.grid), tuple(size), mode="bilinear", align_corners=False
        )
        return smoothed(maps[:, 0], self.settings.smoothing)

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *others: Any) -> None:
        """Make room for the banks of a checkpoint, whose length only it knows."""
        for number, bank in enumerate(self.banks):
            kept = state_dict.get(f"{prefix}bank_{number}")
            if kept is not None and kept.shape[1:] == bank.shape[1:]:
                setattr(self, f"bank_{number}", bank.new_empty(kept.shape))
        super()._load_from_state_dict(state_dict, prefix, *others)


def build_patchcore(
    settings: PatchCoreSettings, weights: Path | None = None, pretrained: bool = True
) -> FeatureReconstruction:
    """PatchCore as a module with an empty bank: ``model(images)`` maps RGB (B, 3, H, W) in [0, 255] to (B, H, W).

    Args:
        settings: every number.
        weights: file with the backbone's weights.
        pretrained: False leaves the backbone random, for a checkpoint that holds its weights.

    Raises:
        InputError: a setting does not fit the others or the backbone.
    """
    strides = sorted(set(settings.levels))
    if not strides:
        raise InputError("levels is empty; name strides of the backbone, for instance levels=8,16")
    if settings.pool % 2 == 0:
        raise InputError(f"pool {settings.pool} has no middle; choose an odd one, for instance 3")
    for level in strides:
        if max(level, settings.stride) % min(level, settings.stride):
            raise InputError(f"stride {settings.stride} is neither a multiple nor a part of level {level}; try {level}")
    settings.grid([*strides, settings.stride])
    backbone = Backbone(settings.backbone, strides, weights, pretrained)
    bank = MemoryBank(backbone.channels, settings.grid([settings.stride]), settings)
    return FeatureReconstruction(backbone, FeatureScaler(backbone.channels), bank)
