"""The one place where UniAS is put together, from the numbers of `uni_as.settings`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aseg_bench.errors import InputError
from aseg_bench.methods import MethodOptions
from aseg_bench.training.backbone import Backbone
from aseg_bench.training.data import Augmentation
from aseg_bench.training.features import FeatureScaler, neighbour_mask
from aseg_bench.training.method import TrainedMethod
from aseg_bench.training.reconstruction import FeatureReconstruction
from aseg_bench.training.settings import choose_settings, settings_for
from uni_as.corruption import Corruption
from uni_as.decoder import HybridBlock, UniASDecoder
from uni_as.features import FilteredFeatures
from uni_as.maps import LevelMaps
from uni_as.mgg_cnn import MGGCNN
from uni_as.patches import PatchEmbedding, PatchReconstruction
from uni_as.plain import PlainDecoder, SelfAttentionLayer
from uni_as.sar_query import SARQuery
from uni_as.settings import PRESETS, UniASSettings
from uni_as.transformer import TransformerLayer, sine_position

STRIDES = (2, 4, 8, 16)  # section 4.3: stages 1 to 4 of EfficientNet


def build_uni_as(
    preset: str = "paper",
    backbone: str | None = None,
    *,
    settings: UniASSettings | None = None,
    weights: Path | None = None,
    pretrained: bool = True,
) -> FeatureReconstruction:
    """UniAS as a module: ``model(images)`` maps RGB images (B, 3, H, W) in [0, 255] to (B, H, W).

    Args:
        preset: key of ``PRESETS``.
        backbone: timm name that replaces the preset's.
        settings: take these instead of the preset and its backbone.
        weights: file with the backbone's weights.
        pretrained: False leaves the backbone random, for a checkpoint that brings its own.

    Raises:
        InputError: ``backbone`` is given beside ``settings``, a preset is unknown, or numbers do not fit together.
        MissingWeightsError: the backbone's weights cannot be found.
    """
    if settings and backbone:
        raise InputError(f"backbone {backbone} is given beside settings, which name {settings.backbone}; name it there")
    numbers = settings or choose_settings(PRESETS, preset, {"backbone": backbone} if backbone else {})
    _check(numbers)
    extractor = Backbone(numbers.backbone, STRIDES, weights=weights, pretrained=pretrained)
    decoder = (_levels if numbers.multi_level else _plain)(numbers, extractor.channels)
    return FeatureReconstruction(backbone=extractor, scaler=FeatureScaler(extractor.channels), decoder=decoder)


def _levels(numbers: UniASSettings, level_channels: Sequence[int]) -> UniASDecoder:
    grid = numbers.grid(STRIDES)
    patch_sizes = [STRIDES[-1] // stride for stride in STRIDES]
    embeddings, blocks = [], []
    for own, patch_size in zip(level_channels, patch_sizes, strict=True):
        embeddings.append(PatchEmbedding(in_channels=2 * own, channels=numbers.channels, patch_size=patch_size))
        blocks.append(
            HybridBlock(
                transformer=TransformerLayer(**_attention(numbers)),
                local=MGGCNN(channels=numbers.channels, grid=grid, kind=numbers.local),
                reconstruct=PatchReconstruction(
                    channels=numbers.channels, out_channels=own, patch_size=patch_size, grid=grid
                ),
            )
        )
    return UniASDecoder(
        embeddings=embeddings,
        query=SARQuery(grid=grid, channels=numbers.channels, sample_aware=numbers.sample_aware),
        blocks=blocks,
        maps=LevelMaps(kernel_sizes=numbers.smoothing),
        levels=numbers.levels,
        combination=numbers.combination,
        **_shared(numbers),
    )


def _plain(numbers: UniASSettings, level_channels: Sequence[int]) -> PlainDecoder:
    fused = sum(level_channels)
    return PlainDecoder(
        embed=PatchEmbedding(in_channels=2 * fused, channels=numbers.channels, patch_size=1),
        layers=[SelfAttentionLayer(**_attention(numbers)) for _ in level_channels],  # as deep as the pipeline of levels
        reconstruct=PatchReconstruction(
            channels=numbers.channels, out_channels=fused, patch_size=1, grid=numbers.grid(STRIDES)
        ),
        maps=LevelMaps(kernel_sizes=numbers.smoothing[-1:]),
        **_shared(numbers),
    )


def _attention(numbers: UniASSettings) -> dict[str, Any]:
    """What a layer of either decoder is made with."""
    return {
        "channels": numbers.channels,
        "n_heads": numbers.n_heads,
        "ffn_channels": numbers.ffn_channels,
        "dropout": numbers.dropout,
    }


def _shared(numbers: UniASSettings) -> dict[str, Any]:
    """What both decoders are made with."""
    grid = numbers.grid(STRIDES)
    return {
        "filtered": FilteredFeatures(size=numbers.blur_size, sigma=numbers.blur_sigma),
        "position": sine_position(grid=grid, channels=numbers.channels, reach=numbers.positions),
        "mask": neighbour_mask(grid=grid, size=numbers.neighbour_size),
        "corruption": Corruption(
            jitter_scale=numbers.jitter_scale,
            jitter_probability=numbers.jitter_probability,
            swap_probability=numbers.swap_probability,
        ),
    }


def _check(numbers: UniASSettings) -> None:
    n_levels, size, grid = len(STRIDES), numbers.image_size, numbers.grid(STRIDES)
    for is_wrong, said in (
        (numbers.channels % 4, f"channels {numbers.channels}: positions need a multiple of 4"),
        (numbers.channels < 16, f"channels {numbers.channels}: the query's weights need at least 16"),
        (numbers.channels % numbers.n_heads, f"channels {numbers.channels} do not divide into {numbers.n_heads} heads"),
        (not numbers.blur_size % 2, f"blur_size {numbers.blur_size}: the filter needs an odd size"),
        (
            numbers.blur_size // 2 >= min(grid),
            f"blur_size {numbers.blur_size}: too large for {grid[0]} x {grid[1]} deepest cells of image_size {size}",
        ),
        (
            any(kernel and not kernel % 2 for kernel in numbers.smoothing),
            f"smoothing {numbers.smoothing}: odd sizes, or 0",
        ),
        (
            max(numbers.smoothing, default=0) // 2 >= min(numbers.size) // 2,
            f"smoothing {numbers.smoothing}: too large for maps of half the image_size {size}",
        ),
        (len(numbers.smoothing) != n_levels, f"smoothing {numbers.smoothing}: one size for each of {n_levels} levels"),
        (
            not numbers.levels or not set(numbers.levels) <= set(range(1, n_levels + 1)),
            f"levels {numbers.levels}: numbers from 1 to {n_levels}",
        ),
    ):
        if is_wrong:
            raise InputError(said)


def make_method(options: MethodOptions) -> TrainedMethod:
    """UniAS as the runner meets it."""
    settings = settings_for(PRESETS, options)
    augmentation = Augmentation(settings.flip_horizontal, settings.flip_vertical, settings.rotate)
    return TrainedMethod(
        "uni_as",
        lambda: build_uni_as(settings=settings, weights=options.backbone_weights, pretrained=not options.checkpoint),
        settings,
        options,
        augmentation,
    )
