"""Maps of other code that are to be scored, and the images that they are of."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

from aseg_bench.datasets import AS_USUAL, Reading, find_samples, root_here
from aseg_bench.errors import InputError
from aseg_bench.files import same_text
from aseg_bench.images import allow_pixels, most_pixels
from aseg_bench.predictions.imported import ImportedMaps, import_maps
from aseg_bench.predictions.records import Limits
from aseg_bench.protocols.mask_rule import DEFAULT_RULE
from aseg_bench.records import Sample
from aseg_bench.remote import here, is_url


class Opened(NamedTuple):
    """What a source holds: its maps by category, and the images of the data set; None where masks travel with maps.

    Attributes:
        imported: the maps.
        samples: the images.
        root: where these lie on this machine.
    """

    imported: ImportedMaps
    samples: list[Sample] | None
    root: Path | None


@dataclass(frozen=True)
class Source:
    """Where maps and images are, and how they are read; the arguments are those of `evaluate`.

    Attributes:
        maps: file or folder of maps; may be a URL, which every process reads by itself.
        dataset: key of ``DATASETS``; None where masks travel with the maps.
        data_root: where the data set lies; may be a URL.
        categories: those to take; None takes all.
        reader: key of a reader, or ``auto``.
        mask_rule: which values of a mask mean anomalous or void.
        limits: how much a file may ask for.
        allow_clamped: score clamped maps of layouts that usually clamp them.
        reading: how the files of the data set are read.
        max_pixels: images may have so many, in the process that opens the source.
        key: its own; a process opens a source once, and the same folder may hold something else later.
    """

    maps: Path = field(repr=False)  # a URL may hold a password, and Dask logs what fails
    dataset: str | None = None
    data_root: Path | None = field(default=None, repr=False)
    categories: tuple[str, ...] | None = None
    reader: str = "auto"
    mask_rule: str = DEFAULT_RULE
    limits: Limits = field(default_factory=Limits)
    allow_clamped: bool = False
    reading: Reading = AS_USUAL
    max_pixels: int = field(default_factory=most_pixels)
    key: str = field(default_factory=lambda: uuid4().hex)

    @property
    def from_elsewhere(self) -> "Source":
        """The source with whole paths, for processes whose working directory is another."""
        return replace(self, maps=_whole(self.maps), data_root=self.data_root and _whole(self.data_root))

    def opened(self) -> Opened:
        """Find maps and images, by names alone; once in a process.

        Raises:
            InputError: there are none, or a name is unknown.
        """
        return _opened(self)


def _whole(place: Path) -> Path:
    return place if is_url(place) else place.absolute()


@lru_cache(maxsize=1)
def _opened(source: Source) -> Opened:
    allow_pixels(source.max_pixels)
    samples, root = samples_of(source.dataset, source.data_root, source.reading)
    imported = import_maps(
        here(source.maps),
        of_test(samples),
        categories=source.categories,
        reader=source.reader,
        limits=source.limits,
        allow_clamped=source.allow_clamped,
        mask_rule=source.mask_rule,
    )
    wanted = source.categories and set(map(same_text, source.categories))
    chosen = samples and [one for one in samples if wanted is None or one.category in wanted]
    return Opened(imported, chosen, root)


def samples_of(dataset: str | None, root: Path | None, reading: Reading) -> tuple[list[Sample] | None, Path | None]:
    """The samples of a data set, of which no training images are needed, and its root here; None where none is named.

    Raises:
        InputError: as ``find_samples``, or there is a root and no data set.
    """
    if dataset is None:
        if root is not None:
            raise InputError(
                "--data-root needs --dataset KEY, which says what lies there; `aseg-bench datasets` lists them"
            )
        return None, None
    root = root_here(dataset, root)
    return find_samples(dataset, root, None, replace(reading, splits=["test"])), root


def of_test(samples: Sequence[Sample] | None) -> list[Sample] | None:
    """The test images; None where there are no samples."""
    return None if samples is None else [sample for sample in samples if sample.split == "test"]
