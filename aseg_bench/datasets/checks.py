"""Checks of a data set before hours of work: sizes, damaged files, published counts, a checksum."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from aseg_bench.datasets.layout import raise_problems
from aseg_bench.datasets.records import Dataset
from aseg_bench.errors import InputError
from aseg_bench.images import check_complete, image_size, read_mask
from aseg_bench.records import Sample

_N_THREADS = 8  # reading waits for the disk

T = TypeVar("T")
R = TypeVar("R")


def check_images(samples: Sequence[Sample]) -> None:
    """Read every mask, and check every image without decoding its pixels.

    Raises:
        InputError: a file is unreadable or damaged, or a mask and its image differ in size; all such files at once.
    """
    found = _in_threads(_problems, samples)
    raise_problems("the images", [problem for problems in found for problem in problems])


def checksum(samples: Sequence[Sample]) -> str:
    """SHA-256 over the names of the samples and the contents of their files, in any order and place."""
    ordered = sorted(samples, key=lambda sample: (sample.dataset, sample.name))
    total = hashlib.sha256()
    for sample, digests in zip(ordered, _in_threads(_digests, ordered), strict=True):
        total.update("\0".join((sample.dataset, sample.name, *digests, "")).encode())
    return total.hexdigest()


def count_deviations(dataset: Dataset, n_test: Mapping[str, int]) -> list[str]:
    """One text per category whose number of test images is not the published one, ``bottle 3 instead of 83``.

    Args:
        dataset: as published.
        n_test: test images by category; categories without published counts are left out.
    """
    published = {name: counts.test_good + counts.test_anomalous for name, counts in dataset.counts.items()}
    return [
        f"{category} {n} instead of {published[category]}"
        for category, n in n_test.items()
        if published.get(category, n) != n
    ]


def _problems(sample: Sample) -> list[str]:
    problems = []
    sizes = []
    try:
        check_complete(sample.image_path)
        sizes.append(image_size(sample.image_path))
    except InputError as error:
        problems.append(str(error))
    try:
        if sample.mask_path is not None:
            sizes.append(read_mask(sample.mask_path).shape)
    except InputError as error:
        problems.append(str(error))
    if len(set(sizes)) > 1:
        (height, width), (mask_height, mask_width) = sizes
        problems.append(
            f"mask {sample.mask_path} is {mask_width} x {mask_height} pixels but its image {width} x {height}"
        )
    return problems


def _digests(sample: Sample) -> list[str]:
    digests = []
    for path in _files(sample):
        try:
            with path.open("rb") as file:
                digests.append(hashlib.file_digest(file, "sha256").hexdigest())
        except OSError as error:
            raise InputError(f"cannot read {path} ({error.strerror})") from error
    return digests


def _files(sample: Sample) -> Iterable[Path]:
    return [sample.image_path] if sample.mask_path is None else [sample.image_path, sample.mask_path]


def _in_threads(function: Callable[[T], R], items: Sequence[T]) -> list[R]:
    with ThreadPoolExecutor(_N_THREADS) as pool:
        return list(pool.map(function, items))
