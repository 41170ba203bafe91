"""UniAD, written from the paper and from facts of the authors' release (commit a5b9d9d); no code is taken from it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from aseg_bench.errors import InputError
from aseg_bench.methods import MethodOptions
from aseg_bench.training.backbone import Backbone
from aseg_bench.training.checkpoints import load_renamed
from aseg_bench.training.features import FeatureScaler, jitter, neighbour_mask
from aseg_bench.training.method import TrainedMethod
from aseg_bench.training.official import load_port, state_in
from aseg_bench.training.reconstruction import FeatureReconstruction
from aseg_bench.training.settings import settings_for
from baselines.uniad.settings import PRESETS, UniADSettings

Norms = Literal["after", "before"]
STRIDES = (2, 4, 8, 16)  # blocks 1, 5, 9 and 21 of EfficientNet-B4


# names in the authors' code, and here
_OFFICIAL = {
    "learned.": "",
    "official.reconstruction.": "",
    "pos_embed.row_embed.weight": "rows",
    "pos_embed.col_embed.weight": "columns",
    "input_proj.": "project.",
    "output_proj.": "restore.",
    "transformer.encoder.norm.": "encoded.",
    "transformer.decoder.norm.": "decoded.",
}
_OFFICIAL_LAYERS = {
    "transformer.encoder.layers.{}.self_attn.": "encode.{}.attend.",
    "transformer.encoder.layers.{}.norm1.": "encode.{}.norm.",
    "transformer.encoder.layers.{}.linear1.": "encode_ffn.{}.layers.0.",
    "transformer.encoder.layers.{}.linear2.": "encode_ffn.{}.layers.3.",
    "transformer.encoder.layers.{}.norm2.": "encode_ffn.{}.norm.",
    "transformer.decoder.layers.{}.self_attn.": "ask_memory.{}.attend.",
    "transformer.decoder.layers.{}.norm1.": "ask_memory.{}.norm.",
    "transformer.decoder.layers.{}.multihead_attn.": "ask_previous.{}.attend.",
    "transformer.decoder.layers.{}.norm2.": "ask_previous.{}.norm.",
    "transformer.decoder.layers.{}.linear1.": "decode_ffn.{}.layers.0.",
    "transformer.decoder.layers.{}.linear2.": "decode_ffn.{}.layers.3.",
    "transformer.decoder.layers.{}.norm3.": "decode_ffn.{}.norm.",
}


class Attention(nn.Module):
    """Attention and its residual, normalised after or before; queries and keys carry positions."""

    def __init__(self, channels: int, n_heads: int, dropout: float, norms: Norms) -> None:
        super().__init__()
        self.attend = nn.MultiheadAttention(channels, n_heads, dropout, batch_first=True)
        self.dropout, self.norm, self.norms = nn.Dropout(dropout), nn.LayerNorm(channels), norms

    def forward(self, query: Tensor, memory: Tensor, position: Tensor, mask: Tensor | None) -> Tensor:
        """Let the query (B, N, C) attend to the memory (B, N, C) wherever ``mask`` (N, N) is not True."""
        asking = self.norm(query) if self.norms == "before" else query
        memory = asking if memory is query else memory
        found, _ = self.attend(asking + position, memory + position, memory, attn_mask=mask, need_weights=False)
        result = query + self.dropout(found)
        return result if self.norms == "before" else self.norm(result)  # type: ignore[no-any-return]


class FeedForward(nn.Module):
    """Two linear layers and their residual, normalised after or before."""

    def __init__(self, channels: int, hidden: int, dropout: float, norms: Norms) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(channels, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, channels),
            nn.Dropout(dropout),
        )
        self.norm, self.norms = nn.LayerNorm(channels), norms

    def forward(self, tokens: Tensor) -> Tensor:
        """Change (B, N, C); the shape stays."""
        if self.norms == "before":
            return tokens + self.layers(self.norm(tokens))  # type: ignore[no-any-return]
        return self.norm(tokens + self.layers(tokens))  # type: ignore[no-any-return]


class UniADDecoder(nn.Module):
    """Encoder, layer-wise query decoder and the distance of reconstructed features (paper section 3).

    Args:
        level_channels: channels of the levels, shallowest first.
        grid: rows and columns of cells to which all levels are resized.
        settings: the other numbers.
    """

    mask: Tensor | None

    def __init__(self, level_channels: Sequence[int], grid: tuple[int, int], settings: UniADSettings) -> None:
        super().__init__()
        width, n_tokens, n_features = settings.channels, grid[0] * grid[1], sum(level_channels)
        self.grid, self.jitter_scale, self.jitter_probability = (
            grid,
            settings.jitter_scale,
            settings.jitter_probability,
        )

        def attentions() -> nn.ModuleList:
            return nn.ModuleList(
                Attention(width, settings.n_heads, settings.dropout, settings.norms) for _ in range(settings.n_layers)
            )

        def feed_forwards() -> nn.ModuleList:
            return nn.ModuleList(
                FeedForward(width, settings.ffn_channels, settings.dropout, settings.norms)
                for _ in range(settings.n_layers)
            )

        self.project, self.restore = nn.Linear(n_features, width), nn.Linear(width, n_features)
        self.encode, self.encode_ffn = attentions(), feed_forwards()
        self.encoded = nn.LayerNorm(width) if settings.norms == "before" else nn.Identity()
        self.ask_memory, self.ask_previous, self.decode_ffn = attentions(), attentions(), feed_forwards()
        self.decoded = nn.LayerNorm(width)
        self.queries = nn.Parameter(torch.randn(settings.n_layers, n_tokens, width) * settings.query_scale)
        self.rows, self.columns = (nn.Parameter(torch.rand(side, width // 2)) for side in grid)
        self.register_buffer("mask", neighbour_mask(grid, settings.neighbour_size), persistent=False)
        for parameter in self.parameters():
            if parameter.ndim == 2 and parameter is not self.rows and parameter is not self.columns:
                nn.init.xavier_uniform_(parameter)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Feature tokens and their reconstruction, both (B, N, sum of C_i)."""
        resized = [
            functional.interpolate(values, self.grid, mode="bilinear", align_corners=True) for values in features
        ]
        target = torch.cat(resized, dim=1).flatten(2).transpose(1, 2)  # (B, C, rows, columns) -> (B, N, C)
        inputs = jitter(target, self.jitter_scale, self.jitter_probability, channel_axis=2) if self.training else target
        n_rows, n_columns = self.grid
        position = torch.cat(
            [self.columns[None].expand(n_rows, -1, -1), self.rows[:, None].expand(-1, n_columns, -1)], dim=2
        ).flatten(0, 1)  # (N, C')
        memory = self.project(inputs)
        for attend, feed in zip(self.encode, self.encode_ffn, strict=True):
            memory = feed(attend(memory, memory, position, self.mask))
        previous = memory = self.encoded(memory)
        for query, first, second, feed in zip(
            self.queries, self.ask_memory, self.ask_previous, self.decode_ffn, strict=True
        ):
            asked = first(query.expand(memory.shape[0], -1, -1), memory, position, self.mask)
            previous = feed(second(asked, previous, position, self.mask))
        return target, self.restore(self.decoded(previous))

    def pairs(self, features: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """Features and their reconstruction, (B, sum of C_i, N)."""
        target, reconstructed = self(features)
        return [(target.transpose(1, 2), reconstructed.transpose(1, 2))]

    def losses(self, features: Sequence[Tensor]) -> dict[str, Tensor]:
        """Mean squared error of the reconstruction."""
        target, reconstructed = self(features)
        return {"mse": functional.mse_loss(reconstructed, target)}

    def anomaly_map(self, features: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        """Euclidean distance per cell, upsampled to (B, height, width)."""
        target, reconstructed = self(features)
        distance = (target - reconstructed).norm(dim=2).reshape(-1, 1, *self.grid)
        return functional.interpolate(distance, tuple(size), mode="bilinear", align_corners=True)[:, 0]


def build_uniad(settings: UniADSettings, weights: Path | None = None, pretrained: bool = True) -> FeatureReconstruction:
    """UniAD as a module: ``model(images)`` maps RGB images (B, 3, H, W) in [0, 255] to (B, H, W).

    Args:
        settings: every number.
        weights: file with the backbone's weights.
        pretrained: False leaves the backbone random, for a checkpoint that holds its weights.
    """
    grid = settings.grid(STRIDES)
    backbone = Backbone(settings.backbone, STRIDES, weights, pretrained)
    decoder = UniADDecoder(backbone.channels, grid, settings)
    return FeatureReconstruction(backbone, FeatureScaler(backbone.channels), decoder)


def load_official(model: FeatureReconstruction, content: Mapping[str, Any]) -> None:
    """Load the authors' ``ckpt.pth.tar`` or its ``state_dict`` alone, the backbone's weights included.

    Args:
        model: of the preset ``paper``; gets the weights.
        content: of the file.

    Raises:
        InputError: an entry has no place here, has another shape, or is missing.
    """
    entries = state_in(content, "state_dict")
    load_port(model.backbone, entries, "backbone.")
    decoder = cast(UniADDecoder, model.decoder)
    layers = range(len(decoder.encode))
    name = "reconstruction.transformer.decoder.layers.{}.learned_embed.weight"
    if any(name.format(layer) not in entries for layer in layers):
        raise InputError(f"the official weights lack {name.format(layers[-1])}; they go with the preset paper")
    queries = torch.stack([entries.pop(name.format(layer)) for layer in layers])
    names = {old.format(layer): new.format(layer) for layer in layers for old, new in _OFFICIAL_LAYERS.items()}
    parts = {"official": entries, "learned": {"queries": queries}}
    load_renamed(decoder, parts, _OFFICIAL | names)


def make_method(options: MethodOptions) -> TrainedMethod:
    """UniAD as the runner uses it."""
    settings = settings_for(PRESETS, options)
    return TrainedMethod(
        "uniad", lambda: build_uniad(settings, options.backbone_weights, not options.checkpoint), settings, options
    )
