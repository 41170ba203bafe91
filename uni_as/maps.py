"""Section 3.3.2: the training loss, and the anomaly map as a product over levels (eq. 6)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from uni_as.features import GaussianBlur

PRODUCT_POWER = 1 / 4  # of the geometric mean of the levels, where it weighs the joint distance


def cosine_distance(reconstructed: Tensor, target: Tensor) -> Tensor:
    """1 - cos over the channels of (B, C, H, W): (B, H, W) in [0, 2]."""
    return 1 - functional.cosine_similarity(reconstructed, target, dim=1)


def level_loss(reconstructed: Tensor, target: Tensor) -> Tensor:
    """Cosine distance plus mean squared error of one level, a scalar.

    The authors' release adds the cosine itself, which rewards dissimilarity; the paper's text is followed.
    """
    return cosine_distance(reconstructed, target).mean() + functional.mse_loss(reconstructed, target)


class LevelMaps(nn.Module):
    """Distance maps of the levels at image size, each smoothed at half the image's resolution.

    The paper is silent on smoothing; kernel sizes 3, 5, 7, 9 with sigma = size / 3, from the deepest level to the
    shallowest, are the authors' configuration (sizes there given for 112 x 112 maps).

    Args:
        kernel_sizes: one per level, shallowest first; 0 leaves a level as it is.
    """

    def __init__(self, kernel_sizes: Sequence[int]) -> None:
        super().__init__()
        self.blurs = nn.ModuleList(GaussianBlur(size, size / 3) if size else nn.Identity() for size in kernel_sizes)

    def forward(self, distances: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        """Upsample the distances (B, H_i, W_i), shallowest level first, to (B, levels, height, width)."""
        half = [side // 2 for side in size]
        maps = []
        for distance, blur in zip(distances, self.blurs, strict=True):
            coarse = functional.interpolate(distance[:, None], half, mode="bilinear", align_corners=False)
            maps.append(functional.interpolate(blur(coarse), size, mode="bilinear", align_corners=False))
        return torch.cat(maps, dim=1)


def joint_map(pairs: Sequence[tuple[Tensor, Tensor]], size: Sequence[int]) -> Tensor:
    """Cosine distance over the channels of all levels side by side, on the grid of the finest one.

    Ours, in the place of eq. 6: a level that cannot reconstruct some normal structure is outvoted by the others, while
    in a product it counts as much as they do.

    Args:
        pairs: targets and reconstructions (B, C_i, H_i, W_i) of the levels.
        size: height and width of the image.

    Returns:
        (B, height, width) in [0, 2].
    """
    grid = max((int(target.shape[-2]), int(target.shape[-1])) for target, _ in pairs)
    target, reconstructed = (
        torch.cat(
            [functional.interpolate(values, grid, mode="bilinear", align_corners=False) for values in side], dim=1
        )
        for side in zip(*pairs, strict=True)
    )
    distance = cosine_distance(reconstructed, target)
    return functional.interpolate(distance[:, None], size, mode="bilinear", align_corners=False)[:, 0]


def weighted(joint: Tensor, product: Tensor, n_levels: int) -> Tensor:
    """The joint distance times the geometric mean of the levels to the power of a quarter, (B, height, width).

    Ours: what the levels agree on (eq. 6) weighs what they find together.

    Args:
        joint: from ``joint_map``.
        product: from ``combine``.
        n_levels: how many levels it is of.
    """
    return joint.clamp_min(0) * product.clamp_min(0) ** (PRODUCT_POWER / n_levels)


def combine(level_maps: Tensor, levels: Sequence[int]) -> Tensor:
    """Eq. 6: the product over the named levels.

    Args:
        level_maps: (B, K, H, W), shallowest first.
        levels: 1 (shallowest) to K.

    Returns:
        A, (B, H, W).
    """
    return level_maps[:, [level - 1 for level in levels]].prod(dim=1)
