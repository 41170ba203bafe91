"""measure and evaluate_maps: all metrics of a category in one call, from two passes over its maps."""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import reduce
from operator import or_
from queue import SimpleQueue
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from aseg_bench.errors import InputError, UndefinedMetricError
from aseg_bench.metrics import pixel, region
from aseg_bench.metrics.checks import Masks, ScoreMaps, as_array, check_keys, check_maps
from aseg_bench.metrics.curve import Curve
from aseg_bench.metrics.first_pass import CURVE_ONLY, NOTHING, FirstPass, Needs, SaturatedRegion
from aseg_bench.metrics.second_pass import ImageScore, SecondPass
from aseg_bench.metrics.sweep import Sweep
from aseg_bench.metrics.table import AUPIMO_RANGE, METRICS

Part = TypeVar("Part", FirstPass, SecondPass)
Step = Callable[[Any], None]

PIXELS_PER_STEP = 2**17  # small images go to a thread together
PRIVATE_COUNTS = 2**27  # bytes that the counts of threads beyond the first may take


@dataclass(frozen=True, eq=False)
class Measured:
    """The metrics of one category.

    Attributes:
        values: value per metric key, where it has one.
        undefined: the reason per metric key, where it has none.
        curve: exact counts at every distinct anomalous score.
        per_image: values per image under ``dsc``, ``iou`` and ``aupimo`` (nan for normal images), where asked for.
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
    n_threads: int | None = None,
) -> dict[str, float]:
    """Every metric of the maps of one category, exactly.

    Args:
        scores: anomaly score per pixel, (images, height, width), or a sequence of (height, width) arrays of any sizes;
            any unit, higher is more anomalous. An element of a sequence is read at most twice, so it may come from a
            file. Arrays and tensors of float16, bfloat16, float32, float64 and integers are compared without loss;
            infinities are ordered.
        masks: True where the pixel is anomalous, shaped as ``scores``.
        metrics: keys of ``METRICS``; only what these need is computed. None computes all that are defined.
        image_scores: one score per image, (images,), or a function from a map to it; None takes the highest pixel.
        n_threads: threads to use; None takes the machine's. The result never depends on it.

    Returns:
        Value by metric key, as in ``scores.csv``; fractions, never percentages.

    Raises:
        InputError: shapes differ, masks are not boolean, a score is nan, or a key is unknown.
        UndefinedMetricError: a metric asked for by name has no value.

    >>> scores = np.array([[[0.1, 0.2], [0.3, 0.9]], [[0.1, 0.1], [0.4, 0.2]]])
    >>> masks = np.array([[[False, False], [False, True]], [[False, False], [False, False]]])
    >>> evaluate_maps(scores, masks, metrics=["pixel_auroc", "dsc", "anomaly_rate"])
    {'pixel_auroc': 1.0, 'dsc': 1.0, 'anomaly_rate': 0.125}
    """
    keys = chosen(metrics)
    sweep = sweep_maps(scores, masks, needs_of(keys), image_scores=image_scores, n_threads=n_threads)
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
    n_threads: int | None = None,
) -> Measured:
    """As `evaluate_maps`, with the reasons of undefined metrics, the curve and the values per image.

    Args:
        scores: as in `evaluate_maps`.
        masks: as in `evaluate_maps`.
        metrics: as in `evaluate_maps`, but an undefined one is no error.
        image_scores: as in `evaluate_maps`.
        image_labels: whether each image is anomalous, (images,); None asks its mask.
        regions: the saturated regions of each image, for sPRO.
        names: name of each image, for messages.
        n_threads: as in `evaluate_maps`.

    Raises:
        InputError: as in `evaluate_maps`.
    """
    keys = chosen(metrics)
    sweep = sweep_maps(
        scores,
        masks,
        needs_of(keys) | CURVE_ONLY,
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


def defined(sweep: Sweep, keys: Sequence[str], *, named: bool) -> dict[str, float]:
    """The metrics of a sweep that was made with their needs, but for undefined ones.

    Raises:
        UndefinedMetricError: one is undefined, and they were asked for by name.
    """
    values, undefined = _values(sweep, keys)
    if named and undefined:
        raise UndefinedMetricError("; ".join(f"{key} is undefined: {reason}" for key, reason in undefined.items()))
    return values


def finish(sweep: Sweep, keys: Sequence[str]) -> Measured:
    """All there is to know of a sweep that was made with the needs of the metrics and the curve."""
    values, undefined = _values(sweep, keys)
    per_image: dict[str, Callable[[], list[float]]] = {
        "dsc": lambda: pixel.dsc_of_images(sweep),
        "iou": lambda: pixel.iou_of_images(sweep),
        "aupimo": lambda: region.aupimo_of_images(sweep, *AUPIMO_RANGE),
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


def sweep_maps(
    scores: ScoreMaps,
    masks: Masks,
    needs: Needs,
    *,
    image_scores: ArrayLike | ImageScore | None = None,
    image_labels: ArrayLike | None = None,
    regions: Sequence[Sequence[SaturatedRegion]] | None = None,
    names: Sequence[str] | None = None,
    n_threads: int | None = None,
) -> Sweep:
    """Both passes over the maps of a category; the arguments are those of `measure`."""
    check_maps(scores, masks)
    n_images = len(scores)
    if n_threads is not None and n_threads < 1:
        raise InputError(f"n_threads is {n_threads}; at least 1 is needed, or None for all of the machine's")
    n_threads = n_threads or _n_cores()
    score_of = _per_image("image_scores", image_scores, n_images)
    label_of = _per_image("image_labels", image_labels, n_images)
    for name, given in (("regions", regions), ("names", names)):
        if given is not None and len(given) != n_images:
            raise InputError(f"there are {n_images} images and {len(given)} {name}; one of each per image is needed")

    def name_of(index: int) -> str:
        return f"image {index}" if names is None else str(names[index])

    firsts = [FirstPass(needs) for _ in range(n_threads)]

    def first_steps() -> Iterator[tuple[int, Callable[[FirstPass], None]]]:
        for index in range(n_images):
            mask = as_array(masks[index], f"the mask of {name_of(index)}")
            wanted = mask.dtype != np.bool_ or firsts[0].wants_scores(mask)
            score_map = as_array(scores[index], name_of(index)) if wanted else None
            at = regions[index] if regions is not None else ()
            yield (
                mask.size,
                lambda part, s=score_map, m=mask, r=at, i=index: part.update(  # type: ignore[misc]
                    s, m, regions=r, index=i, name=name_of(i)
                ),
            )

    ranking = _run(firsts, first_steps()).compute()
    n_private = 1 + PRIVATE_COUNTS // (8 * ranking.n_distinct + 8)
    seconds = [SecondPass(ranking) for _ in range(min(n_threads, n_private))]

    def second_steps() -> Iterator[tuple[int, Callable[[SecondPass], None]]]:
        for index in range(n_images):
            mask = as_array(masks[index], f"the mask of {name_of(index)}")
            score_map = as_array(scores[index], name_of(index))
            yield (
                mask.size,
                lambda part, s=score_map, m=mask, i=index: part.update(  # type: ignore[misc]
                    s, m, image_score=score_of(i), image_label=label_of(i), index=i, name=name_of(i)
                ),
            )

    return _run(seconds, second_steps()).compute()


def _n_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _per_image(name: str, values: Any, n_images: int) -> Callable[[int], Any]:
    """A function from the image's index to its value: an entry, the one function for all, or None."""
    if values is None or callable(values):
        return lambda _: values
    array = as_array(values, name)
    if array.shape != (n_images,):
        raise InputError(f"{name} have shape {array.shape}; one per image is needed, ({n_images},)")
    return lambda index: array[index].item()


def _run(parts: Sequence[Part], steps: Iterator[tuple[int, Callable[[Part], None]]]) -> Part:
    """Take every step with some part, and merge the parts.

    The steps are drawn in the calling thread, so that a lazy sequence is never read from two threads at once, and no
    more of them are alive than there are threads, and one.

    Raises:
        InputError: as the earliest step that raised it.
    """
    if len(parts) == 1:
        for _, step in steps:
            step(parts[0])
        return parts[0]
    idle: SimpleQueue[Part] = SimpleQueue()
    for part in parts:
        idle.put(part)

    def work(part: Part, batch: Sequence[Callable[[Part], None]]) -> None:
        try:
            for step in batch:
                step(part)
        finally:
            idle.put(part)

    pending: deque[Future[None]] = deque()
    with ThreadPoolExecutor(len(parts)) as pool:
        batch: list[Callable[[Part], None]] = []
        n_pixels = 0
        for size, step in steps:
            batch.append(step)
            n_pixels += size
            if n_pixels >= PIXELS_PER_STEP:
                pending.append(pool.submit(work, idle.get(), batch))
                batch, n_pixels = [], 0
            while pending and pending[0].done():
                pending.popleft().result()
        pending.append(pool.submit(work, idle.get(), batch))
        for future in pending:
            future.result()
    for part in parts[1:]:
        parts[0].merge(part)
    return parts[0]
