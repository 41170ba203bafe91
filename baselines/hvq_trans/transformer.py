"""The encoder's layers, and the decoder's, which take in prototypes by cross-attention: figure 2 (d)."""

from torch import Tensor, nn


class Layer(nn.Module):
    """Self-attention, attention to a memory where there is one, and a feed-forward network, each normalised after.

    Args:
        channels: of tokens and memory.
        n_heads: of the attentions.
        ffn_channels: hidden units.
        dropout: after attentions and in the feed-forward network.
        has_memory: whether there is a second attention.
    """

    def __init__(self, channels: int, n_heads: int, ffn_channels: int, dropout: float, has_memory: bool) -> None:
        super().__init__()
        n_attentions = 2 if has_memory else 1
        self.attentions = nn.ModuleList(
            nn.MultiheadAttention(channels, n_heads, dropout, batch_first=True) for _ in range(n_attentions)
        )
        self.feed_forward = nn.Sequential(
            nn.Linear(channels, ffn_channels), nn.ReLU(), nn.Dropout(dropout), nn.Linear(ffn_channels, channels)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(n_attentions + 1))
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, position: Tensor, memory: Tensor | None = None) -> Tensor:
        """Change tokens (B, N, C); positions (N, C) are added to queries and keys, not to values."""
        for attend, norm, other in zip(self.attentions, self.norms, (None, memory), strict=False):
            asked = tokens if other is None else other
            found, _ = attend(tokens + position, asked + position, asked, need_weights=False)
            tokens = norm(tokens + self.dropout(found))
        result: Tensor = self.norms[-1](tokens + self.dropout(self.feed_forward(tokens)))
        return result
