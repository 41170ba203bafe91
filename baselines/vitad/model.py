"""ViTAD, written from the paper and from facts of the authors' release (ADer, commit 902937a); no code is taken."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from aseg_bench.errors import InputError
from aseg_bench.methods import MethodOptions
from aseg_bench.training.backbone import Backbone, is_plain
from aseg_bench.training.checkpoints import load_renamed
from aseg_bench.training.features import FeatureScaler, smoothed
from aseg_bench.training.method import TrainedMethod
from aseg_bench.training.official import by_part, state_in
from aseg_bench.training.reconstruction import FeatureReconstruction
from aseg_bench.training.settings import settings_for
from baselines.vitad.decoder import ViTDecoder
from baselines.vitad.fuser import Fuser
from baselines.vitad.settings import PRESETS, ViTADSettings

_OFFICIAL = {"net_fusion.fc.": "fuser.", "net_s.pos_embed": "decoder.position", "net_s.": "decoder."}
_UNUSED = ("cls_token", "patch_embed.", "norm.", "fc_norm.", "head.")  # of the whole ViTs that their two networks are


class ViTAD(nn.Module):
    """Fuser, decoder, and the cosine distance of what it rebuilds.

    Args:
        level_channels: channels of the encoder's features, shallowest first; the last are what the decoder starts from.
        strides: of the same features; tokens have that of the last that is rebuilt.
        grid: rows and columns of tokens.
        settings: the other numbers.
    """

    def __init__(
        self, level_channels: Sequence[int], strides: Sequence[int], grid: tuple[int, int], settings: ViTADSettings
    ) -> None:
        super().__init__()
        self.scales = [strides[-2] / stride for stride in strides]  # cells per token along an axis
        self.grid, self.smoothing = grid, settings.smoothing
        *rebuilt, last = level_channels
        self.fuser = Fuser(last, settings.channels)
        self.decoder = ViTDecoder(grid, settings.channels, settings.n_heads, settings.n_layers, rebuilt)

    def forward(self, features: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """The encoder's features and what the decoder makes of them, (B, C_k, rows, columns) per level."""
        *targets, last = map(self._on_grid, features, self.scales)
        return list(zip(targets, self.decoder(self.fuser(last)), strict=True))

    def _on_grid(self, values: Tensor, scale: float) -> Tensor:
        """Means of cells where there are more than tokens, and values between cells where there are fewer."""
        if scale >= 1:
            return functional.avg_pool2d(values, int(scale)) if scale > 1 else values
        return functional.interpolate(values, self.grid, mode="bilinear", align_corners=False)

    def losses(self, features: Sequence[Tensor]) -> dict[str, Tensor]:
        """One minus the cosine per level, each image's level as one long vector."""
        return {
            f"level_{number}": (1 - functional.cosine_similarity(target.flatten(1), rebuilt.flatten(1))).mean()
            for number, (target, rebuilt) in enumerate(self(features), start=1)
        }

    def pairs(self, features: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """Features of encoder and decoder, (B, C, positions) per level.

        The loss leaves the scale of an image's level free, so it is the one that fits best.
        """
        found = []
        for target, rebuilt in self(features):
            scale = (target * rebuilt).sum((1, 2, 3)) / rebuilt.square().sum((1, 2, 3)).clamp_min(1e-12)
            found.append((target.flatten(2), (rebuilt * scale.view(-1, 1, 1, 1)).flatten(2)))
        return found

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Biases and norms do not decay."""
        parameters = list(self.parameters())
        return [
            {"params": [values for values in parameters if values.ndim > 1]},
            {"params": [values for values in parameters if values.ndim <= 1], "weight_decay": 0.0},
        ]

    def level_maps(self, features: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        """Cosine distance per token, upsampled and smoothed, (B, levels, height, width) in [0, 2]."""
        distances = torch.stack(
            [1 - functional.cosine_similarity(target, rebuilt) for target, rebuilt in self(features)], dim=1
        )
        maps = functional.interpolate(distances, tuple(size), mode="bilinear", align_corners=True)
        return smoothed(maps, self.smoothing)

    def anomaly_map(self, features: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        """Sum of the levels' maps, (B, height, width)."""
        return self.level_maps(features, size).sum(1)


def build_vitad(settings: ViTADSettings, weights: Path | None = None, pretrained: bool = True) -> FeatureReconstruction:
    """ViTAD as a module: ``model(images)`` maps RGB images (B, 3, H, W) in [0, 255] to (B, H, W).

    Args:
        settings: every number.
        weights: file with the backbone's weights.
        pretrained: False leaves the backbone random, for a checkpoint that holds its weights.

    Raises:
        InputError: numbers do not fit together, or the backbone lacks a block or stride.
        MissingWeightsError: the backbone's weights cannot be found.
    """
    plain = is_plain(settings.backbone)
    n_rebuilt = len(settings.blocks if plain else settings.strides) - 1
    if n_rebuilt < 1 or settings.n_layers % n_rebuilt:
        what = f"blocks {settings.blocks}" if plain else f"strides {settings.strides}"
        raise InputError(
            f"{what}: all but the last are rebuilt, after equal parts of the {settings.n_layers} layers (n_layers)"
        )
    if settings.channels % settings.n_heads:
        raise InputError(f"channels {settings.channels} is not a multiple of n_heads {settings.n_heads}")
    places: dict[str, Any] = {"blocks": settings.blocks} if plain else {"strides": settings.strides}
    backbone = Backbone(settings.backbone, weights=weights, pretrained=pretrained, image_size=settings.size, **places)
    rows, columns = settings.grid(backbone.strides)
    finer = max(backbone.strides) // backbone.strides[-2]
    decoder = ViTAD(backbone.channels, backbone.strides, (rows * finer, columns * finer), settings)
    return FeatureReconstruction(backbone, FeatureScaler(backbone.channels), decoder)


def load_official(model: FeatureReconstruction, content: Mapping[str, Any]) -> None:
    """Load ADer's ``net.pth``, or the ``net`` of its ``ckpt.pth``: encoder, fuser and decoder.

    Args:
        model: of the preset ``paper``; gets the weights.
        content: of the file.

    Raises:
        InputError: an entry has no place here, has another shape, or is missing.
    """
    parts = by_part(state_in(content, "net"))
    encoder = {"net_t": parts.pop("net_t", {})}
    load_renamed(model.backbone.network, encoder, {"net_t.": "model."}, [f"net_t.{name}" for name in _UNUSED[2:]])
    load_renamed(model.decoder, parts, _OFFICIAL, [f"net_s.{name}" for name in _UNUSED])


def make_method(options: MethodOptions) -> TrainedMethod:
    """ViTAD as the runner uses it."""
    settings = settings_for(PRESETS, options)
    return TrainedMethod(
        "vitad", lambda: build_vitad(settings, options.backbone_weights, not options.checkpoint), settings, options
    )
