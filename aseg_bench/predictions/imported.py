"""Someone else's maps, matched, checked and ready to be scored, one category at a time."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from aseg_bench.errors import InputError, near_matches
from aseg_bench.images import image_size
from aseg_bench.predictions.checks import Suspicion, finite_map, suspicions
from aseg_bench.predictions.matching import Match, listed, matched, samples_of
from aseg_bench.predictions.readers import choose_reader
from aseg_bench.predictions.records import FoundMap, Limits, Reader
from aseg_bench.protocols import Protocol
from aseg_bench.protocols.frame import crop_box, frame_shape
from aseg_bench.records import AnomalyMap, Sample

OWN_DATASET = "maps"  # the data set's name when the truth comes with the maps


class Category(NamedTuple):
    """The maps of one category, read and checked.

    Attributes:
        samples: its test images.
        maps: one finite (height, width) array per sample.
        masks: masks that travelled with the maps, or None.
        suspicions: what looks wrong though it can be scored.
    """

    samples: Sequence[Sample]
    maps: Sequence[NDArray[np.floating]]
    masks: Sequence[NDArray[np.number]] | None
    suspicions: Sequence[Suspicion]


@dataclass(frozen=True)
class ImportedMaps:
    """A dump whose maps are matched with images.

    Attributes:
        path: where it lies.
        reader: which read it.
        found: category -> its samples and maps, in one order.
        problems: category -> why it cannot be scored; ``""`` is the dump as a whole.
        left_over: files that hold no map.
        has_own_truth: the masks come from the dump.
        allow_clamped: clamped maps are no error in a layout that usually clamps them.
    """

    path: Path
    reader: Reader
    found: Mapping[str, Sequence[tuple[Sample, FoundMap]]]
    problems: Mapping[str, Sequence[str]]
    left_over: Sequence[Path]
    has_own_truth: bool
    allow_clamped: bool

    @property
    def problem_text(self) -> str:
        """All problems in one line; empty if there is none."""
        lines = [f"{category or self.path}: {text}" for category, texts in self.problems.items() for text in texts]
        return "; ".join(lines)

    def read(self, category: str) -> Category:
        """Read and check the maps of a category.

        Raises:
            InputError: maps are unreadable, not finite, of mixed sizes, or clamped where that is not allowed.
        """
        samples = [sample for sample, _ in self.found[category]]
        maps, faults = [], []
        for sample, item in self.found[category]:
            try:
                maps.append(finite_map(item.read(), sample.name))
            except InputError as error:
                faults.append(str(error))
        if faults:
            raise InputError(f"{len(faults)} of {len(samples)} maps of {category} are bad: {listed(faults, '; ')}")
        crops = {crop: size for crop, size in self.reader.crops.items() if all(m.shape == (crop, crop) for m in maps)}
        notes = []
        for crop, size in crops.items():
            maps = _on_frame(maps, samples, size, crop)
            notes.append(_cropped(size, crop))
        _check_sizes(maps, samples)
        masks = None
        if self.has_own_truth:
            masks = [_own_mask(item) for _, item in self.found[category]]
        found = [*notes, *suspicions(samples, maps, masks)]
        if self.reader.is_clamped and not self.allow_clamped:
            for suspicion in found:
                if suspicion.kind == "clamped":
                    raise InputError(f"{category}: {suspicion.text}. {_UNCLAMP}")
        return Category(samples, maps, masks, found)


def import_maps(
    path: Path,
    samples: Sequence[Sample] | None = None,
    *,
    categories: Sequence[str] | None = None,
    reader: str = "auto",
    limits: Limits | None = None,
    allow_clamped: bool = False,
) -> ImportedMaps:
    """Find and match the maps of a dump; nothing is read yet but names.

    Args:
        path: file or folder.
        samples: the test images that need a map; None takes images and truth from the dump itself.
        categories: keep only these; None keeps all.
        reader: key of a reader, or ``auto``.
        limits: how much a file may ask for.
        allow_clamped: score clamped maps of layouts that usually clamp them.

    Raises:
        InputError: the path holds no maps of a known layout.
    """
    chosen = choose_reader(path, reader)
    found = chosen.find(path, limits or Limits())
    match: Match = samples_of(found, OWN_DATASET) if samples is None else matched(found, samples)
    problems = {category: list(texts) for category, texts in match.problems.items()}
    if found.faults:
        problems.setdefault("", []).append(f"{len(found.faults)} files cannot be used: {listed(found.faults, '; ')}")
    maps = dict(match.maps)
    if categories is not None:
        for category in categories:
            if category not in maps and category not in problems:
                raise InputError(f"{path} has no category {category}; {near_matches(category, sorted(maps))}")
        maps = {category: pairs for category, pairs in maps.items() if category in categories}
        problems = {category: texts for category, texts in problems.items() if category in ("", *categories)}
    return ImportedMaps(path, chosen, maps, problems, found.left_over, samples is None, allow_clamped)


class MapsMethod:
    """A method that someone else ran: it predicts by reading its maps.

    Args:
        name: in tables and stores.
        path: the dump.
        reader: key of a reader, or ``auto``.
        limits: how much a file may ask for.
    """

    def __init__(self, name: str, path: Path, reader: str = "auto", limits: Limits | None = None) -> None:
        self.name = name
        self._path, self._reader, self._limits = path, reader, limits

    def fit(self, train: Sequence[Sample]) -> None:
        """Nothing to learn."""

    def predict(self, samples: Sequence[Sample]) -> Iterator[AnomalyMap]:
        """The map of each sample, in order.

        Raises:
            InputError: a sample has no map, or a map cannot be used.
        """
        imported = import_maps(self._path, samples, reader=self._reader, limits=self._limits)
        for where, texts in imported.problems.items():
            if where:
                raise InputError(f"{self.name}, {where}: {texts[0]}")
            warnings.warn(f"{self.name}: {texts[0]}", stacklevel=2)  # the run may be of some categories only
        scores: dict[Sample, NDArray[Any]] = {}
        for sample in samples:
            if sample not in scores:
                category = imported.read(sample.category)
                scores = dict(zip(category.samples, category.maps, strict=True))
            yield AnomalyMap(sample, scores[sample].astype(np.float32, copy=False))


_UNCLAMP = (
    "anomalib writes raw maps with PostProcessor(enable_normalization=False); --allow-clamped scores these as they are"
)


def _own_mask(item: FoundMap) -> NDArray[np.number]:
    assert item.read_mask is not None, "samples_of demands a mask of every map"
    return np.squeeze(item.read_mask())


def _on_frame(
    maps: Sequence[NDArray[np.floating]], samples: Sequence[Sample], size: int, crop: int
) -> list[NDArray[np.floating]]:
    """Centre crops at their place in the whole image, which scores the category's lowest outside them."""
    frame = Protocol("frame", "", "", size=size, keep_aspect=True, crop=crop)
    lowest = min(scores.min() for scores in maps)
    placed = []
    for scores, sample in zip(maps, samples, strict=True):
        shape = frame_shape(scores.shape, image_size(sample.image_path), frame)
        whole = np.full(shape, lowest, dtype=scores.dtype)
        whole[crop_box(shape, crop)] = scores
        placed.append(whole)
    return placed


def _cropped(size: int, crop: int) -> Suspicion:
    return Suspicion(
        "cropped",
        f"the maps show only the central {crop} of {size} pixels; what lies outside counts as least anomalous. The"
        " method's own protocol scores the crop alone",
    )


def _check_sizes(maps: Sequence[NDArray[np.floating]], samples: Sequence[Sample]) -> None:
    shapes = {scores.shape for scores in maps}
    if len(shapes) == 1:
        return
    for scores, sample in zip(maps, samples, strict=True):
        if scores.shape != image_size(sample.image_path):
            sizes = ", ".join(f"{height} x {width}" for height, width in sorted(shapes)[:5])
            raise InputError(
                f"the maps of {sample.category} differ in size ({sizes}), and that of {sample.name} is not its image's"
                " size; write all of them at one size, or each at its image's"
            )
