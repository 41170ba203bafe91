"""What counts as anomalous: a stored mask becomes a boolean truth of the evaluated size."""

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from aseg_bench.protocols.presets import Protocol, TruthRule


def truth_mask(mask: NDArray[np.number], shape: tuple[int, int], protocol: Protocol) -> NDArray[np.bool_]:
    """The mask under a protocol's rule.

    Args:
        mask: as stored, (height, width); 0 is normal. Class indices (no value above 127, as in raw VisA) and
            fractions (floats up to 1) are read as ``> 0``.
        shape: height and width to resize to, before any crop.
        protocol: its three truth settings apply.

    Returns:
        True where anomalous, of the given shape.
    """
    grey = _as_0_to_255(mask, binarised=protocol.truth_binarised_first)
    if shape == grey.shape:
        return binarised(grey / 255.0, protocol.truth_rule)
    if not grey.any():
        return np.zeros(shape, dtype=np.bool_)
    size = (shape[1], shape[0])
    picture = Image.fromarray(grey)
    resized: NDArray[np.floating]
    if protocol.truth_resize == "nearest":
        resized = np.asarray(picture.resize(size, Image.Resampling.NEAREST)) / 255.0
    elif protocol.truth_resize == "pillow_bilinear":
        resized = np.asarray(picture.resize(size, Image.Resampling.BILINEAR)) / 255.0
    elif protocol.truth_resize == "opencv_linear":
        resized = np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_LINEAR)) / 255.0
    else:  # torchvision's antialiased tensor resize is Pillow's triangle filter without the rounding to 8 bits
        fractions = Image.fromarray((grey / 255.0).astype(np.float32))
        resized = np.asarray(fractions.resize(size, Image.Resampling.BILINEAR))
    return binarised(resized, protocol.truth_rule)


def binarised(fractions: NDArray[np.floating], rule: TruthRule) -> NDArray[np.bool_]:
    """Which pixels of a mask from 0 to 1 a rule calls anomalous."""
    if rule == "above_zero":
        return fractions > 0
    if rule == "above_half":
        return fractions > 0.5
    if rule == "at_least_half":
        return fractions >= 0.5
    if rule == "above_127":
        return fractions > 127 / 255
    return fractions >= 1


def _as_0_to_255(mask: NDArray[np.number], *, binarised: bool) -> NDArray[np.uint8]:
    if binarised or mask.dtype != np.uint8 or mask.max(initial=0) <= 127:
        return np.where(mask > 0, np.uint8(255), np.uint8(0))
    return mask.astype(np.uint8, copy=False)
