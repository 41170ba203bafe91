"""Where a map and the truth meet: the frame both are resized to, and what is cropped from it."""

import cv2
import numpy as np
from numpy.typing import NDArray

from aseg_bench.protocols.presets import Protocol

Shape = tuple[int, int]  # height, width


def frame_shape(map_shape: Shape, image_shape: Shape, protocol: Protocol) -> Shape:
    """Height and width of the evaluated frame before any crop.

    Args:
        map_shape: of the map.
        image_shape: of the original image.
        protocol: its ``size`` and ``keep_aspect`` apply; the longer edge is rounded down, as torchvision does.
    """
    if protocol.size == "map":
        return map_shape
    if protocol.size == "image":
        return image_shape
    edge = int(protocol.size)
    if not protocol.keep_aspect:
        return edge, edge
    height, width = image_shape
    return (edge, int(edge * width / height)) if height <= width else (int(edge * height / width), edge)


def crop_box(shape: Shape, crop: int | None) -> tuple[slice, slice]:
    """The centre square of a frame as torchvision's CentreCrop takes it; the whole frame without a crop."""
    if crop is None:
        return slice(None), slice(None)
    top, left = (max(0, round((edge - crop) / 2)) for edge in shape)
    return slice(top, top + crop), slice(left, left + crop)


def resized_map(scores: NDArray[np.floating], shape: Shape) -> NDArray[np.floating]:
    """A map bilinearly resized with half-pixel centres and without antialiasing (OpenCV's INTER_LINEAR)."""
    if scores.shape == shape:
        return scores
    exact = scores if scores.dtype in (np.float32, np.float64) else scores.astype(np.float32)
    return np.asarray(cv2.resize(exact, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR), dtype=exact.dtype)
