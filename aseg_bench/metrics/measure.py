"""measure and evaluate_maps: all metrics of a category in one call, from two passes over its maps."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import or_

import numpy as np
from numpy.typing import ArrayLike, NDArray

from aseg_bench.errors import InputError, UndefinedMetricError
from aseg_bench.metrics import measures
from aseg_bench.metrics.checks import Masks, ScoreMaps, check_keys
from aseg_bench.metrics.curve import Curve
from aseg_bench.metrics.first_pass import CURVE_ONLY, NOTHING, Needs, SaturatedRegion
from aseg_bench.metrics.passes import sweep_maps
from aseg_bench.metrics.second_pass import ImageScore
from aseg_bench.metrics.sweep import Sweep
from aseg_bench.metrics.table import AUPIMO_RANGE, METRICS


@dataclass(frozen=True, eq=False)
class Measured:
    """The metrics of one category.

    Attributes:
        values: value per metric key, where it has one.
        undefined: the reason per metric key, where it has none.
        curve: exact counts at every distinct anomalous score.
        per_image: values per image under ``dsc``, ``iou`` and ``aupimo``, where asked for; nan for images without one,
            as AUPIMO of normal images and all of void ones.
    """

    values: dict[str, float]
    undefined: dict[str, str]
    curve: Curve
    per_image: dict[str, NDArray[np.float64]] = field(default_factory=dict)


def evaluate_maps(
    scores: ScoreMaps,
    masks: Masks,
    *,
    metrics: Sequence[str] | None = None,
    image_scores: ArrayLike | ImageScore | None = None,
    threshold: float | None = None,
    n_threads: int | None = None,
) -> dict[str, float]:
    """Every metric of the maps of one category, exactly.

    Args:
        scores: anomaly score per pixel, (images, height, width), or a sequence of (height, width) arrays of any sizes,
            all also with a channel before the height; any unit, higher is more anomalous. An element of a lazy sequence
            is read at most twice, so it may come from a file. Arrays and tensors of float16, bfloat16, float32, float64
            and integers are compared without loss; infinities are ordered.
        masks: True where the pixel is anomalous, or numbers of any type that are 0 and 1 alone, or 0 and 255 alone;
            shaped as ``scores``. Where they are masked arrays (``numpy.ma.array(masks, mask=void)``), masked pixels are
            void: no pixel metric counts them. An image that is void throughout counts in image metrics alone.
        metrics: keys of ``METRICS``; only what these need is computed. None computes all that are defined.
        image_scores: one score per image, (images,), or a function from a map to it; None takes the highest pixel,
            void or not.
        threshold: for the metrics at a threshold that was found without the masks: a pixel is called anomalous where
            its score is above it. None leaves them undefined.
        n_threads: threads to use; None takes the machine's. The result never depends on it.

    Returns:
        Value by metric key, as in ``scores.csv``; fractions, never percentages.

    Raises:
        InputError: shapes differ, masks hold other values, a score is nan, or a key is unknown.
        UndefinedMetricError: a metric asked for by name has no value.

    >>> scores = np.array([[[0.1, 0.2], [0.3, 0.9]], [[0.1, 0.1], [0.4, 0.2]]])
    >>> masks = np.array([[[False, False], [False, True]], [[False, False], [False, False]]])
    >>> evaluate_maps(scores, masks, metrics=["pixel_auroc", "dsc", "anomaly_rate"])
    {'pixel_auroc': 1.0, 'dsc': 1.0, 'anomaly_rate': 0.125}
    """
    keys = chosen(metrics)
    needs = needs_of(keys) | at(threshold)
    sweep = sweep_maps(scores, masks, needs, image_scores=image_scores, n_threads=n_threads)
    return defined(sweep, keys, named=metrics is not None)


def measure(
    scores: ScoreMaps,
    masks: Masks,
    *,
    metrics: Sequence[str] | None = None,
    image_scores: ArrayLike | ImageScore | None = None,
    image_labels: ArrayLike | None = None,
    regions: Sequence[Sequence[SaturatedRegion]] | None = None,
    names: Sequence[str] | None = None,
    threshold: float | None = None,
    n_threads: int | None = None,
) -> Measured:
    """As `evaluate_maps`, with the reasons of undefined metrics, the curve and the values per image.

    Args:
        scores: as in `evaluate_maps`.
        masks: as in `evaluate_maps`.
        metrics: as in `evaluate_maps`, but an undefined one is not an error.
        image_scores: as in `evaluate_maps`.
        image_labels: whether each image is anomalous, (images,); None asks its mask. One that is labelled anomalous and
            has no anomalous pixel is not among the normal images of any metric, and has no Dice.
        regions: the saturated regions of each image, for sPRO.
        names: name of each image, for messages.
        threshold: as in `evaluate_maps`.
        n_threads: as in `evaluate_maps`.

    Raises:
        InputError: as in `evaluate_maps`.
    """
    keys = chosen(metrics)
    sweep = sweep_maps(
        scores,
        masks,
        needs_of(keys) | CURVE_ONLY | at(threshold),
        image_scores=image_scores,
        image_labels=image_labels,
        regions=regions,
        names=names,
        n_threads=n_threads,
    )
    return finish(sweep, keys)


def needs_of(keys: Sequence[str]) -> Needs:
    """What the metrics of these keys need of a sweep."""
    return reduce(or_, (METRICS[key].needs for key in keys), NOTHING)


def at(threshold: float | None) -> Needs:
    """What metrics at a threshold need of a sweep; nothing for None.

    Raises:
        InputError: the threshold is not finite.
    """
    if threshold is not None and not math.isfinite(threshold):
        raise InputError(f"the threshold is {threshold}; give a finite score")
    return replace(NOTHING, threshold=threshold)


def defined(sweep: Sweep, keys: Sequence[str], *, named: bool) -> dict[str, float]:
    """The metrics of a sweep that was made with their needs, without the undefined ones.

    Raises:
        UndefinedMetricError: a metric is undefined, and ``named`` says that the metrics were asked for by name.
    """
    values, undefined = _values(sweep, keys)
    if named and undefined:
        raise UndefinedMetricError("; ".join(f"{key} is undefined: {reason}" for key, reason in undefined.items()))
    return values


def finish(sweep: Sweep, keys: Sequence[str]) -> Measured:
    """All there is to know of a sweep that was made with the needs of the metrics and the curve."""
    values, undefined = _values(sweep, keys)
    per_image: dict[str, Callable[[], list[float]]] = {
        "dsc": lambda: measures.dsc_of_images(sweep),
        "iou": lambda: measures.iou_of_images(sweep),
        "aupimo": lambda: measures.aupimo_of_images(sweep, *AUPIMO_RANGE),
    }
    return Measured(
        values,
        undefined,
        sweep.curve,
        {key: np.array(of_images()) for key, of_images in per_image.items() if key in values},
    )


def chosen(metrics: Sequence[str] | None) -> Sequence[str]:
    """The keys asked for, checked; all keys for None."""
    keys = tuple(METRICS) if metrics is None else metrics
    check_keys(keys, tuple(METRICS))
    return keys


def _values(sweep: Sweep, keys: Sequence[str]) -> tuple[dict[str, float], dict[str, str]]:
    values, undefined = {}, {}
    for key in keys:
        try:
            values[key] = float(METRICS[key].function(sweep))
        except UndefinedMetricError as error:
            undefined[key] = str(error)
    return values, undefined
