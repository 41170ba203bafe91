"""Everything about a data set that can be found before it is used: what ``data check`` says."""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np
from joblib import cpu_count

from aseg_bench.datasets.checks import digest_of, findings_of, looks_and_problems
from aseg_bench.datasets.copies import Fingerprint, fingerprint, near_copies, same_files
from aseg_bench.datasets.layout import folders_in
from aseg_bench.datasets.questions import IsAnomalous
from aseg_bench.datasets.records import AS_USUAL, SPLITS, CategoryCounts, Dataset, Reading
from aseg_bench.datasets.table import find_dataset, find_samples, root_here
from aseg_bench.errors import InputError, first_few
from aseg_bench.images import check_complete, highest_deep_value, read_image
from aseg_bench.progress import track
from aseg_bench.records import N_NAMED, Case, Finding, Sample

PROBLEMS = frozenset(
    {"refused", "count", "category_missing", "copy_across", "copy_of_other_truth", "near_copy", "mask_empty"}
)  # kinds of findings that change scores or end a run; all others are for the user to judge


@dataclass(frozen=True)
class Inspection:
    """What was looked at, and what was found.

    Attributes:
        dataset: key.
        n_images: by split.
        n_masks: of anomalous images, an image's several as one.
        unchecked: what could not be checked, a sentence each.
        findings: problems first, then by category and text.
    """

    dataset: str
    n_images: dict[str, int]
    n_masks: int
    unchecked: Sequence[str]
    findings: Sequence[Finding]

    @property
    def problems(self) -> list[Finding]:
        """Those of the findings that change scores or end a run."""
        return [finding for finding in self.findings if finding.kind in PROBLEMS]


def inspect(
    dataset: str,
    root: Path | None = None,
    categories: Sequence[str] | None = None,
    reading: Reading = AS_USUAL,
    *,
    is_anomalous: IsAnomalous | None = None,
    quiet: bool = False,
) -> Inspection:
    """Read every file of a data set, of all splits that are there, and say what is wrong or odd.

    Args:
        dataset: key of ``DATASETS``.
        root: where it lies, may be a URL.
        categories: those to check; None takes all.
        reading: how it is read.
        is_anomalous: which values of masks mean anomalous, where the user has said so; None takes all above 0.
        quiet: no progress bar.

    Raises:
        InputError: files do not make a data set, as ``find_samples`` says.
    """
    data, root = find_dataset(dataset), root_here(dataset, root, categories)
    samples = find_samples(dataset, root, categories, with_all_splits(data, root, reading))
    unchecked: list[str] = []
    findings = _count_findings(data, samples, categories is None, unchecked)
    looks, refused = looks_and_problems(samples, root, is_anomalous=is_anomalous, whole=False)
    pictures = _pictures(samples, quiet)
    refused = list(dict.fromkeys([*refused, *(one.problem for one in pictures if one.problem)]))
    findings += [Finding("refused", text, Case("", dataset, "")) for text in refused]
    findings += findings_of(looks._replace(highest=[one.highest for one in pictures]), samples)
    sound = [place for place, one in enumerate(pictures) if not one.problem]
    whole, digests = [samples[place] for place in sound], [pictures[place].digest for place in sound]
    findings += _size_findings(whole, [pictures[place].size for place in sound])
    findings += same_files(whole, digests)
    for pair in near_copies(whole, [pictures[place].print for place in sound], digests):
        train, other = whole[pair.train], whole[pair.other]
        text = (
            f"{other.name} is nearly {train.name}, {pair.distance:.2g} from it where training images are "
            f"{pair.usual:.2g} apart: the same object photographed, or saved, twice"
        )
        findings.append(Finding("near_copy", text, Case("", dataset, other.category)))
    n_images = Counter(sample.split for sample in samples)
    ordered = sorted(findings, key=lambda one: (one.kind not in PROBLEMS, one.case.category, one.text))
    n_masks = sum(sample.mask_path is not None for sample in samples)
    return Inspection(dataset, dict(n_images), n_masks, unchecked, ordered)


def with_all_splits(data: Dataset, root: Path | None, reading: Reading) -> Reading:
    """A reading that also finds the further splits whose folders lie in a category folder."""
    places = data.layout.images if data.layout else {}
    folders = folders_in(root) if root else []
    more = [
        split
        for split, place in places.items()
        if split not in SPLITS and any((folder / place.split("/")[0]).is_dir() for folder in folders)
    ]
    return replace(reading, splits=(*SPLITS, *more))


class _Picture(NamedTuple):
    """What an image shows; all but the problem is empty where there is one."""

    problem: str = ""
    digest: str = ""
    size: tuple[int, int] = (0, 0)
    print: Fingerprint = np.zeros(0, np.float32)
    highest: int | None = None


def _pictures(samples: Sequence[Sample], quiet: bool) -> list[_Picture]:
    with ThreadPoolExecutor(cpu_count()) as pool:
        return list(track(pool.map(_picture, samples), "images", len(samples), quiet))


def _picture(sample: Sample) -> _Picture:
    try:
        check_complete(sample.image_path)  # checksums, which decoding does not look at
        highest = highest_deep_value(sample.image_path, sample.bit_depth)
        pixels = read_image(sample.image_path, sample.bit_depth)
        return _Picture("", digest_of(sample.image_path), pixels.shape[:2], fingerprint(pixels), highest)
    except InputError as error:
        return _Picture(str(error))


def _count_findings(data: Dataset, samples: Sequence[Sample], is_all: bool, unchecked: list[str]) -> list[Finding]:
    found = {category: list(some) for category, some in groupby(samples, key=lambda sample: sample.category)}
    unknown = [category for category in found if category not in data.counts]
    if not data.counts:
        unchecked.append("numbers of images: none are published, or none that could be checked")
    elif unknown:
        unchecked.append(
            f"numbers of images: {data.label} has no category {first_few(unknown, N_NAMED)}; --categories names those "
            "to check"
        )
    if not data.counts or unknown:
        return []
    findings = []
    missing = [category for category in data.counts if category not in found]
    if missing and is_all:
        text = (
            f"{len(missing)} of {len(data.counts)} published categories are not there, first "
            f"{first_few(missing, N_NAMED)}; --categories names those to check"
        )
        findings.append(Finding("category_missing", text, Case("", data.key, "")))
    for category, some in found.items():
        in_test = [sample for sample in some if sample.split == "test"]
        counts = CategoryCounts(
            sum(sample.split == "train" for sample in some),
            sum(not sample.is_anomalous for sample in in_test),
            sum(sample.is_anomalous for sample in in_test),
        )
        parts = ("training images", "normal test images", "anomalous test images")
        findings += [
            Finding("count", f"{n} {part} instead of {wanted}", Case("", data.key, category))
            for n, wanted, part in zip(counts, data.counts[category], parts, strict=True)
            if n != wanted
        ]
    return findings


def _size_findings(samples: Sequence[Sample], sizes: Sequence[tuple[int, int]]) -> list[Finding]:
    findings = []
    by_category: dict[str, list[tuple[tuple[int, int], str]]] = {}
    for sample, size in zip(samples, sizes, strict=True):
        by_category.setdefault(sample.category, []).append((size, sample.name))
    for category, some in by_category.items():
        counts = Counter(size for size, _ in some)
        ((height, width), n_usual), *others = counts.most_common()
        odd = [name for size, name in some if size != (height, width)]
        if not others:
            continue
        if 2 * n_usual > len(some):
            text = f"{len(odd)} of {len(some)} images are not {width} x {height} as the others are, first "
            text += first_few(odd, N_NAMED)
        else:
            text = f"the {len(some)} images are of {len(counts)} sizes"
        findings.append(Finding("size", text, Case("", samples[0].dataset, category)))
    return findings
