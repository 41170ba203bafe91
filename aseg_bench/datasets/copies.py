"""Images that a data set has twice: the same file, or nearly the same picture in training and in test."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from aseg_bench.errors import first_few, listed
from aseg_bench.records import N_NAMED, UNKNOWN, Case, Finding, Sample

_SIDE = 16  # of a fingerprint, in cells
_FLAT = 0.5  # grey levels: the cells of a picture that differ less hold noise
NEAREST = 0.25  # of the distance at which training images lie from each other
_FARTHEST = 0.2  # a correlation of 0.98
_N_TRAIN = 3  # fewer say nothing about how alike images of a category are
_N_AT_ONCE = 1024  # rows of distances

Fingerprint = NDArray[np.float32]


def fingerprint(pixels: NDArray[np.uint8]) -> Fingerprint:
    """Mean grey levels of a picture in 16 x 16 cells, without their mean and at length 1; zeros of a flat picture.

    Neither size nor brightness nor contrast changes it much, nor do compression and noise; turning, mirroring and
    cropping do.

    Args:
        pixels: RGB, (height, width, 3).

    Returns:
        (256,) float32.
    """
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.float32)
    cells = cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).ravel()
    cells -= cells.mean()
    return np.asarray(cells / np.linalg.norm(cells) if cells.std() > _FLAT else np.zeros_like(cells))


def same_files(samples: Sequence[Sample], digests: Sequence[str]) -> list[Finding]:
    """A finding for each file that several samples have, by what it does to a benchmark.

    Args:
        samples: all of a data set.
        digests: of their images, in their order.
    """
    groups: dict[str, list[Sample]] = {}
    for sample, digest in zip(samples, digests, strict=True):
        groups.setdefault(digest, []).append(sample)
    findings = []
    for group in groups.values():
        if len(group) == 1:
            continue
        kind, what = "copy_within", "counts several times"
        if len(splits := sorted({sample.split for sample in group})) > 1:
            kind, what = "copy_across", f"is in {listed(splits)}"
        if len({sample.is_anomalous for sample in group if sample.defect != UNKNOWN}) > 1:
            kind, what = "copy_of_other_truth", "is both normal and anomalous"
        names = first_few([sample.name for sample in group], N_NAMED)
        categories = {sample.category for sample in group}
        case = Case("", group[0].dataset, categories.pop() if len(categories) == 1 else "")
        findings.append(Finding(kind, f"one file {what}: {names}", case))
    return findings


class Pair(NamedTuple):
    """A training image and one of another split that is nearly the same.

    Attributes:
        train: position of the training image.
        other: position of the other one.
        distance: of their fingerprints, 0 to 2.
        usual: how far a training image of the category lies from the nearest other one, by the median.
    """

    train: int
    other: int
    distance: float
    usual: float


def near_copies(samples: Sequence[Sample], prints: Sequence[Fingerprint], digests: Sequence[str]) -> list[Pair]:
    """Images outside training that nearly are a training image of their category: for each the nearest one.

    Two pictures of one camera are always alike, so what counts is how alike training images are among themselves: a
    pair is named whose distance is below a quarter of the usual one, and a correlation above 0.98.

    Args:
        samples: all of a data set.
        prints: their fingerprints, in their order.
        digests: of their files; one file in both splits is not named again.
    """
    by_category: dict[str, list[int]] = {}
    for position, sample in enumerate(samples):
        if prints[position].any():
            by_category.setdefault(sample.category, []).append(position)
    pairs = []
    for positions in by_category.values():
        in_train = {digests[i]: i for i in positions if samples[i].split == "train"}
        train = list(in_train.values())
        others = [i for i in positions if samples[i].split != "train" and digests[i] not in in_train]
        if len(train) < _N_TRAIN or not others:
            continue
        known = np.stack([prints[i] for i in train]).astype(np.float64)
        usual = float(np.median([distance for _, distance in _nearest(known, known, is_same=True)]))
        limit = min(_FARTHEST, NEAREST * usual)
        found = _nearest(np.stack([prints[i] for i in others]).astype(np.float64), known)
        pairs += [
            Pair(train[place], other, distance, usual)
            for other, (place, distance) in zip(others, found, strict=True)
            if distance < limit
        ]
    return pairs


def _nearest(
    prints: NDArray[np.float64], known: NDArray[np.float64], *, is_same: bool = False
) -> list[tuple[int, float]]:
    """Place and distance of the nearest of the known ones; ``is_same`` does not count each as its own."""
    found: list[tuple[int, float]] = []
    for start in range(0, len(prints), _N_AT_ONCE):
        alike: NDArray[Any] = prints[start : start + _N_AT_ONCE] @ known.T
        if is_same:
            rows = np.arange(len(alike))
            alike[rows, start + rows] = -1
        places = alike.argmax(axis=1)
        highest = np.minimum(alike[np.arange(len(alike)), places], 1)
        found += zip(places.tolist(), np.sqrt(2 - 2 * highest).tolist(), strict=True)
    return found
