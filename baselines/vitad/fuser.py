"""The fuser between encoder and decoder: a linear layer."""

from torch import Tensor, nn


class Fuser(nn.Linear):
    """The encoder's last features as tokens of the decoder's width, (B, C, rows, columns) to (B, N, C')."""

    def forward(self, features: Tensor) -> Tensor:
        """Change each cell alone."""
        return super().forward(features.flatten(2).transpose(1, 2))
