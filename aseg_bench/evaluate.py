"""One case (method, data set, category) becomes scores, under a protocol."""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aseg_bench.errors import InputError
from aseg_bench.images import image_size, read_mask
from aseg_bench.metrics import DEFAULT_METRICS, measure
from aseg_bench.protocols import EXACT, Protocol
from aseg_bench.protocols.frame import crop_box, frame_shape, resized_map
from aseg_bench.protocols.truth import truth_mask
from aseg_bench.records import Case, Sample, Score

MEAN = "mean"  # the category of a data set's mean
Maps = Sequence[NDArray[np.floating]]


def score_category(
    case: Case,
    samples: Sequence[Sample],
    maps: Maps,
    *,
    protocol: Protocol = EXACT,
    metrics: Sequence[str] | None = None,
    masks: Sequence[NDArray[np.number] | None] | None = None,
    n_threads: int | None = None,
) -> list[Score]:
    """All scores of a method on one category.

    Args:
        case: what the scores will be about.
        samples: the test images of the category.
        maps: one map per sample, in the same order, (height, width); may be read lazily, each at most twice.
        protocol: how maps and truth are compared.
        metrics: keys of ``METRICS``; None takes ``DEFAULT_METRICS``.
        masks: masks that travelled with the maps, one per sample; None reads those of the samples.
        n_threads: threads of the sweep; None takes all.

    Returns:
        One Score per metric, in the order asked for; undefined ones carry the reason.

    Raises:
        InputError: the counts differ, an anomalous sample has no mask, or a map is no finite 2-D array.
    """
    if len(samples) != len(maps) or (masks is not None and len(masks) != len(samples)):
        n_masks = "" if masks is None else f", {len(masks)} masks"
        raise InputError(f"{case.category}: {len(samples)} images, {len(maps)} maps{n_masks}; one of each is needed")
    keys = tuple(metrics) if metrics is not None else DEFAULT_METRICS
    scores, truth = _meet(samples, maps, masks, protocol)
    measured = measure(
        scores,
        truth,
        metrics=keys,
        image_labels=np.array([sample.is_anomalous for sample in samples]),
        n_threads=n_threads,
    )
    return [
        Score(case, key, measured.values.get(key), len(samples), protocol.stamp, measured.undefined.get(key, ""))
        for key in keys
    ]


def mean_scores(scores: Sequence[Score]) -> list[Score]:
    """The scores with the rows of category ``mean`` added after each method and data set.

    A mean is unweighted, over the categories where the metric is defined; ``undefined_because`` says how many of how
    many these are where any is missing. It is None only where no category defines the metric.
    """
    groups: dict[tuple[str, str, str], list[Score]] = {}
    for score in scores:
        if score.case.category != MEAN:
            groups.setdefault((score.case.method, score.case.dataset, score.protocol), []).append(score)
    rows: list[Score] = []
    for group in groups.values():
        rows += group
        for metric in dict.fromkeys(score.metric for score in group):
            rows.append(_mean([score for score in group if score.metric == metric]))
    return rows


def _mean(scores: Sequence[Score]) -> Score:
    values = [score.value for score in scores if score.value is not None]
    reason = "" if len(values) == len(scores) else f"defined in {len(values)} of {len(scores)} categories"
    first = scores[0]
    return Score(
        case=replace(first.case, category=MEAN),
        metric=first.metric,
        value=float(np.mean(values)) if values else None,
        n_images=sum(score.n_images for score in scores),
        protocol=first.protocol,
        undefined_because=reason,
    )


class _Lazy(Sequence[Any]):
    """One half of the pairs, read when asked for."""

    def __init__(self, pairs: Any, half: int, length: int) -> None:
        self._pairs, self._half, self._length = pairs, half, length

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: Any) -> Any:
        if not 0 <= index < self._length:
            raise IndexError(index)
        return self._pairs(index)[self._half]


def _meet(
    samples: Sequence[Sample], maps: Maps, masks: Sequence[NDArray[np.number] | None] | None, protocol: Protocol
) -> tuple[Sequence[NDArray[np.floating]], Sequence[NDArray[np.bool_]]]:
    """Maps and truths in their common frame, as two lazy sequences."""

    @lru_cache(maxsize=8)  # a map and its truth are asked for one after the other
    def pair(index: int) -> tuple[NDArray[np.floating], NDArray[np.bool_]]:
        sample, scores = samples[index], maps[index]
        if scores.ndim != 2:
            raise InputError(f"the map of {sample.name} has shape {scores.shape}; (height, width) is needed")
        stored = masks[index] if masks is not None else None
        if stored is None and sample.mask_path is not None:
            stored = read_mask(sample.mask_path)
        if stored is None and sample.is_anomalous:
            raise InputError(f"{sample.name} shows a defect but has no mask; add one, or remove the image")
        image = scores.shape if protocol.size == "map" else _image_shape(sample, stored)
        shape = frame_shape(scores.shape, image, protocol)
        truth = truth_mask(stored, shape, protocol) if stored is not None else np.zeros(shape, dtype=np.bool_)
        box = crop_box(shape, protocol.crop)
        return resized_map(scores, shape)[box], truth[box]

    return _Lazy(pair, 0, len(samples)), _Lazy(pair, 1, len(samples))


def _image_shape(sample: Sample, mask: NDArray[np.number] | None) -> tuple[int, int]:
    if mask is not None:
        return mask.shape[0], mask.shape[1]
    return image_size(sample.image_path)
