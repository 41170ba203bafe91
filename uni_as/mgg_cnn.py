"""Section 3.3.1, eq. 5: the Multi-Granularity Gated CNN refines locally, with receptive fields 1, 3, 5 and 7."""

from torch import Tensor, nn

from uni_as.patches import unpatchify
from uni_as.settings import LocalPart

_CONVOLUTIONS = {"none": (), "conv3": ((3, 1),), "mg": ((1, 1), (3, 1), (3, 2), (3, 3))}


class MGGCNN(nn.Module):
    """Sum of four gated branches: one 1 x 1 convolution, and one, two and three stacked 3 x 3 convolutions.

    Eq. 5 prints the exponent j - 1 where the text says that the 3 x 3 block is stacked 1, 2 and 3 times; the text is
    followed. The gate is a GELU on each branch's output.

    Args:
        channels: C'.
        grid: H_K and W_K.
        kind: ``mgg``; or a line of Table 4: ``none``, ``conv3`` (one 3 x 3 convolution), ``mg`` (branches, no gates).
    """

    def __init__(self, channels: int, grid: tuple[int, int], kind: LocalPart = "mgg") -> None:
        super().__init__()
        self.grid = grid
        gate = nn.GELU if kind == "mgg" else nn.Identity
        self.branches = nn.ModuleList(
            nn.Sequential(*(nn.Conv2d(channels, channels, size, padding="same") for _ in range(n_stacked)), gate())
            for size, n_stacked in _CONVOLUTIONS["mg" if kind == "mgg" else kind]
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """Refine (B, N, C'); the shape stays."""
        if not self.branches:
            return tokens
        grid = unpatchify(tokens, self.grid)  # (B, N, C') -> (B, C', H_K, W_K)
        refined: Tensor = sum(branch(grid) for branch in self.branches)
        return refined.flatten(2).transpose(1, 2)
