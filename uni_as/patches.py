"""Section 3.3.1, eq. 3, and section 3.3.2: into one grid of patch embeddings, and out of it again."""

from torch import Tensor, nn


class PatchEmbedding(nn.Module):
    """Eq. 3: divides a level into the N patches of the deepest level's grid and embeds each.

    Args:
        in_channels: 2 C_i, blurred features and residual.
        channels: C'.
        patch_size: H_i / H_K.
    """

    def __init__(self, in_channels: int, channels: int, patch_size: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(in_channels, channels, patch_size, stride=patch_size)

    def forward(self, values: Tensor) -> Tensor:
        """Embed (B, 2 C_i, H_i, W_i) as (B, N, C')."""
        embedded: Tensor = self.project(values)
        return embedded.flatten(2).transpose(1, 2)  # (B, C', H_K, W_K) -> (B, N, C')


class PatchReconstruction(nn.Module):
    """Section 3.3.2: unpatchify, then a transposed convolution back to the shape of the level.

    Args:
        channels: C'.
        out_channels: C_i.
        patch_size: H_i / H_K.
        grid: H_K and W_K.
    """

    def __init__(self, channels: int, out_channels: int, patch_size: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.grid = grid
        self.norm = nn.LayerNorm(channels)
        self.expand = nn.ConvTranspose2d(channels, out_channels, patch_size, stride=patch_size)

    def forward(self, tokens: Tensor) -> Tensor:
        """Reconstruct (B, C_i, H_i, W_i) from (B, N, C')."""
        reconstructed: Tensor = self.expand(unpatchify(self.norm(tokens), self.grid))
        return reconstructed


def unpatchify(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """Lay tokens (B, N, C') out as rows and columns of a grid (B, C', H_K, W_K)."""
    return tokens.transpose(1, 2).reshape(tokens.shape[0], -1, *grid)
