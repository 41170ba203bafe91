"""The decoder: the blocks of a plain ViT, from scratch."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn

_Norm: Any = partial(nn.LayerNorm, eps=1e-6)  # as timm's ViT has it


class ViTDecoder(nn.Module):
    """Blocks of a ViT on the fused tokens; after equal parts of them the encoder's features, the deepest first.

    Args:
        grid: rows and columns of tokens.
        channels: width.
        n_heads: of the attentions.
        n_layers: blocks.
        level_channels: of the features to rebuild, shallowest first; those of another width than the decoder's, which a
            ViT encoder does not have, get a linear layer.
    """

    def __init__(
        self, grid: tuple[int, int], channels: int, n_heads: int, n_layers: int, level_channels: Sequence[int]
    ) -> None:
        super().__init__()
        self.shapes = [(own, *grid) for own in reversed(level_channels)]
        self.every = n_layers // len(level_channels)
        self.position = nn.Parameter(torch.empty(1, grid[0] * grid[1], channels))
        self.blocks = nn.ModuleList(Block(channels, n_heads, qkv_bias=True, norm_layer=_Norm) for _ in range(n_layers))
        self.heads = nn.ModuleList(
            nn.Identity() if own == channels else nn.Linear(channels, own) for own in reversed(level_channels)
        )
        nn.init.trunc_normal_(self.position, std=0.02)  # this and the next as timm's ViT starts
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(self, tokens: Tensor) -> list[Tensor]:
        """One (B, C_k, rows, columns) per level, shallowest first, from fused tokens (B, N, C')."""
        tokens = tokens + self.position
        levels: list[Tensor] = []
        for number, block in enumerate(self.blocks, start=1):
            tokens = block(tokens)
            if number % self.every == 0:
                level, shape = self.heads[len(levels)](tokens), self.shapes[len(levels)]
                levels.append(level.transpose(1, 2).reshape(-1, *shape))  # (B, N, C) -> (B, C, rows, columns)
        return levels[::-1]
