"""The one place where UniAS is put together: every number, with the section or configuration it is from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isqrt
from pathlib import Path

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from aseg_bench.errors import InputError
from aseg_bench.methods import MethodOptions
from aseg_bench.training.backbone import OFFLINE_BACKBONE, Backbone
from aseg_bench.training.data import Augmentation
from aseg_bench.training.features import FeatureScaler, neighbour_mask
from aseg_bench.training.method import TrainedMethod
from aseg_bench.training.reconstruction import FeatureReconstruction
from aseg_bench.training.settings import Share, TrainingSettings, choose_settings
from uni_as.corruption import Corruption
from uni_as.decoder import HybridBlock, UniASDecoder
from uni_as.features import FilteredFeatures
from uni_as.maps import Combination, LevelMaps
from uni_as.mgg_cnn import MGGCNN, LocalPart
from uni_as.patches import PatchEmbedding, PatchReconstruction
from uni_as.plain import PlainDecoder, SelfAttentionLayer
from uni_as.sar_query import SARQuery
from uni_as.transformer import Reach, TransformerLayer, sine_position

STRIDES = (2, 4, 8, 16)  # section 4.3: stages 1 to 4 of EfficientNet


@dataclass(frozen=True)
class UniASSettings(TrainingSettings):
    """Every number of UniAS. The defaults are the paper's, and the authors' configuration where it is silent.

    Attributes:
        channels: C' (section 4.3).
        n_heads: of both attentions (configuration).
        ffn_channels: hidden units of the feed-forward network (configuration).
        dropout: in the transformer layers (configuration).
        positions: sines with a period of one ``image`` (configuration) or of a few ``cells`` (ours).
        neighbour_size: side of the neighbourhood hidden from both attentions; 0 hides none (configuration).
        jitter_scale: noise on features in training, in units of their norm over C (configuration).
        jitter_probability: share of the images whose features of a level get noise (configuration).
        swap_probability: share of the images that get pieces of another one's features in training (ours).
        blur_size: kernel of the Gaussian filter of eq. 2 (configuration).
        blur_sigma: its deviation (configuration).
        smoothing: kernel sizes that smooth the level maps, shallowest first (configuration).
        levels: levels of the map, 1 is the shallowest (Table 5).
        combination: ``product`` of their maps (eq. 6), or one ``joint`` distance over all their channels (ours).
        multi_level: reconstruct every level; else the baseline on the fused lowest resolution (Table 4).
        sample_aware: the query is re-weighted by the image (section 3.4, Table 4).
        local: local part of the hybrid blocks (eq. 5, Table 4).
        flip_horizontal: categories mirrored in training (configuration).
        flip_vertical: categories turned upside down in training (configuration).
        rotate: categories turned by quarters in training (configuration).
    """

    channels: PositiveInt = 256
    n_heads: PositiveInt = 4
    ffn_channels: PositiveInt = 2048
    dropout: Share = 0.1
    positions: Reach = "image"
    neighbour_size: NonNegativeInt = 7
    jitter_scale: NonNegativeFloat = 20.0
    jitter_probability: Share = 0.5
    swap_probability: Share = 0.0
    blur_size: PositiveInt = 3
    blur_sigma: PositiveFloat = 1.0
    smoothing: tuple[NonNegativeInt, ...] = (9, 7, 5, 3)
    levels: tuple[int, ...] = (1, 2, 3, 4)
    combination: Combination = "product"
    multi_level: bool = True
    sample_aware: bool = True
    local: LocalPart = "mgg"
    flip_horizontal: frozenset[str] = frozenset()
    flip_vertical: frozenset[str] = frozenset()
    rotate: frozenset[str] = frozenset()


# the authors' lists of categories that may be mirrored or turned; their hazel_nut, which never matched, is mended
_MVTEC_MIRRORED = frozenset(
    ["bottle", "carpet", "grid", "hazelnut", "metal_nut", "pill", "screw", "tile", "wood", "zipper"]
)
_VISA_UPRIGHT = frozenset({"candle", "macaroni1"})  # mirrored left to right only
_VISA_MIRRORED = frozenset(["capsules", "chewinggum", "fryum", "macaroni2", "pipe_fryum"])

PRESETS: Mapping[str, UniASSettings] = {
    "paper": UniASSettings(),
    "mvtec": UniASSettings(
        flip_horizontal=_MVTEC_MIRRORED,
        flip_vertical=_MVTEC_MIRRORED,
        rotate=frozenset(["bottle", "carpet", "hazelnut", "screw", "tile", "wood"]),
    ),
    "visa": UniASSettings(
        flip_horizontal=_VISA_MIRRORED | _VISA_UPRIGHT,
        flip_vertical=_VISA_MIRRORED,
        rotate=frozenset({"capsules", "fryum", "macaroni2"}),
    ),
    "cpu": UniASSettings(
        backbone=OFFLINE_BACKBONE,  # weights come with the package
        feature_scaling="z_score",  # ours: see docs/uni_as.md
        channels=128,
        ffn_channels=512,
        positions="cells",  # attention finds its place within few steps
        neighbour_size=0,  # what the place itself shows tells texture from defects; swapped pieces forbid to copy it
        swap_probability=0.7,
        combination="joint",
        sampling="balanced",  # ours, as small sets have categories of very different size
        n_steps=600,
        batch_size=4,
        learning_rate=1e-3,
        schedule="one_cycle",
        clip_norm=1.0,
        dropout=0.0,  # a short training underfits, and drawing masks takes time
        jitter_scale=10.0,  # half of the configuration's: a short training cannot learn through more
    ),
}


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
        settings: take these instead of the preset.
        weights: file with the backbone's weights.
        pretrained: False leaves the backbone random, for a checkpoint that brings its own.
    """
    numbers = settings or choose_settings(PRESETS, preset, {"backbone": backbone} if backbone else {})
    _check(numbers)
    extractor = Backbone(numbers.backbone, STRIDES, weights, pretrained)
    build = _levels if numbers.multi_level else _plain
    decoder = build(
        numbers, extractor.channels, sine_position(numbers.grid(STRIDES), numbers.channels, numbers.positions)
    )
    return FeatureReconstruction(extractor, FeatureScaler(extractor.channels), decoder)


def _levels(numbers: UniASSettings, level_channels: Sequence[int], position: Tensor) -> UniASDecoder:
    patch_sizes = [STRIDES[-1] // stride for stride in STRIDES]
    embeddings, blocks = [], []
    for own, patch_size in zip(level_channels, patch_sizes, strict=True):
        embeddings.append(PatchEmbedding(2 * own, numbers.channels, patch_size))
        blocks.append(
            HybridBlock(
                TransformerLayer(numbers.channels, numbers.n_heads, numbers.ffn_channels, numbers.dropout),
                MGGCNN(numbers.channels, numbers.local),
                PatchReconstruction(numbers.channels, own, patch_size),
            )
        )
    return UniASDecoder(
        FilteredFeatures(numbers.blur_size, numbers.blur_sigma),
        embeddings,
        SARQuery(len(position), numbers.channels, numbers.sample_aware),
        blocks,
        LevelMaps(numbers.smoothing),
        numbers.levels,
        numbers.combination,
        position,
        neighbour_mask(isqrt(len(position)), numbers.neighbour_size),
        Corruption(numbers.jitter_scale, numbers.jitter_probability, numbers.swap_probability),
    )


def _plain(numbers: UniASSettings, level_channels: Sequence[int], position: Tensor) -> PlainDecoder:
    fused = sum(level_channels)
    return PlainDecoder(
        FilteredFeatures(numbers.blur_size, numbers.blur_sigma),
        PatchEmbedding(2 * fused, numbers.channels, 1),
        [
            SelfAttentionLayer(numbers.channels, numbers.n_heads, numbers.ffn_channels, numbers.dropout)
            for _ in level_channels  # as deep as the pipeline of levels
        ],
        PatchReconstruction(numbers.channels, fused, 1),
        LevelMaps(numbers.smoothing[-1:]),
        position,
        neighbour_mask(isqrt(len(position)), numbers.neighbour_size),
        Corruption(numbers.jitter_scale, numbers.jitter_probability, numbers.swap_probability),
    )


def _check(numbers: UniASSettings) -> None:
    n_levels, size, grid = len(STRIDES), numbers.image_size, numbers.grid(STRIDES)
    for is_wrong, said in (
        (numbers.channels % 4, f"channels {numbers.channels}: positions need a multiple of 4"),
        (numbers.channels < 16, f"channels {numbers.channels}: the query's weights need at least 16"),
        (numbers.channels % numbers.n_heads, f"channels {numbers.channels} do not divide into {numbers.n_heads} heads"),
        (not numbers.blur_size % 2, f"blur_size {numbers.blur_size}: the filter needs an odd size"),
        (
            numbers.blur_size // 2 >= grid,
            f"blur_size {numbers.blur_size}: too large for {grid} x {grid} deepest cells of image_size {size}",
        ),
        (
            any(kernel and not kernel % 2 for kernel in numbers.smoothing),
            f"smoothing {numbers.smoothing}: odd sizes, or 0",
        ),
        (
            max(numbers.smoothing, default=0) // 2 >= size // 2,
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
    changes = dict(options.settings) | ({"backbone": options.backbone} if options.backbone else {})
    settings = choose_settings(PRESETS, options.preset, changes)
    augmentation = Augmentation(settings.flip_horizontal, settings.flip_vertical, settings.rotate)
    return TrainedMethod(
        "uni_as",
        lambda: build_uni_as(settings=settings, weights=options.backbone_weights),
        settings,
        options,
        augmentation,
    )
