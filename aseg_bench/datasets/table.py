"""DATASETS, the one table of data sets, and what is found through it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from importlib.metadata import entry_points
from pathlib import Path

from aseg_bench.corruptions import CORRUPTIONS, parsed, parts_of
from aseg_bench.datasets.bmad import BMAD
from aseg_bench.datasets.bsdata import BSDATA
from aseg_bench.datasets.btad import BTAD
from aseg_bench.datasets.dagm import DAGM
from aseg_bench.datasets.demo import DEMO
from aseg_bench.datasets.folders import FOLDERS
from aseg_bench.datasets.kolektor import KOLEKTOR_SDD, KOLEKTOR_SDD2
from aseg_bench.datasets.magnetic_tile import MAGNETIC_TILE
from aseg_bench.datasets.manifest import MANIFEST
from aseg_bench.datasets.mpdd import MPDD
from aseg_bench.datasets.mvtec_3d import MVTEC_3D
from aseg_bench.datasets.mvtec_ad import MVTEC_AD
from aseg_bench.datasets.mvtec_ad_2 import MVTEC_AD_2
from aseg_bench.datasets.mvtec_loco import MVTEC_LOCO
from aseg_bench.datasets.real_iad import REAL_IAD, REAL_IAD_SV
from aseg_bench.datasets.records import AS_USUAL, Dataset, Reading
from aseg_bench.datasets.visa import VISA
from aseg_bench.errors import InputError, near_matches
from aseg_bench.records import Sample, Score
from aseg_bench.remote import here, is_url

ENTRY_POINTS = "aseg_bench.datasets"


class _Datasets(Mapping[str, Dataset]):
    """Our data sets and those of other packages, which are looked for when one is asked for that is not ours."""

    def __init__(self, ours: Mapping[str, Dataset]) -> None:
        self._ours = ours

    @cached_property
    def _all(self) -> Mapping[str, Dataset]:
        datasets = dict(self._ours)
        for point in sorted(entry_points(group=ENTRY_POINTS), key=lambda point: point.name):
            data = point.load()
            if not isinstance(data, Dataset):
                raise InputError(f"entry point {point.name} = {point.value} is not a Dataset; name one there")
            if data.key in datasets:
                raise InputError(
                    f"two installed packages define the data set {data.key}; uninstall one ({point.value})"
                )
            datasets[data.key] = data
        return datasets

    def __getitem__(self, key: str) -> Dataset:
        clean, named = parts_of(key)
        if named and clean in self:
            return _corrupted(self[clean], key, named)
        return self._ours[key] if key in self._ours else self._all[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)


# by key; a package adds a data set with an entry point in the group ``aseg_bench.datasets``
DATASETS: Mapping[str, Dataset] = _Datasets(
    {
        dataset.key: dataset
        for dataset in (
            DEMO,
            MVTEC_AD,
            VISA,
            MVTEC_AD_2,
            MVTEC_LOCO,
            MVTEC_3D,
            REAL_IAD,
            REAL_IAD_SV,
            BTAD,
            MPDD,
            BMAD,
            DAGM,
            KOLEKTOR_SDD,
            KOLEKTOR_SDD2,
            MAGNETIC_TILE,
            BSDATA,
            FOLDERS,
            MANIFEST,
        )
    }
)


def _corrupted(clean: Dataset, key: str, named: str) -> Dataset:
    """A data set whose test images are corrupted as they are read."""
    try:
        kind, strength = parsed(named)
    except InputError as error:
        raise KeyError(key) from error

    def find(root: Path | None, categories: Sequence[str] | None = None, reading: Reading = AS_USUAL) -> list[Sample]:
        return [
            replace(sample, dataset=key, corruption=named if sample.split == "test" else "")
            for sample in clean.find(root, categories, reading)
        ]

    corruption = CORRUPTIONS[kind]
    what = f"test images with {corruption.label.lower()} of strength {strength}: {corruption.summary}"
    summary = f"{clean.summary.rstrip('.')}; {what}"
    return replace(clean, key=key, corruption=f", {corruption.label.lower()} {strength}", summary=summary, find=find)


def find_dataset(key: str) -> Dataset:
    """The facts of a data set, or of one whose test images are corrupted: ``mvtec_ad+noise@3``.

    Raises:
        InputError: no data set has this key, the message lists those nearest to it; or there is no such corruption.
    """
    clean, named = parts_of(key)
    if named and clean in DATASETS:
        parsed(named)
    elif key not in DATASETS:
        raise InputError(f"no data set {key}; {near_matches(key, list(DATASETS))}")
    return DATASETS[key]


def root_here(
    dataset: str, root: Path | None, categories: Sequence[str] | None = None, from_record: bool = False
) -> Path | None:
    """Where a data set lies on this machine: files of a store are fetched first, as `remote.here` does.

    Args:
        dataset: key of ``DATASETS``.
        root: where it lies, may be a URL; None for one that comes with the toolkit.
        categories: those that are needed; folders of others as published are not fetched.
        from_record: a file names the root, see `remote.here`.

    Raises:
        InputError: the data set is unknown, its root is missing or superfluous, or the store cannot be read.
    """
    facts = find_dataset(dataset)
    if facts.needs_root and root is None:
        raise InputError(f"{facts.label} is not part of the toolkit; say where it lies with --data-root FOLDER")
    if not facts.needs_root and root is not None:
        raise InputError(f"{facts.label} needs no --data-root; for images of your own choose --dataset mvtec_ad")
    if root is None or not is_url(root):
        return root
    if parts_of(dataset)[0] == MANIFEST.key:  # names files of its folder
        return here(root.parent, from_record=from_record) / root.name
    wanted = set(categories or facts.counts)
    return here(root, facts.counts.keys() - wanted if wanted <= facts.counts.keys() else (), from_record)


def find_samples(
    dataset: str,
    root: Path | None = None,
    categories: Sequence[str] | None = None,
    reading: Reading = AS_USUAL,
) -> list[Sample]:
    """The samples of a data set, sorted.

    Args:
        dataset: key of ``DATASETS``.
        root: where it lies, may be a URL; None for one that comes with the toolkit.
        categories: those to take; None takes all.
        reading: what is read, and how.

    Raises:
        InputError: the data set is unknown, its root is missing or superfluous, or it finds something wrong.
    """
    facts, root = find_dataset(dataset), root_here(dataset, root, categories)
    try:
        return facts.find(root, categories, reading)
    except InputError as error:
        other = _another(facts, root)
        if other is None:
            raise
        raise InputError(f"{error}\nthis looks like {other.label}: --dataset {other.key}") from None


def _another(facts: Dataset, root: Path | None) -> Dataset | None:
    """The data set whose root a folder seems to be, if that is another one; many sets are in the layout of MVTec-AD."""
    like = [] if root is None else [data for data in DATASETS.values() if data.looks_like(root)]
    best = next((data for data in like if data is not MVTEC_AD), MVTEC_AD if like else facts)
    is_read = best.marks == facts.marks or (best is MVTEC_AD and facts.layout == best.layout)
    return None if is_read else best


def dataset_labels(scores: Iterable[Score]) -> dict[str, str]:
    """Names in print of the data sets that were scored, by key."""
    categories: dict[str, set[str]] = {}
    for score in scores:
        categories.setdefault(score.case.dataset, set()).add(score.case.category)
    return {key: DATASETS[key].label_of(found) for key, found in categories.items() if key in DATASETS}
