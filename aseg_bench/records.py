"""The nouns of the project: frozen records that travel from the data set to the table."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, overload

from numpy.typing import NDArray

GOOD = "good"  # the folder name of normal images in the MVTec-AD layout
UNKNOWN = "unknown"  # in place of the kind of defect, where nobody but a server knows what an image shows
NORMAL_NAMES = frozenset({GOOD, "defect_free", "no_defect", "nominal", "normal", "ok", "okay"})  # whatever their case
MEAN = "mean"  # in place of a category, for means over the categories; no ``Score`` is of it
Place = tuple[str, str]  # data set and category
N_NAMED = 3  # categories or pictures that a sentence names one by one
T = TypeVar("T", covariant=True)


@dataclass(frozen=True, slots=True)
class Sample:
    """One image of a data set, found but not yet read.

    Attributes:
        dataset: key of the data set in ``DATASETS``, for instance ``mvtec_ad``.
        category: the object or texture class, for instance ``bottle``.
        split: ``train`` or ``test``; of sets that have more, the name of their folder, for instance ``validation``.
        defect: kind of defect, ``good`` for a normal image, or ``unknown``.
        stem: file name of the image without its ending, in composed Unicode; unique within (category, split, defect).
        image_path: the image.
        mask_path: the truth mask of an anomalous image (non-zero is anomalous), or a folder of masks that count
            together; None for a normal image.
        bit_depth: of the camera, where an image of 16 bits per channel holds fewer.
        is_image_level: shows a defect but has no mask, and enters image metrics only.
        corruption: what is done to the image as `aseg_bench.images.picture_of` reads it, as ``noise@3``.
    """

    dataset: str
    category: str
    split: str
    defect: str
    stem: str
    image_path: Path
    mask_path: Path | None = None
    bit_depth: int = 16
    is_image_level: bool = False
    corruption: str = ""

    @property
    def name(self) -> str:
        """The sample in messages, map stores and reports, as ``category/split/defect/stem``."""
        return f"{self.category}/{self.split}/{self.defect}/{self.stem}"

    @property
    def is_anomalous(self) -> bool:
        """Whether the image shows a defect, by its folder; one of which that is unknown counts as not."""
        return self.defect not in {GOOD, UNKNOWN}


@dataclass(frozen=True, slots=True)
class AnomalyMap:
    """What a method says about one image.

    Attributes:
        sample: the image.
        scores: anomaly score per pixel, (height, width), of any real type, which stays; any unit, higher is more
            anomalous.
    """

    sample: Sample
    scores: NDArray[Any]


@dataclass(frozen=True, slots=True)
class Case:
    """What one score is about: a method on a category of a data set."""

    method: str
    dataset: str
    category: str


@dataclass(frozen=True, slots=True)
class Score:
    """One number of a benchmark, with everything needed to read it.

    Attributes:
        case: method, data set and category.
        metric: a key of ``METRICS``.
        value: in the metric's unit, never a percentage; None where undefined.
        n_images: test images that the value covers.
        protocol: stamp of the protocol under which it was computed.
        undefined_because: the reason, where ``value`` is None.
    """

    case: Case
    metric: str
    value: float | None
    n_images: int
    protocol: str
    undefined_because: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """What is odd about masks, maps, a threshold or a training, though it could be scored.

    Attributes:
        kind: short key, the same for the same oddity.
        text: what it is and what to do about it; it reads well after the names of the categories concerned.
        case: what it is about; its category is empty where it is about all of them, and its method where it is about
            the data.
    """

    kind: str
    text: str
    case: Case


def grouped(findings: Sequence[Finding], n_categories: int, labels: Mapping[str, str] | None = None) -> list[str]:
    """One text per method and kind of finding, for instance ``UniAS, 16 of 16 categories: ...``.

    Args:
        findings: of some methods on the categories of a data set.
        n_categories: how many categories there are.
        labels: names of methods in print; a missing one prints as it is.
    """
    groups: dict[tuple[str, str, str], list[Finding]] = {}
    for finding in findings:
        groups.setdefault((finding.case.method, finding.case.dataset, finding.kind), []).append(finding)
    texts = []
    for (method, _, _), found in groups.items():
        names = [name for name in dict.fromkeys(finding.case.category for finding in found) if name]
        where = f"{len(names)} of {n_categories} categories" if len(names) > N_NAMED else ", ".join(names)
        label = (labels or {}).get(method, method)
        texts.append(": ".join(filter(None, [", ".join(filter(None, (label, where))), found[0].text])))
    return texts


class LazySequence(Sequence[T]):
    """A sequence whose items are made when asked for.

    Args:
        length: how many there are.
        item: makes the item at a position.
        n_bytes: arrays (or tuples of them) that are made first are kept while they fit into this many bytes, so that
            a small sequence is made once and a large one takes no more memory than this.
    """

    def __init__(self, length: int, item: Callable[[int], T], n_bytes: int = 0) -> None:
        self._length, self._item = length, item
        self._kept: dict[int, T] = {}
        self._n_bytes = self._room = n_bytes

    def __reduce__(self) -> tuple[type["LazySequence[T]"], tuple[int, Callable[[int], T], int]]:
        return LazySequence, (self._length, self._item, self._n_bytes)  # another process makes its items again

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[T]: ...
    def __getitem__(self, index: int | slice) -> T | Sequence[T]:
        if isinstance(index, slice):
            return [self[place] for place in range(self._length)[index]]
        place = range(self._length)[index]
        if place in self._kept:
            return self._kept[place]
        item = self._item(place)
        size = _n_bytes(item) if self._room else 0
        if size and size <= self._room:
            self._room -= size
            self._kept[place] = item
        return item


def _n_bytes(item: object) -> int:
    return sum(map(_n_bytes, item)) if isinstance(item, tuple) else int(getattr(item, "nbytes", 0))
