"""The residual block of the student's decoder and of the segmentation network."""

from torch import Tensor, nn
from torch.nn import functional


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions and their residual, each with batch normalisation (He et al., 2016).

    Args:
        in_channels: of what comes in.
        channels: of what goes out.
        rectified: end in a ReLU.
    """

    def __init__(self, in_channels: int, channels: int, rectified: bool = True) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)
        self.downsample: nn.Module = nn.Identity()
        if in_channels != channels:
            self.downsample = nn.Sequential(nn.Conv2d(in_channels, channels, 1, bias=False), nn.BatchNorm2d(channels))
        self.rectified = rectified
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, values: Tensor) -> Tensor:
        """Change (B, C, H, W) into (B, C', H, W)."""
        found = functional.relu(self.bn1(self.conv1(values)))
        result: Tensor = self.bn2(self.conv2(found)) + self.downsample(values)
        return functional.relu(result) if self.rectified else result


def blocks(in_channels: int, channels: int, rectified: bool = True) -> nn.Sequential:
    """Two blocks; without ``rectified`` the second does not end in a ReLU."""
    return nn.Sequential(BasicBlock(in_channels, channels), BasicBlock(channels, channels, rectified))
