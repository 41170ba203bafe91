"""Section 3.2: a Gaussian filter gathers the neighbourhood, the residual keeps the detail (eq. 2)."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class GaussianBlur(nn.Module):
    """Depthwise Gaussian filter W_G; reflected borders, so that a constant stays constant.

    Args:
        size: side of the kernel, odd.
        sigma: standard deviation in cells.
    """

    kernel: Tensor

    def __init__(self, size: int, sigma: float) -> None:
        super().__init__()
        offset = torch.arange(size) - size // 2
        line = torch.exp(-(offset**2) / (2 * sigma**2))
        line = line / line.sum()
        self.register_buffer("kernel", torch.outer(line, line).view(1, 1, size, size), persistent=False)

    def forward(self, values: Tensor) -> Tensor:
        """Blur (B, C, H, W); the shape stays."""
        n_channels, margin = int(values.shape[1]), self.kernel.shape[-1] // 2
        padded = functional.pad(values, (margin,) * 4, mode="reflect")
        return functional.conv2d(padded, self.kernel.expand(n_channels, -1, -1, -1).to(values.dtype), groups=n_channels)


class FilteredFeatures(nn.Module):
    """Eq. 2: the target z_o is the blurred feature, the input z_c is z_o with the residual z_o - f beside it."""

    def __init__(self, size: int = 3, sigma: float = 1.0) -> None:
        super().__init__()
        self.blur = GaussianBlur(size, sigma)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Target (B, C, H, W) and input (B, 2 C, H, W) of one level."""
        target = self.blur(features)
        return target, torch.cat([target, target - features], dim=1)
