"""One anomaly score per image from its map, in each way that a protocol of the field takes it."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aseg_bench.errors import InputError
from aseg_bench.protocols.presets import ImageScoreRule

Scores = NDArray[np.floating]


def image_score(scores: Scores, rule: ImageScoreRule) -> float:
    """The score of an image.

    Args:
        scores: its map, (height, width).
        rule: how to take it.

    Raises:
        InputError: the map is smaller than the pooling window.
    """
    return float(_RULES[rule](scores))


def pooled(scores: Scores, edge: int, padding: int = 0) -> NDArray[np.float64]:
    """Mean of every full square window, stride 1, after padding with zeros; as ``torch.nn.functional.avg_pool2d``.

    Args:
        scores: (height, width).
        edge: of the window.
        padding: zeros added on each side; they count in the mean.

    Returns:
        (height + 2 padding - edge + 1, width + 2 padding - edge + 1).
    """
    padded = np.pad(scores.astype(np.float64), padding)
    if min(padded.shape) < edge:
        raise InputError(
            f"a map of {scores.shape} is smaller than the {edge} x {edge} window of the image score; "
            "choose another protocol"
        )
    sums = np.pad(padded.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    windows: NDArray[np.float64] = sums[edge:, edge:] - sums[:-edge, edge:] - sums[edge:, :-edge] + sums[:-edge, :-edge]
    return windows / edge**2


def _pooled_eight_times(scores: Scores) -> float:
    for _ in range(8):
        scores = pooled(scores, 8)
    return float(scores.max())


def _top_100_mean(scores: Scores) -> float:
    n_top = min(100, scores.size)
    return float(np.partition(scores, scores.size - n_top, axis=None)[-n_top:].mean())


_RULES: dict[ImageScoreRule, Callable[[Scores], Any]] = {
    "max": lambda scores: scores.max(),
    "std": lambda scores: scores.std(),
    "top_100_mean": _top_100_mean,
    "pool_8_eight_times_max": _pooled_eight_times,
    "pool_16_max": lambda scores: pooled(scores, 16).max(),
    "pool_21_max": lambda scores: pooled(scores, 21, padding=10).max(),
}
