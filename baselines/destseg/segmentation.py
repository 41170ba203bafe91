"""Section 3.3: the segmentation network, residual blocks and atrous spatial pyramid pooling (ASPP)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from baselines.destseg.blocks import blocks


class ASPP(nn.Module):
    """The whole image's mean and 3 x 3 convolutions of several dilations, side by side, then fused (Chen et al., 2017).

    Args:
        channels: of what comes in, of each path, and of what goes out.
        dilations: of the convolutions.
    """

    def __init__(self, channels: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.whole = _convolution(channels, channels, 1)
        self.paths = nn.ModuleList(_convolution(channels, channels, 3, dilation) for dilation in dilations)
        self.fusion = _convolution((1 + len(dilations)) * channels, channels, 3)

    def forward(self, values: Tensor) -> Tensor:
        """The shape (B, C, H, W) stays."""
        whole = self.whole(functional.adaptive_avg_pool2d(values, 1))  # (B, C, H, W) -> (B, C, 1, 1)
        found = [whole.expand_as(values), *(path(values) for path in self.paths)]
        fused: Tensor = self.fusion(torch.cat(found, dim=1))
        return fused


class SegmentationNet(nn.Module):
    """From products of teacher and student features to logits, (B, C, H, W) to (B, 1, H, W).

    Args:
        in_channels: of all levels.
        channels: of everything within.
        dilations: of the ASPP.
    """

    def __init__(self, in_channels: int, channels: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.res = blocks(in_channels, channels)
        self.head = nn.Sequential(
            ASPP(channels, dilations), _convolution(channels, channels, 3), nn.Conv2d(channels, 1, 1)
        )

    def forward(self, products: Tensor) -> Tensor:
        """Logits, higher is more anomalous."""
        logits: Tensor = self.head(self.res(products))
        return logits


def _convolution(in_channels: int, channels: int, side: int, dilation: int = 1) -> nn.Sequential:
    padding = side // 2 * dilation
    return nn.Sequential(
        nn.Conv2d(in_channels, channels, side, padding=padding, dilation=dilation, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
    )
