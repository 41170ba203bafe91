"""Section 3.1: the feature extractor's local features, of the neighbourhood of each position."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from aseg_bench.errors import InputError

_PATCH = 3  # side of the neighbourhood: p of section 3.1


class LocalFeatures(nn.Module):
    """Means over 3 x 3 neighbourhoods, all levels on the grid of the shallowest, side by side.

    The authors' code lines up the 9 values of all channels of a level and takes means of equal stretches of them, so
    that every level has ``embedding`` channels, and does so again with those of all levels. With as many stretches as
    channels a stretch is a channel's neighbourhood, which is what the paper says.

    Args:
        level_channels: channels of the levels, shallowest first.
        embedding: channels of each level and of the result; 0 keeps those of each level.

    Attributes:
        channels: of the result.

    Raises:
        InputError: ``embedding`` does not divide the values of a level.
    """

    def __init__(self, level_channels: Sequence[int], embedding: int) -> None:
        super().__init__()
        uneven = [channels for channels in level_channels if embedding and channels * _PATCH**2 % embedding]
        if uneven:
            raise InputError(
                f"embedding {embedding} does not divide the {uneven[0]} x {_PATCH**2} values around a position in this "
                "backbone; choose a divisor, or 0 for the channels of the backbone"
            )
        self.widths = [embedding or channels for channels in level_channels]
        self.channels = embedding or sum(level_channels)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """(B, channels, H_1, W_1) from one (B, C_k, H_k, W_k) per level."""
        found = []
        for values, width in zip(features, self.widths, strict=True):
            patches = functional.unfold(values, _PATCH, padding=_PATCH // 2)  # (B, 9 C_k, H_k W_k), by channel
            means = _stretches(patches.view(len(values), -1, *values.shape[2:]), width)
            found.append(functional.interpolate(means, features[0].shape[2:], mode="bilinear", align_corners=False))
        return _stretches(torch.cat(found, dim=1), self.channels)


def _stretches(values: Tensor, n_stretches: int) -> Tensor:
    """Means (B, n_stretches, H, W) of equal stretches along the channels of (B, C, H, W)."""
    return values.reshape(len(values), n_stretches, -1, *values.shape[2:]).mean(2)
