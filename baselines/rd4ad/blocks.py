"""The residual block of both trained parts: ResNet's bottleneck, which may halve or double the grid."""

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

Scale = Literal["halve", "keep", "double"]


class Bottleneck(nn.Module):
    """Three convolutions and their residual, each with batch normalisation (He et al., 2016).

    Args:
        in_channels: of what comes in.
        channels: of what goes out.
        inner: between the convolutions.
        scale: of the grid; to double it, a transposed convolution of 2 x 2 stands for that of 3 x 3 (section 3.1).
        rectified: end in a ReLU.
    """

    def __init__(
        self, in_channels: int, channels: int, inner: int, scale: Scale = "keep", rectified: bool = True
    ) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(in_channels, inner, 1, bias=False), nn.BatchNorm2d(inner)
        self.conv2 = (
            _double(inner, inner)
            if scale == "double"
            else nn.Conv2d(inner, inner, 3, stride=2 if scale == "halve" else 1, padding=1, bias=False)
        )
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3, self.bn3 = nn.Conv2d(inner, channels, 1, bias=False), nn.BatchNorm2d(channels)
        self.shortcut: nn.Module = nn.Identity()
        if scale != "keep":
            resample = _double if scale == "double" else _halve
            self.shortcut = nn.Sequential(resample(in_channels, channels), nn.BatchNorm2d(channels))
        self.rectified = rectified
        for module in self.modules():
            if isinstance(module, nn.Conv2d):  # the authors' code leaves transposed convolutions at PyTorch's values
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, values: Tensor) -> Tensor:
        """Change (B, C, H, W) into (B, C', H', W'), the grid halved, kept or doubled."""
        found = functional.relu(self.bn1(self.conv1(values)))
        found = functional.relu(self.bn2(self.conv2(found)))
        result: Tensor = self.bn3(self.conv3(found)) + self.shortcut(values)
        return functional.relu(result) if self.rectified else result


def _halve(in_channels: int, channels: int) -> nn.Module:
    return nn.Conv2d(in_channels, channels, 1, stride=2, bias=False)


def _double(in_channels: int, channels: int) -> nn.Module:
    return nn.ConvTranspose2d(in_channels, channels, 2, stride=2, bias=False)
