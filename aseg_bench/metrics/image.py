"""Image metrics of a finished sweep, and the scores of an image that can be had from its map."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aseg_bench.errors import InputError
from aseg_bench.metrics.swept import Sweep


def auroc(sweep: Sweep) -> float:
    """Share of (anomalous, normal) pairs of images in the right order."""
    return sweep.image_curve.auroc


def ap(sweep: Sweep) -> float:
    """Step average precision over images."""
    return sweep.image_curve.average_precision


def f1_max(sweep: Sweep) -> float:
    """F1 over images at the best threshold."""
    curve = sweep.image_curve
    tp, fp = curve.at_f1_threshold
    return 2 * tp / (curve.n_anomalous + tp + fp)


def highest(score_map: NDArray[Any]) -> float:
    """The highest pixel of a map (height, width)."""
    return float(score_map.max())


def deviation(score_map: NDArray[Any]) -> float:
    """Standard deviation of the pixels of a map (height, width), in float64."""
    return float(score_map.std(dtype=np.float64))


@dataclass(frozen=True)
class TopMean:
    """Mean of the highest pixels of a map (height, width).

    Attributes:
        n_pixels: how many; a smaller map gives its mean.
    """

    n_pixels: int = 100

    def __post_init__(self) -> None:
        if self.n_pixels < 1:
            raise InputError(f"the mean of the top {self.n_pixels} pixels has no value; take at least 1")

    def __call__(self, score_map: NDArray[Any]) -> float:
        """The mean, in float64."""
        flat = score_map.ravel()
        n = min(self.n_pixels, flat.size)
        return float(np.sort(np.partition(flat, flat.size - n)[flat.size - n :]).mean(dtype=np.float64))


@dataclass(frozen=True)
class PooledMax:
    """Highest mean over all square windows of a map (height, width), at stride 1, without padding.

    Attributes:
        window: side of the window in pixels; cut to the map's.
    """

    window: int = 16

    def __post_init__(self) -> None:
        if self.window < 1:
            raise InputError(f"a window of {self.window} pixels holds none; take at least 1")

    def __call__(self, score_map: NDArray[Any]) -> float:
        """The highest mean, in float64."""
        means = score_map.astype(np.float64)
        for axis, length in enumerate(score_map.shape):
            window = min(self.window, length)
            means = np.lib.stride_tricks.sliding_window_view(means, window, axis=axis).mean(axis=-1)
        return float(means.max())
