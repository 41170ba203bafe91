"""Someone else's maps, matched, checked and ready to be scored, one category at a time."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from aseg_bench.datasets.questions import Look, look, mask_findings
from aseg_bench.errors import InputError, near_matches
from aseg_bench.files import reading, same_text
from aseg_bench.images import image_size, orientation
from aseg_bench.metrics.checks import as_array
from aseg_bench.predictions.checks import Looking, Suspicion, finite_map
from aseg_bench.predictions.matching import Match, listed, matched, samples_of
from aseg_bench.predictions.orientation import as_pictures_lie, turns_of
from aseg_bench.predictions.readers import choose_reader
from aseg_bench.predictions.records import FoundMap, Limits, Reader
from aseg_bench.protocols import Protocol
from aseg_bench.protocols.frame import crop_box, frame_shape
from aseg_bench.protocols.mask_rule import DEFAULT_RULE, own_rule
from aseg_bench.records import LazySequence, Sample

OWN_DATASET = "maps"  # the data set's name when the truth comes with the maps
KEPT = 2**26  # bytes of a category's maps that are kept in memory: 250 maps of 256 x 256, or 16 of 1024 x 1024


class Category(NamedTuple):
    """The maps of one category, checked; each is read again when it is asked for, except the first few.

    Attributes:
        samples: its test images.
        maps: one finite (height, width) array per sample, all float32, float64 or int64: what holds them exactly.
        masks: masks that travelled with the maps, or None.
        suspicions: what looks wrong though it can be scored.
    """

    samples: Sequence[Sample]
    maps: Sequence[NDArray[Any]]
    masks: Sequence[NDArray[Any]] | None
    suspicions: Sequence[Suspicion]


@dataclass(frozen=True)
class ImportedMaps:
    """A dump whose maps are matched with images.

    Attributes:
        path: where it lies.
        reader: the reader that read it.
        found: category -> its samples and maps, in one order.
        problems: category -> why it cannot be scored; ``""`` is the dump as a whole.
        suspicions: category -> what looks odd in its files; ``""`` is the dump as a whole.
        has_own_truth: the masks come from the dump.
        allow_clamped: score clamped maps of a layout that usually clamps them.
    """

    path: Path
    reader: Reader
    found: Mapping[str, Sequence[tuple[Sample, FoundMap]]]
    problems: Mapping[str, Sequence[str]]
    suspicions: Mapping[str, Sequence[Suspicion]]
    has_own_truth: bool
    allow_clamped: bool

    @property
    def problem_text(self) -> str:
        """All problems in one line; empty if there is none."""
        lines = [f"{category or self.path}: {text}" for category, texts in self.problems.items() for text in texts]
        return "; ".join(lines)

    @property
    def refuses_clamped(self) -> bool:
        """Whether maps that look clamped are not scored."""
        return self.reader.is_clamped and not self.allow_clamped

    def read(self, category: str, mask_rule: str = DEFAULT_RULE) -> Category:
        """Check the maps of a category, one by one.

        Args:
            category: its name.
            mask_rule: which values of a mask mean anomalous or void, see `MaskRule`.

        Raises:
            InputError: maps are unreadable, not finite, of mixed sizes, or clamped where that is not allowed.
        """
        samples = [sample for sample, _ in self.found[category]]
        items = [item for _, item in self.found[category]]
        last_read = lru_cache(maxsize=1)(lambda index: _own_map(items[index], samples[index].name))
        stored = maps = LazySequence(len(items), last_read, KEPT)
        masks = None
        if self.has_own_truth:
            masks = LazySequence(len(items), lambda index: _own_mask(items[index], samples[index].name), KEPT)
        looking = Looking(samples, stored, masks, mask_rule)
        shapes, dtypes, lows, faults = [], [], [], []
        for index in range(len(maps)):
            try:
                scores = maps[index]
            except InputError as error:
                faults.append(str(error))
                continue
            if looking.n_seen == index:
                with suppress(InputError):  # `suspicions` goes on from here, once the maps are known to be right
                    looking.at(index)
            shapes.append(scores.shape)
            dtypes.append(scores.dtype)
            lows.append(scores.min())
        if faults:
            raise bad_maps(category, faults, len(samples))
        maps = _of_one_type(maps, dtypes, category)
        notes = list(self.suspicions.get(category, ()))
        if not self.has_own_truth:
            maps, shapes, odd = as_pictures_lie(maps, shapes, samples)
            notes += odd
        for crop, size in self.reader.crops.items():
            if set(shapes) == {(crop, crop)}:
                maps, shapes = _on_frame(maps, samples, size, crop, min(lows))
                notes.append(_cropped(size, crop))
        _check_sizes(shapes, samples)
        if masks is not None:
            notes += _of_masks(samples, masks, mask_rule)
        if maps is not stored:
            looking = Looking(samples, maps, masks, mask_rule)
        found = [*notes, *looking.suspicions()]
        if self.refuses_clamped:
            check_clamped(category, found)
        return Category(samples, maps, masks, found)

    def part(self, category: str, some: slice) -> Category:
        """Some of the maps of a category, which nobody has checked: `check_apart` does, of what was read.

        Args:
            category: its name.
            some: of its images.

        Returns:
            Maps and masks as in `read`, none of them kept; the suspicions are those of names alone.
        """
        pairs = self.found[category][some]
        samples, items = [sample for sample, _ in pairs], [item for _, item in pairs]
        last_map = lru_cache(maxsize=1)(lambda index: _own_map(items[index], samples[index].name))
        last_mask = lru_cache(maxsize=1)(lambda index: _own_mask(items[index], samples[index].name))
        masks = LazySequence(len(items), last_mask) if self.has_own_truth else None
        return Category(samples, LazySequence(len(items), last_map), masks, list(self.suspicions.get(category, ())))

    def check_apart(self, category: str, samples: Sequence[Sample], shapes: Sequence[tuple[int, int]]) -> None:
        """Refuse maps that are turned or put into a frame by what all maps of a category have in common.

        Args:
            category: its name.
            samples: some of its images.
            shapes: of their maps.

        Raises:
            InputError: they are such maps.
        """
        what = ""
        if not self.has_own_truth and samples:
            sizes = [image_size(sample.image_path) for sample in samples]
            _, odd = turns_of(shapes, sizes, [orientation(sample.image_path) for sample in samples], samples)
            what = odd[0].text if odd else ""
        for crop in self.reader.crops:
            if (crop, crop) in shapes:
                what = f"its maps show only the central {crop} pixels and are put back into whole images"
        if what:
            raise InputError(
                f"{category}: {what}; that is decided by all maps of a category, so score it in one process, without "
                "--shard, --workers and --dask"
            )


def import_maps(
    path: Path,
    samples: Sequence[Sample] | None = None,
    *,
    categories: Sequence[str] | None = None,
    reader: str = "auto",
    limits: Limits | None = None,
    allow_clamped: bool = False,
    mask_rule: str = DEFAULT_RULE,
) -> ImportedMaps:
    """Find and match the maps of a dump; only names are read yet.

    Args:
        path: file or folder.
        samples: the test images that need a map; None takes images and truth from the dump itself.
        categories: keep only these; None keeps all.
        reader: key of a reader, or ``auto``.
        limits: how much a file may ask for.
        allow_clamped: score clamped maps of layouts that usually clamp them.
        mask_rule: which values of the dump's own masks mean anomalous, see `MaskRule`.

    Raises:
        InputError: the path holds no maps of a known layout.
    """
    chosen = choose_reader(path, reader)
    found = chosen.find(path, limits or Limits())
    match: Match = samples_of(found, OWN_DATASET, mask_rule) if samples is None else matched(found, samples)
    problems = {category: list(texts) for category, texts in match.problems.items()}
    if found.faults:
        problems.setdefault("", []).append(f"{len(found.faults)} files cannot be used: {listed(found.faults, '; ')}")
    maps = dict(match.maps)
    if categories is not None:
        categories = [same_text(category) for category in categories]
        for category in categories:
            if category not in maps and category not in problems:
                raise InputError(f"{path} has no category {category}; {near_matches(category, sorted(maps))}")
        maps = {category: pairs for category, pairs in maps.items() if category in categories}
        problems = {category: texts for category, texts in problems.items() if category in ("", *categories)}
    odd: dict[str, list[Suspicion]] = {category: [one] for category, one in {**match.doubles, **match.orders}.items()}
    odd[""] = [
        Suspicion(kind, f"{len(files)} files {why}, first {files[0]}")
        for kind, why, files in (
            ("left_over", "hold no map and were left out", [*found.left_over, *match.passed_over]),
            ("not_taken", "were left out, since the dump has a more exact map of the same image", match.not_taken),
            ("links", f"are links that lead out of {path} and were followed", _links_out(path, maps)),
        )
        if files
    ]
    return ImportedMaps(path, chosen, maps, problems, odd, samples is None, allow_clamped)


_UNCLAMP = (
    "anomalib writes raw maps with PostProcessor(enable_normalization=False); --allow-clamped scores these as they are"
)


def bad_maps(category: str, faults: Sequence[str], n_maps: int) -> InputError:
    """The error that names maps which cannot be used."""
    return InputError(f"{len(faults)} of {n_maps} maps of {category} are bad: {listed(faults, '; ')}")


def check_clamped(category: str, found: Sequence[Suspicion]) -> None:
    """Refuse maps that look clamped.

    Raises:
        InputError: they do.
    """
    for suspicion in found:
        if suspicion.kind == "clamped":
            raise InputError(f"{category}: {suspicion.text}. {_UNCLAMP}")


def _of_one_type(
    maps: LazySequence[NDArray[Any]], dtypes: Sequence[np.dtype[Any]], category: str
) -> LazySequence[NDArray[Any]]:
    """Maps in the type that holds all of them exactly.

    Raises:
        InputError: no type holds them all.
    """
    wide = next(np.dtype(kind) for kind in (np.int64, np.float64, np.float32) if kind in dtypes)
    others = [index for index, dtype in enumerate(dtypes) if dtype != wide]
    for scores in (maps[index] for index in others if wide == np.int64):
        if np.abs(scores).max() > 2**62 or (scores != np.rint(scores)).any():
            raise InputError(
                f"some maps of {category} hold integers beyond 2**53 and others fractions, and no type holds both;"
                " write all as one type"
            )
    return LazySequence(len(maps), lambda index: maps[index].astype(wide)) if others else maps


def _links_out(path: Path, maps: Mapping[str, Sequence[tuple[Sample, FoundMap]]]) -> list[Path]:
    root = path.resolve()
    origins = dict.fromkeys(item.origin for pairs in maps.values() for _, item in pairs)
    return [origin for origin in origins if not origin.resolve().is_relative_to(root)]


def _of_masks(samples: Sequence[Sample], masks: Sequence[NDArray[Any]], mask_rule: str) -> list[Suspicion]:
    """What is odd about masks that travel with the maps."""
    looks = [look_at_own(mask, sample, mask_rule) for sample, mask in zip(samples, masks, strict=True)]
    return of_own_masks(looks)


def look_at_own(mask: NDArray[Any], sample: Sample, mask_rule: str) -> Look:
    """What there is to know of a mask that travels with its map."""
    return look(mask, sample.name, is_of_defect=sample.is_anomalous, is_anomalous=own_rule(mask_rule))


def of_own_masks(looks: Sequence[Look]) -> list[Suspicion]:
    """What is odd about the masks of a category that travel with its maps."""
    return [Suspicion(finding.kind, finding.text) for finding in mask_findings(looks, OWN_DATASET)]


def _own_map(item: FoundMap, where: str) -> NDArray[Any]:
    with reading(str(item.origin)):
        return finite_map(item.read(), where)


def _own_mask(item: FoundMap, where: str) -> NDArray[Any]:
    assert item.read_mask is not None, "samples_of demands a mask of every map"
    with reading(str(item.origin)):
        mask = np.squeeze(as_array(item.read_mask(), f"the mask of {where}"))
    if mask.ndim != 2 or not mask.size:
        raise InputError(f"the mask of {where} has shape {mask.shape}; one (height, width) array is needed")
    if not np.isfinite(mask).all():
        raise InputError(f"the mask of {where} holds values that are not finite; write 0 where normal, 1 or 255 else")
    return mask


def _on_frame(
    maps: Sequence[NDArray[Any]], samples: Sequence[Sample], size: int, crop: int, lowest: Any
) -> tuple[LazySequence[NDArray[Any]], list[tuple[int, int]]]:
    """Centre crops at their place in the whole image, which scores ``lowest`` outside them, and their shapes."""
    frame = Protocol("frame", "", "", size=size, keep_aspect=True, crop=crop)
    shapes = [frame_shape((crop, crop), image_size(sample.image_path), frame) for sample in samples]

    def placed(index: int) -> NDArray[Any]:
        scores = maps[index]
        whole = np.full(shapes[index], lowest, dtype=scores.dtype)
        whole[crop_box(shapes[index], crop)] = scores
        return whole

    return LazySequence(len(maps), placed), shapes


def _cropped(size: int, crop: int) -> Suspicion:
    return Suspicion(
        "cropped",
        f"the maps show only the central {crop} of {size} pixels; what lies outside counts as least anomalous. The"
        " method's own protocol scores the crop alone",
    )


def _check_sizes(shapes: Sequence[tuple[int, int]], samples: Sequence[Sample]) -> None:
    if len(set(shapes)) == 1:
        return
    for shape, sample in zip(shapes, samples, strict=True):
        if shape != image_size(sample.image_path):
            raise differing_sizes(sample.category, set(shapes), sample.name)


def differing_sizes(category: str, shapes: Collection[tuple[int, int]], name: str) -> InputError:
    """The error of maps of several heights and widths, one of which is not its image's."""
    sizes = ", ".join(f"{height} x {width}" for height, width in sorted(shapes)[:5])
    return InputError(
        f"the maps of {category} differ in size ({sizes}), and that of {name} is not its image's size; write all of"
        " them at one size, or each at its image's"
    )
