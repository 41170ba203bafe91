"""Section 3.2: the one-class bottleneck embedding, multi-scale feature fusion (MFF) and one-class embedding (OCE)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from baselines.rd4ad.blocks import Bottleneck


class MultiScaleFusion(nn.Module):
    """MFF: all levels on the grid of the deepest, by 3 x 3 convolutions of stride 2, side by side.

    Args:
        level_channels: of the levels, shallowest first; each step down takes on the channels of the next level.
    """

    def __init__(self, level_channels: Sequence[int]) -> None:
        super().__init__()
        paths = [
            [
                layer
                for own, deeper in zip(level_channels[level:], level_channels[level + 1 :], strict=False)
                for layer in (
                    nn.Conv2d(own, deeper, 3, stride=2, padding=1, bias=False),
                    nn.BatchNorm2d(deeper),
                    nn.ReLU(),
                )
            ]
            for level in range(len(level_channels))
        ]
        self.paths = nn.ModuleList(nn.Sequential(*path) for path in paths)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """(B, levels * C_K, H_K, W_K) from one (B, C_k, H_k, W_k) per level."""
        return torch.cat([path(values) for path, values in zip(self.paths, features, strict=True)], dim=1)


class OneClassEmbedding(nn.Sequential):
    """OCE: residual blocks, of which the first halves the grid; (B, C, H, W) to (B, C', H / 2, W / 2)."""

    def __init__(self, in_channels: int, channels: int, n_blocks: int, block_width: float) -> None:
        inner = round(channels * block_width)
        super().__init__(
            Bottleneck(in_channels, channels, inner, "halve"),
            *(Bottleneck(channels, channels, inner) for _ in range(n_blocks - 1)),
        )
