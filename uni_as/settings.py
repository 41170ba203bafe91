"""Every number of UniAS, with the section or configuration it is from. No torch is needed to read them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from aseg_bench.training.settings import OFFLINE_BACKBONE, Share, TrainingSettings

Combination = Literal["product", "joint", "weighted"]
LocalPart = Literal["none", "conv3", "mg", "mgg"]
Reach = Literal["image", "cells"]


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
        combination: ``product`` of their maps (eq. 6), one ``joint`` distance over all their channels (ours), or that
            ``weighted`` by the product (ours).
        multi_level: reconstruct every level; else the baseline on the fused lowest resolution (Table 4).
        sample_aware: the query is re-weighted by the image (section 3.4, Table 4).
        local: local part of the hybrid blocks (eq. 5, Table 4).
        flip_horizontal: categories mirrored in training (configuration).
        flip_vertical: categories turned upside down in training (configuration).
        rotate: categories turned by quarters in training (configuration); by halves where images are not square.
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


# the authors' lists of categories that may be mirrored or turned; their hazel_nut, which never matched, is corrected
_MVTEC_MIRRORED = frozenset(
    ["bottle", "carpet", "grid", "hazelnut", "metal_nut", "pill", "screw", "tile", "wood", "zipper"]
)
_VISA_UPRIGHT = frozenset({"candle", "macaroni1"})  # mirrored left to right only
_VISA_MIRRORED = frozenset(["capsules", "chewinggum", "fryum", "macaroni2", "pipe_fryum"])

_CPU = UniASSettings(
    backbone=OFFLINE_BACKBONE,  # weights come with the package
    feature_scaling="z_score",  # ours: see docs/uni_as.md
    ffn_channels=1024,
    positions="cells",  # attention finds its place within few steps
    neighbour_size=0,  # what the place itself shows tells texture from defects; swapped pieces prevent copying it
    swap_probability=0.7,
    combination="weighted",  # docs/uni_as.md has all of them on six real categories
    smoothing=(0, 0, 0, 0),
    sampling="balanced",  # ours, as small sets have categories of very different size
    n_steps=450,  # more of them learn to copy: docs/uni_as.md has the curve
    batch_size=4,
    learning_rate=5e-4,
    schedule="one_cycle",
    clip_norm=1.0,
    dropout=0.0,  # a short training underfits, and drawing masks takes time
    jitter_scale=10.0,  # half of the configuration's: a short training cannot learn through more
)

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
    "cpu": _CPU,
    "quick": replace(_CPU, channels=128, ffn_channels=512, n_steps=600, learning_rate=1e-3),  # 0.6 of its time
}
