"""What the table of data sets holds."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

from aseg_bench.errors import InputError
from aseg_bench.files import is_folder_name
from aseg_bench.images import MAX_BIT_DEPTH, MIN_BIT_DEPTH
from aseg_bench.records import GOOD, Sample

SPLITS = ("train", "test")


@dataclass(frozen=True)
class Reading:
    """What is read of a folder of images, and how.

    Attributes:
        normal_folder: name of the folders of normal images, besides ``good``.
        bit_depth: of the camera, where images of 16 bits per channel hold fewer; 9 to 16.
        image_level: take images that show a defect but have no mask, for image metrics only.
        splits: every category must have images in these.
    """

    normal_folder: str = GOOD
    bit_depth: int = MAX_BIT_DEPTH
    image_level: bool = False
    splits: Sequence[str] = SPLITS

    def __post_init__(self) -> None:
        if self.bit_depth not in range(MIN_BIT_DEPTH, MAX_BIT_DEPTH + 1):
            raise InputError(f"a bit depth is {MIN_BIT_DEPTH} to {MAX_BIT_DEPTH}, not {self.bit_depth}")
        if not is_folder_name(self.normal_folder):
            raise InputError(f"{self.normal_folder!r} is not the name of a folder; give one like good or OK")


AS_USUAL = Reading()


class CategoryCounts(NamedTuple):
    """How many images a category of a published data set has."""

    train: int
    test_good: int
    test_anomalous: int


class Finder(Protocol):
    """Finds the images below a root, of some categories or of all (None); train and test together, sorted."""

    def __call__(
        self, root: Path | None, categories: Sequence[str] | None = None, reading: Reading = AS_USUAL
    ) -> list[Sample]:
        """The images.

        Raises:
            InputError: they are not there, or something is wrong with them.
        """


@dataclass(frozen=True)
class Dataset:
    """A data set as the command line and the tables know it.

    Attributes:
        key: name on the command line and in ``scores.csv``, for instance ``mvtec_ad``.
        label: name in print, for instance ``MVTec-AD``.
        summary: what it holds and which layouts are read, in one line.
        needs_root: whether the user must say where it is.
        find: finds its images.
        terms: where it comes from and under which terms.
        counts: images per category as published; empty where nothing is published.
    """

    key: str
    label: str
    summary: str
    needs_root: bool
    find: Finder
    terms: str
    counts: Mapping[str, CategoryCounts] = field(default_factory=dict)

    def label_of(self, categories: Collection[str]) -> str:
        """Name in print of the images found: a user's own set does not get the name of the set whose layout it has."""
        own = self.counts and not set(categories) <= self.counts.keys()
        return "Own images" if own else self.label
