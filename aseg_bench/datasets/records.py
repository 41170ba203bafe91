"""What the table of data sets holds."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from aseg_bench.errors import InputError
from aseg_bench.files import is_folder_name
from aseg_bench.images import MAX_BIT_DEPTH, MIN_BIT_DEPTH
from aseg_bench.records import GOOD, Sample

SPLITS = ("train", "test")
VALIDATION = "validation"  # normal images that some sets have besides, for thresholds


@dataclass(frozen=True)
class Reading:
    """What is read of a folder of images, and how.

    Attributes:
        normal_folder: name of the folders of normal images, besides ``good``.
        bit_depth: of the camera, where images of 16 bits per channel hold fewer; 9 to 16.
        image_level: take images that show a defect but have no mask, for image metrics only.
        splits: every category must have images in these; others than train and test are found only if they are named.
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


class Region(NamedTuple):
    """A defect that is found completely once a part of it is, as `aseg_bench.metrics.SaturatedRegion` has it.

    Attributes:
        mask: True at its pixels, (height, width).
        saturation: how many of its pixels found count as all, at least 1.
    """

    mask: NDArray[np.bool_]
    saturation: int


def _train_and_test() -> Mapping[str, str]:
    return {"train": "train/{defect}", "test": "test/{defect}"}


@dataclass(frozen=True)
class Layout:
    """Where the files of a data set lie below each of its category folders; as it stands, the MVTec-AD layout.

    In a place, ``{defect}`` is a folder named as the kind of defect or as ``normal`` is. Where what follows it is not
    there, the images lie in that folder itself.

    Attributes:
        images: by split, the folder of its images; of one without ``{defect}`` nobody knows what the images show.
        masks: folders of the masks of the test images, in the first of which one is expected.
        normal: name of the folders of normal images.
        suffixes: what the stem of a mask may add to that of its image, the expected one first.
        many: the masks of an image are all pictures in a folder of its stem, and count together.
        beside: names of folders that hold something else, and are left out without a word.
    """

    images: Mapping[str, str] = field(default_factory=_train_and_test)
    masks: Sequence[str] = ("ground_truth/{defect}",)
    normal: str = GOOD
    suffixes: Sequence[str] = ("_mask", "")
    many: bool = False
    beside: frozenset[str] = frozenset()

    @property
    def tree(self) -> str:
        """The places of images and masks, one a line."""
        mask = "<stem>/<any>" if self.many else f"<stem>{self.suffixes[0]}"
        shown = {"test": f"<defect or {self.normal}>"}
        images = [
            f"<category>/{place.format(defect=shown.get(split, self.normal))}/<stem>.<ending>"
            for split, place in self.images.items()
        ]
        return "\n".join((*images, f"<category>/{self.masks[0].format(defect='<defect>')}/{mask}.<ending>"))

    @property
    def parts(self) -> frozenset[str]:
        """Names of the folders right in a category folder in which files of the set lie."""
        return frozenset(place.split("/")[0] for place in (*self.images.values(), *self.masks))


@dataclass(frozen=True)
class Dataset:
    """A data set as the command line and the tables know it.

    Attributes:
        key: name on the command line and in ``scores.csv``, for instance ``mvtec_ad``.
        label: name in print, for instance ``MVTec-AD``.
        summary: what it holds, which layouts are read and how it is split, in one line.
        needs_root: whether the user must say where it is.
        find: finds its images.
        homepage: where it comes from.
        licence: terms of its images; empty where its authors state none.
        citation: what its authors ask to cite, as BibTeX or as a line with an address; empty where nothing is known.
        tree: where its files lie below the root, a path a line.
        layout: what its category folders hold, where they are read by ``find_in_layout``.
        marks: what tells a root of this set from one of others: patterns of paths below it, all of them found.
        counts: images per category as published; empty where nothing is published.
        corruption: what is done to its test images, in print; empty where they are clean.
        regions: the defects of an image with their saturation areas, at the size of its masks; None where the set has
            none, and the metric sPRO no value.
    """

    key: str
    label: str
    summary: str
    needs_root: bool
    find: Finder
    homepage: str = ""
    licence: str = ""
    citation: str = ""
    tree: str = ""
    layout: Layout | None = None
    marks: Sequence[str] = ()
    counts: Mapping[str, CategoryCounts] = field(default_factory=dict)
    corruption: str = ""
    regions: Callable[[Sample], Sequence[Region]] | None = None

    def looks_like(self, root: Path) -> bool:
        """Whether a folder seems to be the root of this set, by the names of a few folders."""
        return bool(self.marks) and all(any(root.glob(mark)) for mark in self.marks)

    def label_of(self, categories: Collection[str]) -> str:
        """Name in print of the images found: a user's own set does not get the name of the set whose layout it has."""
        own = self.counts and not set(categories) <= self.counts.keys()
        return f"Own images{self.corruption}" if own else f"{self.label}{self.corruption}"
