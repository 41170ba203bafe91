"""Section 3.3.1, eq. 4: cross-attention, self-attention and a feed-forward network, each with its residual."""

import torch
from torch import Tensor, nn

from uni_as.settings import Reach


class TransformerLayer(nn.Module):
    """Eq. 4: each residual is added to what went in, so the norms stand before the attentions, as in a vanilla ViT.

    The paper names both ViT and Mask2Former, which normalises after each residual; eq. 4 has no norm there.

    Args:
        channels: C'.
        n_heads: heads of both attentions; 4 in the authors' configuration.
        ffn_channels: hidden units of the feed-forward network; 2048 in the authors' configuration.
        dropout: of attention weights and residual branches; 0.1 in the authors' configuration.
    """

    def __init__(self, channels: int, n_heads: int, ffn_channels: int, dropout: float) -> None:
        super().__init__()
        self.cross = nn.MultiheadAttention(channels, n_heads, dropout, batch_first=True)
        self.own = nn.MultiheadAttention(channels, n_heads, dropout, batch_first=True)
        self.ffn = nn.Sequential(
            nn.Linear(channels, ffn_channels), nn.ReLU(), nn.Dropout(dropout), nn.Linear(ffn_channels, channels)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(3))
        self.dropout = nn.Dropout(dropout)

    def forward(self, query: Tensor, patches: Tensor, position: Tensor, mask: Tensor | None) -> Tensor:
        """Let the query attend to the patches, then to itself.

        Args:
            query: Q, (B, N, C').
            patches: K and V, h_i, (B, N, C').
            position: added to queries and keys, (N, C').
            mask: (N, N) bool, True where attention is forbidden.

        Returns:
            d, (B, N, C').
        """
        asking = self.norms[0](query) + position
        cross, _ = self.cross(asking, patches + position, patches, attn_mask=mask, need_weights=False)
        query = query + self.dropout(cross)
        value = self.norms[1](query)
        place = value + position
        own, _ = self.own(place, place, value, attn_mask=mask, need_weights=False)
        query = query + self.dropout(own)
        result: Tensor = query + self.dropout(self.ffn(self.norms[2](query)))
        return result


def sine_position(grid: tuple[int, int], channels: int, reach: Reach = "image") -> Tensor:
    """Fixed two-dimensional sine position, (N, channels): half of the channels for rows, half for columns.

    Args:
        grid: H_K and W_K; N = H_K * W_K.
        channels: C'.
        reach: with ``image`` the fastest sine has one period over the image (Carion et al., 2020, DETR; temperature
            10000), so that neighbours look alike; with ``cells`` periods run from 4 cells to 84, so that attention
            finds a place within few steps of training.
    """
    octave = torch.arange(0, channels // 2, 2) / (channels // 2)  # (channels / 4,)

    def line(n_cells: int) -> Tensor:
        frequency = 2 * torch.pi / (n_cells + 1e-6) * 10000**-octave if reach == "image" else 1.5 * 20**-octave
        angle = torch.arange(1, n_cells + 1)[:, None] * frequency
        return torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1)  # (n_cells, channels / 2)

    n_rows, n_columns = grid
    rows, columns = line(n_rows)[:, None].expand(-1, n_columns, -1), line(n_columns)[None].expand(n_rows, -1, -1)
    return torch.cat([rows, columns], dim=2).flatten(0, 1)
