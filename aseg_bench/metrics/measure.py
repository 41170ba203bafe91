"""measure and evaluate_maps: all metrics of a category in one call."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aseg_bench.errors import InputError, UndefinedMetricError
from aseg_bench.methods import near_matches
from aseg_bench.metrics.curve import Curve
from aseg_bench.metrics.table import METRICS

Maps = NDArray[Any] | Sequence[NDArray[Any]]


@dataclass(frozen=True)
class Measured:
    """Metrics of one category.

    Attributes:
        values: metric key -> value.
        undefined: metric key -> the reason why it has no value.
        curve: the exact curve.
    """

    values: dict[str, float]
    undefined: dict[str, str]
    curve: Curve


class _Swept:
    def __init__(self, scores: Maps, masks: Maps, image_scores: Any, image_labels: Any) -> None:
        self.maps = [np.asarray(scores[i]) for i in range(len(scores))]
        self.masks = [np.asarray(masks[i]) for i in range(len(masks))]
        for i, (s, m) in enumerate(zip(self.maps, self.masks, strict=True)):
            if s.shape != m.shape:
                raise InputError(f"image {i}: scores have shape {s.shape}, mask {m.shape}")
            if m.dtype != np.bool_:
                raise InputError(f"image {i}: the mask is {m.dtype}; make it boolean, for instance mask > 0")
            bad = np.argwhere(np.isnan(s))
            if len(bad):
                raise InputError(f"score is nan at image {i}, pixel ({bad[0][0]}, {bad[0][1]})")
        self.image_scores = np.array([m.max() for m in self.maps]) if image_scores is None else np.asarray(image_scores)
        self.image_labels = (
            np.array([m.any() for m in self.masks]) if image_labels is None else np.asarray(image_labels, dtype=bool)
        )

    @cached_property
    def curve(self) -> Curve:
        s = np.concatenate([m.ravel() for m in self.maps])
        y = np.concatenate([m.ravel() for m in self.masks])
        anomalous, normal = np.sort(s[y]), np.sort(s[~y])
        t = np.unique(anomalous)
        return Curve(
            t,
            (len(anomalous) - np.searchsorted(anomalous, t)).astype(np.int64),
            (len(normal) - np.searchsorted(normal, t)).astype(np.int64),
            (len(normal) - np.searchsorted(normal, t, side="right")).astype(np.int64),
            len(anomalous),
            len(normal),
        )

    @cached_property
    def overlaps(self) -> list[tuple[int, int, int]]:
        t = self.curve.pr_threshold
        return [
            (int((m & (s >= t)).sum()), int((s >= t).sum()), int(m.sum()))
            for s, m in zip(self.maps, self.masks, strict=True)
        ]


def measure(
    scores: Maps,
    masks: Maps,
    *,
    metrics: Sequence[str] | None = None,
    image_scores: Any = None,
    image_labels: Any = None,
    n_threads: int | None = None,
) -> Measured:
    """All metrics of one category, from one sweep."""
    keys = tuple(METRICS) if metrics is None else tuple(metrics)
    for key in keys:
        if key not in METRICS:
            raise InputError(f"unknown metric {key}; {near_matches(key, tuple(METRICS))}")
    if len(scores) != len(masks) or not len(scores):
        raise InputError(f"{len(scores)} score maps and {len(masks)} masks; one of each per image is needed")
    swept = _Swept(scores, masks, image_scores, image_labels)
    values, undefined = {}, {}
    for key in keys:
        try:
            values[key] = METRICS[key].function(swept)
        except UndefinedMetricError as error:
            undefined[key] = str(error)
    return Measured(values, undefined, swept.curve)


def evaluate_maps(
    scores: Maps,
    masks: Maps,
    *,
    metrics: Sequence[str] | None = None,
    image_scores: Any = None,
    n_threads: int | None = None,
) -> dict[str, float]:
    """All metrics of one category as a dict."""
    measured = measure(scores, masks, metrics=metrics, image_scores=image_scores, n_threads=n_threads)
    if metrics is not None and measured.undefined:
        key, reason = next(iter(measured.undefined.items()))
        raise UndefinedMetricError(f"{key} is undefined: {reason}")
    return measured.values
