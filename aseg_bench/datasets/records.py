"""What the table of data sets holds."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from aseg_bench.records import Sample


class CategoryCounts(NamedTuple):
    """How many images a category of a published data set has."""

    train: int
    test_good: int
    test_anomalous: int


@dataclass(frozen=True)
class Dataset:
    """A data set as the command line and the tables know it.

    Attributes:
        key: name on the command line and in ``scores.csv``, for instance ``mvtec_ad``.
        label: name in print, for instance ``MVTec-AD``.
        summary: what it holds and which layouts are read, in one line.
        needs_root: whether the user must say where it is.
        find: finds the images below a root, of some categories or of all (None); train and test together, sorted.
        terms: where it comes from and under which terms.
        counts: images per category as published; empty where nothing is published.
    """

    key: str
    label: str
    summary: str
    needs_root: bool
    find: Callable[[Path | None, Sequence[str] | None], list[Sample]]
    terms: str
    counts: Mapping[str, CategoryCounts] = field(default_factory=dict)

    def label_of(self, categories: Collection[str]) -> str:
        """Name in print of the images found: a user's own set does not get the name of the set whose layout it has."""
        own = self.counts and not set(categories) <= self.counts.keys()
        return "Own images" if own else self.label
