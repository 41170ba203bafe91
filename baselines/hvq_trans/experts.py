"""The expert networks of figure 2 (c): one linear layer per category, switched by the category of the image."""

import torch
from torch import Tensor, nn


class Experts(nn.Module):
    """Linear layers of all categories, in one tensor, so that a step trains what it uses and no device waits.

    Args:
        n_categories: linear layers.
        in_channels: of what comes in.
        out_channels: of what goes out.
    """

    def __init__(self, n_categories: int, in_channels: int, out_channels: int) -> None:
        super().__init__()
        bound = in_channels**-0.5  # as PyTorch's linear layers start
        self.weight = nn.Parameter(torch.empty(n_categories, in_channels, out_channels).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(n_categories, 1, out_channels).uniform_(-bound, bound))

    def forward(self, tokens: Tensor, labels: Tensor) -> Tensor:
        """Change (B, N, C) into (B, N, C'), each image by the layer of its category (B,)."""
        return torch.baddbmm(self.bias[labels], tokens, self.weight[labels])
