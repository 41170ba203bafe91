"""Slices of a category by kind and size of defect and by light, swept together with the whole: no pixel twice."""

from collections.abc import Sequence
from math import isnan, nan
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from aseg_bench.datasets.mvtec_ad_2 import light_of
from aseg_bench.metrics import Curve, FirstPass, Needs, SecondPass
from aseg_bench.metrics.checks import n_valid, truth_of
from aseg_bench.records import Sample

SIZES = ("small", "medium", "large")


class Slice(NamedTuple):
    """Some of the anomalous images of a category.

    Attributes:
        name: what they share.
        by: whether they share the ``kind`` or the ``size`` of their defect, or the ``light``.
        positions: where they stand among the samples.
        pixel_ap: AP among these and all normal images; None where no pixel is anomalous or none is normal.
    """

    name: str
    by: str
    positions: list[int]
    pixel_ap: float | None = None


def sliced(
    samples: Sequence[Sample], scores: Sequence[NDArray[Any]], masks: Sequence[NDArray[np.bool_]]
) -> tuple[float | None, list[Slice]]:
    """Threshold of a category and AP of its slices, exactly, from one sweep.

    Images that lie in the same slices are counted together against the anomalous pixels of the category; the counts of
    a slice are sums of these.

    Args:
        samples: the test images.
        scores: one map per sample, (height, width); each is read twice.
        masks: True where the pixel is anomalous, masked where it is void, same shapes; each is read twice.

    Returns:
        The score that maximises precision + recall, None where a class is missing; and the slices.
    """
    first, shares = FirstPass(Needs()), []
    for index, sample in enumerate(samples):
        mask = masks[index]
        n_pixels, n_anomalous = n_valid(mask), int(np.count_nonzero(truth_of(mask)))
        shares.append(n_anomalous / n_pixels if n_pixels else nan)
        if n_anomalous:
            first.update(scores[index], mask, index=index, name=sample.name)
    ranking, parts = first.compute(), slices(samples, shares)
    groups: dict[tuple[int, ...], list[int]] = {}
    for index in range(len(samples)):
        groups.setdefault(tuple(k for k, part in enumerate(parts) if index in part.positions), []).append(index)
    keys = {image.index: image.keys for image in ranking.images}
    found: dict[tuple[int, ...], NDArray[np.int64]] = {}
    counts: dict[tuple[int, ...], NDArray[np.int64]] = {}
    for group, positions in groups.items():
        second, found[group] = SecondPass(ranking), np.zeros(ranking.n_distinct, np.int64)
        for index in positions:
            second.update(scores[index], masks[index], index=index, name=samples[index].name)
            if index in keys:
                ranks = np.searchsorted(ranking.keys, keys[index])
                found[group] += np.bincount(ranks, minlength=ranking.n_distinct)
        counts[group] = second.compute().counts.astype(np.int64)

    def curve(chosen: Sequence[tuple[int, ...]]) -> Curve | None:
        own = np.sum([found[group] for group in chosen], axis=0)
        kept = np.flatnonzero(own)
        starts = np.append(0, 2 * kept[:, None] + [1, 2])  # ties with a kept score, and the gap above it
        gaps = np.add.reduceat(np.sum([counts[group] for group in chosen], axis=0), starts)
        return Curve(ranking.keys[kept], ranking.kind, own[kept], gaps) if len(kept) and gaps.any() else None

    whole = curve(list(groups))
    rated = []
    for k, part in enumerate(parts):
        own = curve([group for group in groups if not group or k in group])
        rated.append(part._replace(pixel_ap=None if own is None else own.average_precision))
    return None if whole is None else whole.pr_threshold, rated


def slices(samples: Sequence[Sample], shares: Sequence[float]) -> list[Slice]:
    """The anomalous images by kind of defect, by light, and in thirds by the anomalous share of their pixels.

    They are not yet rated. Images all of whose pixels are void have no share, nan, and are in no slice; only those of
    MVTec AD 2 have a light.
    """
    by_kind: dict[str, list[int]] = {}
    by_light: dict[str, list[int]] = {}
    for position, sample in enumerate(samples):
        if sample.is_anomalous and not isnan(shares[position]):
            by_kind.setdefault(sample.defect, []).append(position)
            by_light.setdefault(light_of(sample), []).append(position)
    order = sorted((i for kind in by_kind.values() for i in kind), key=lambda i: (shares[i], samples[i].name))
    thirds = [third.tolist() for third in np.array_split(np.array(order, dtype=int), len(SIZES)) if len(third)]
    named = [
        Slice(f"{name}: {100 * shares[third[0]]:.2g}–{100 * shares[third[-1]]:.2g} % of the image", "size", third)
        for name, third in zip(SIZES, thirds, strict=False)
    ]
    return [
        *(Slice(kind, "kind", by_kind[kind]) for kind in sorted(by_kind)),
        *(Slice(light, "light", by_light[light]) for light in sorted(by_light) if light),
        *named,
    ]
