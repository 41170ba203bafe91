"""Section 3.4: the Sample-Aware Reweighted query, a learned memory re-weighted by the image's deepest embedding."""

import torch
from torch import Tensor, nn

from uni_as.patches import unpatchify


class SARQuery(nn.Module):
    """A learned query q_0 (N, C') times the channel and spatial weights of CBAM, taken from h_K.

    Args:
        grid: H_K and W_K; N = H_K * W_K.
        channels: C'.
        sample_aware: False leaves the learned query as it is.

    Source: section 3.4; Woo et al. (2018), CBAM, eq. 2 and 3, reduction 16 and kernel 7.
    """

    def __init__(self, grid: tuple[int, int], channels: int, sample_aware: bool = True) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.randn(grid[0] * grid[1], channels))
        self.grid, self.sample_aware = grid, sample_aware
        if sample_aware:
            self.channel = nn.Sequential(
                nn.Linear(channels, channels // 16), nn.ReLU(), nn.Linear(channels // 16, channels)
            )
            self.spatial = nn.Conv2d(2, 1, 7, padding=3)

    def forward(self, deepest: Tensor) -> Tensor:
        """Query (B, N, C') for the deepest patch embedding h_K (B, N, C')."""
        if not self.sample_aware:
            return self.query.expand(deepest.shape[0], -1, -1)
        channel = torch.sigmoid(self.channel(deepest.mean(1)) + self.channel(deepest.amax(1)))  # (B, C')
        pooled = torch.stack([deepest.mean(2), deepest.amax(2)], dim=2)  # (B, N, 2)
        spatial = torch.sigmoid(self.spatial(unpatchify(pooled, self.grid))).flatten(2).transpose(1, 2)  # (B, N, 1)
        reweighted: Tensor = self.query * channel[:, None] * spatial
        return reweighted
