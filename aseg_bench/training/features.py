"""Small parts that models on features have in common: scaling, jitter, the neighbour mask and smoothing of maps."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d
from torch import Tensor, nn

from aseg_bench.errors import InputError


class FeatureScaler(nn.Module):
    """Per-channel z-scores of features, with the mean and deviation of the training images.

    Not in the papers: with raw features the mean squared error of one level outweighs all others. Until ``fit`` is
    called the features pass unchanged.
    """

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        for index, n_channels in enumerate(channels):
            self.register_buffer(f"mean_{index}", torch.zeros(1, n_channels, 1, 1))
            self.register_buffer(f"std_{index}", torch.ones(1, n_channels, 1, 1))

    def fit(self, batches: Iterable[list[Tensor]]) -> None:
        """Take the mean and standard deviation over all images and positions."""
        sums: list[Tensor] = []
        for features in batches:
            # per level (3, C): count, sum and sum of squares, in double precision
            parts = [
                torch.stack(
                    [torch.ones_like(level).sum((0, 2, 3)), level.sum((0, 2, 3)), level.square().sum((0, 2, 3))]
                )
                for level in (values.cpu().double() for values in features)
            ]
            sums = [total + part for total, part in zip(sums, parts, strict=True)] if sums else parts
        for index, (count, total, squares) in enumerate(sums):
            mean = total / count
            std = (squares / count - mean**2).clamp_min(1e-12).sqrt()
            getattr(self, f"mean_{index}").copy_(mean.view(1, -1, 1, 1))
            getattr(self, f"std_{index}").copy_(std.view(1, -1, 1, 1))

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Scale one tensor (B, C, H, W) per level; the shapes stay."""
        return [
            (values - getattr(self, f"mean_{index}")) / getattr(self, f"std_{index}")
            for index, values in enumerate(features)
        ]


def jitter(values: Tensor, scale: float, probability: float, channel_axis: int = 1) -> Tensor:
    """Add Gaussian noise of standard deviation ``scale * |f| / C`` to the features f of some samples.

    Args:
        values: features, samples along the first axis.
        scale: strength; 20 in UniAD and UniAS.
        probability: share of the samples that get noise, which is drawn for each.
        channel_axis: where the C channels lie.

    Source: You et al. (2022), section 3.2; scale per position as in the authors' release.
    """
    strength: Tensor = values.norm(dim=channel_axis, keepdim=True) * (scale / values.shape[channel_axis])
    chosen = torch.rand(values.shape[0], *[1] * (values.ndim - 1), device=values.device) < probability
    noise: Tensor = torch.randn_like(values) * strength * chosen
    return values + noise


def neighbour_mask(grid: tuple[int, int], size: int) -> Tensor | None:
    """Attention mask that hides a position's own neighbourhood, so that it cannot be copied.

    Args:
        grid: rows and columns of positions.
        size: side of the hidden square, odd; 0 hides nothing.

    Returns:
        (N, N) bool for N = rows * columns positions, True where attention is forbidden; None for size 0.

    Raises:
        InputError: a position in the middle would see no other.

    Source: You et al. (2022), section 3.1, neighbour masked attention; 7 x 7 on a 14 x 14 grid.
    """
    if size == 0:
        return None
    rows, columns = (torch.arange(side) for side in grid)
    if size // 2 >= max(grid) // 2:
        raise InputError(
            f"neighbour_size {size} hides all of the {grid[0]} x {grid[1]} positions from those in the middle; "
            "choose a smaller one, 0 to hide nothing, or a larger image_size"
        )
    near_rows, near_columns = ((place[:, None] - place[None, :]).abs() <= size // 2 for place in (rows, columns))
    n_positions = len(rows) * len(columns)
    return (near_rows[:, None, :, None] & near_columns[None, :, None, :]).reshape(n_positions, n_positions)


def smoothed(maps: Tensor, sigma: float) -> Tensor:
    """Maps (..., height, width) blurred by a Gaussian of ``sigma`` pixels, as scipy's ``gaussian_filter``; 0 for none.

    The official codes of PatchCore, RD4AD, SimpleNet and ViTAD all smooth their maps with it, by 4 pixels.
    """
    if not sigma:
        return maps
    # a filter along one axis is linear, so it is a matrix: what the filter makes of the unit vectors
    down, across = (
        torch.from_numpy(gaussian_filter1d(np.eye(int(side)), sigma, axis=0)).to(maps.device, torch.float32)
        for side in maps.shape[-2:]
    )
    with torch.autocast(maps.device.type, enabled=False):  # bfloat16 would leave steps in the maps
        return down @ maps.float() @ across.T
