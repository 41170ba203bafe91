"""Table 4, first line: the baseline without levels, a plain transformer on all features at the deepest resolution."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from uni_as.corruption import Corruption
from uni_as.features import FilteredFeatures
from uni_as.maps import LevelMaps, cosine_distance, level_loss
from uni_as.patches import PatchEmbedding, PatchReconstruction


class SelfAttentionLayer(nn.Module):
    """Self-attention and a feed-forward network, each added to what went in."""

    def __init__(self, channels: int, n_heads: int, ffn_channels: int, dropout: float) -> None:
        super().__init__()
        self.attend = nn.MultiheadAttention(channels, n_heads, dropout, batch_first=True)
        self.ffn = nn.Sequential(
            nn.Linear(channels, ffn_channels), nn.ReLU(), nn.Dropout(dropout), nn.Linear(ffn_channels, channels)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(2))
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, position: Tensor, mask: Tensor | None) -> Tensor:
        """Let tokens (B, N, C') attend to each other, except where ``mask`` (N, N) is True."""
        value = self.norms[0](tokens)
        place = value + position
        found, _ = self.attend(place, place, value, attn_mask=mask, need_weights=False)
        tokens = tokens + self.dropout(found)
        result: Tensor = tokens + self.dropout(self.ffn(self.norms[1](tokens)))
        return result


class PlainDecoder(nn.Module):
    """Reconstructs the levels fused at the lowest resolution, as UniAD fuses them (section 4.7.1, 1).

    Args:
        filtered: eq. 2, on the fused features.
        embed: of the fused features, patch size 1.
        layers: one after the other.
        reconstruct: back to the fused features, patch size 1.
        maps: of the one distance.
        position, mask, corruption: as in ``UniASDecoder``.
    """

    position: Tensor
    mask: Tensor | None

    def __init__(
        self,
        filtered: FilteredFeatures,
        embed: PatchEmbedding,
        layers: Sequence[SelfAttentionLayer],
        reconstruct: PatchReconstruction,
        maps: LevelMaps,
        position: Tensor,
        mask: Tensor | None,
        corruption: Corruption,
    ) -> None:
        super().__init__()
        self.filter, self.embed, self.layers = filtered, embed, nn.ModuleList(layers)
        self.reconstruct, self.maps = reconstruct, maps
        self.register_buffer("position", position, persistent=False)
        self.register_buffer("mask", mask, persistent=False)
        self.corruption = corruption

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Target and reconstruction, both (B, sum of C_i, H_K, W_K)."""
        size = features[-1].shape[-2:]
        fused = torch.cat(
            [functional.interpolate(values, size, mode="bilinear", align_corners=False) for values in features], dim=1
        )
        target, inputs = self.filter(fused)
        if self.training:
            inputs = self.corruption([fused], self.filter)[0]
        tokens = self.embed(inputs)  # (B, 2 sum of C_i, H_K, W_K) -> (B, N, C')
        for layer in self.layers:
            tokens = layer(tokens, self.position, self.mask)
        return target, self.reconstruct(tokens)

    def pairs(self, features: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """Target and reconstruction of the one level, as ``forward`` gives them."""
        return [self(features)]

    def losses(self, features: Sequence[Tensor]) -> dict[str, Tensor]:
        """Cosine distance plus mean squared error."""
        target, reconstructed = self(features)
        return {"fused": level_loss(reconstructed, target)}

    def anomaly_map(self, features: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        """Cosine distance at image size, (B, height, width)."""
        target, reconstructed = self(features)
        maps: Tensor = self.maps([cosine_distance(reconstructed, target)], size)
        return maps[:, 0]
