"""DATASETS, the one table of data sets, and what is found through it."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from aseg_bench.datasets.demo import DEMO
from aseg_bench.datasets.mvtec_ad import MVTEC_AD
from aseg_bench.datasets.records import AS_USUAL, Dataset, Reading
from aseg_bench.datasets.visa import VISA
from aseg_bench.errors import InputError, near_matches
from aseg_bench.records import Sample, Score

DATASETS: Mapping[str, Dataset] = {dataset.key: dataset for dataset in (DEMO, MVTEC_AD, VISA)}


def find_samples(
    dataset: str,
    root: Path | None = None,
    categories: Sequence[str] | None = None,
    reading: Reading = AS_USUAL,
) -> list[Sample]:
    """The samples of a data set, sorted.

    Args:
        dataset: key of ``DATASETS``.
        root: where it lies; None for one that comes with the toolkit.
        categories: those to take; None takes all.
        reading: what is read, and how.

    Raises:
        InputError: the data set is unknown, its root is missing or superfluous, or it finds something wrong.
    """
    if dataset not in DATASETS:
        raise InputError(f"no data set {dataset}; {near_matches(dataset, list(DATASETS))}")
    facts = DATASETS[dataset]
    if facts.needs_root and root is None:
        raise InputError(f"{facts.label} is not part of the toolkit; say where it lies with --data-root FOLDER")
    if not facts.needs_root and root is not None:
        raise InputError(f"{facts.label} needs no --data-root; for images of your own choose --dataset mvtec_ad")
    return facts.find(root, categories, reading)


def dataset_labels(scores: Iterable[Score]) -> dict[str, str]:
    """Names in print of the data sets that were scored, by key."""
    categories: dict[str, set[str]] = {}
    for score in scores:
        categories.setdefault(score.case.dataset, set()).add(score.case.category)
    return {key: DATASETS[key].label_of(found) for key, found in categories.items() if key in DATASETS}
