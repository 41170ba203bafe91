"""What counts as anomalous: a stored mask becomes a truth of the evaluated size."""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from aseg_bench.protocols.mask_rule import DEFAULT_RULE, MaskRule
from aseg_bench.protocols.presets import Protocol, TruthResize, TruthRule

Fractions = NDArray[np.float32]


def truth_fractions(mask: NDArray[np.number], shape: tuple[int, int], protocol: Protocol) -> Fractions:
    """A stored mask resized as a protocol does it, not yet binarised.

    Args:
        mask: as stored, (height, width); 0 is normal. Class indices (no value above 127, as in raw VisA) and
            masks of any other type than 8 bits are read as ``> 0``. With a mask rule other than that all are binarised
            by it before they are resized.
        shape: height and width to resize to.
        protocol: its truth settings apply.

    Returns:
        Anomalous share of each pixel in [0, 1], float32, of the given shape.
    """
    is_ruled = protocol.mask_rule != DEFAULT_RULE
    is_stretched = is_ruled or protocol.truth_binarised_first or mask.dtype != np.uint8 or mask.max(initial=0) <= 127
    anomalous = MaskRule.parse(protocol.mask_rule).anomalous
    grey = np.where(anomalous(mask), np.uint8(255), np.uint8(0)) if is_stretched else mask.astype(np.uint8, copy=False)
    if not grey.any():
        return np.zeros(shape, dtype=np.float32)
    if shape == grey.shape:
        return _as_fractions(grey)
    return _RESIZES[protocol.truth_resize](grey, (shape[1], shape[0]))


def void_pixels(mask: NDArray[np.number], shape: tuple[int, int], protocol: Protocol) -> NDArray[np.bool_] | None:
    """Which pixels of the evaluated size a stored mask makes void, as its truth is resized; None without any."""
    void = MaskRule.parse(protocol.mask_rule).void(mask)
    if void is None or not void.any() or void.shape == shape:
        return void
    return _RESIZES[protocol.truth_resize](void * np.uint8(255), (shape[1], shape[0])) > 0


def binarised(fractions: Fractions, rule: TruthRule) -> NDArray[np.bool_]:
    """Which pixels a rule calls anomalous."""
    return _RULES[rule](fractions)


def _as_fractions(grey: NDArray[np.uint8]) -> Fractions:
    return grey.astype(np.float32) / np.float32(255)


def _by_pillow(resample: Image.Resampling) -> Callable[[NDArray[np.uint8], tuple[int, int]], Fractions]:
    return lambda grey, size: _as_fractions(np.asarray(Image.fromarray(grey).resize(size, resample)))


def _by_opencv(interpolation: int) -> Callable[[NDArray[np.uint8], tuple[int, int]], Fractions]:
    return lambda grey, size: _as_fractions(np.asarray(cv2.resize(grey, size, interpolation=interpolation), np.uint8))


def _by_torch_antialias(grey: NDArray[np.uint8], size: tuple[int, int]) -> Fractions:
    """The antialiased tensor resize of torchvision: Pillow's triangle filter without rounding to 8 bits."""
    fractions = Image.fromarray(_as_fractions(grey))
    return np.asarray(fractions.resize(size, Image.Resampling.BILINEAR), dtype=np.float32)


_RESIZES: dict[TruthResize, Callable[[NDArray[np.uint8], tuple[int, int]], Fractions]] = {
    "nearest": _by_pillow(Image.Resampling.NEAREST),
    "opencv_nearest": _by_opencv(cv2.INTER_NEAREST),  # also torch's nearest: the pixel's corner, not its centre
    "pillow_bilinear": _by_pillow(Image.Resampling.BILINEAR),
    "opencv_linear": _by_opencv(cv2.INTER_LINEAR),
    "torch_antialias": _by_torch_antialias,
}
_RULES: dict[TruthRule, Callable[[Fractions], NDArray[np.bool_]]] = {
    "above_zero": lambda fractions: fractions > 0,
    "above_half": lambda fractions: fractions > 0.5,
    "at_least_half": lambda fractions: fractions >= 0.5,
    "above_127": lambda fractions: fractions > np.float32(127 / 255),
    "only_full": lambda fractions: fractions >= 1,
}
