"""One method's maps of one category as they were scored, and the counts of their pixels that reports are made of."""

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from joblib import Parallel, cpu_count, delayed
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import label

from aseg_bench.analysis.slices import OfArea, Slice, sliced
from aseg_bench.errors import InputError
from aseg_bench.files import reading, written_whole
from aseg_bench.images import image_size, mask_files, picture_of
from aseg_bench.metrics.checks import truth_of
from aseg_bench.predictions.loading import read_npz
from aseg_bench.predictions.records import Limits
from aseg_bench.predictions.store import MapStore
from aseg_bench.protocols import EXACT, Protocol
from aseg_bench.protocols.frame import crop_box, frame_shape
from aseg_bench.protocols.meeting import Meeting
from aseg_bench.records import Case, Sample

EDGE = 256  # pixels of the longer edge of a picture that is only looked at
_N_LOOKED_AT = 12  # images of each kind from which the levels are chosen
_N_QUANTILED = 2**18  # pixels of these images that suffice for quantiles
_PARALLEL_FROM = 4  # categories from which processes of their own are worth their start
_OF_FACTS = Limits(max_bytes=2**26)  # key, thresholds, slices and areas, as a text
_FACTS = ("threshold", "slices", "areas", "found")
_ARRAYS = ("levels", "normal", "anomalous", "regions", "region_images")
Result = TypeVar("Result")


class CurvePoints(NamedTuple):
    """Fractions from the lowest threshold, which calls every pixel anomalous, to the highest: (levels + 1,) each.

    ``overlap`` is the mean over the regions of the truth of their share that is found.
    """

    recall: NDArray[np.float64]
    precision: NDArray[np.float64]
    fpr: NDArray[np.float64]
    overlap: NDArray[np.float64]


@dataclass(frozen=True)
class LevelCounts:
    """Pixels by image and code. A pixel's code is the number of levels that its score reaches.

    So ``code >= k`` is ``score >= levels[k - 1]``, without rounding: what is counted at a level is exact.

    Attributes:
        threshold: the score that maximises precision + recall, one of the levels; None where a class is missing.
        slices: the anomalous images by kind and size of their defect and by light, with the exact AP of each.
        areas: how the defects of each of ``AREAS`` are found, exactly.
        levels: distinct thresholds, ascending, at most 255, float64 in the unit of the scores.
        normal: normal pixels, (images, len(levels) + 1) int64.
        anomalous: anomalous pixels, same shape.
        regions: pixels of each connected region (8 neighbours) of the truth, (regions, len(levels) + 1) int64.
        region_images: place of the image of each region, (regions,) int64.
        found: the level from which on scores are above the threshold that was found on normal images; None without one.
    """

    threshold: float | None
    slices: Sequence[Slice]
    areas: Sequence[OfArea]
    levels: NDArray[np.float64]
    normal: NDArray[np.int64]
    anomalous: NDArray[np.int64]
    regions: NDArray[np.int64]
    region_images: NDArray[np.int64]
    found: float | None = field(default=None, kw_only=True)

    def save(self, path: Path, key: str) -> None:
        """Write the counts whole, as npz, with the key of the maps that they are of."""
        facts = {"key": key, **{name: getattr(self, name) for name in _FACTS}}
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        with written_whole(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, facts=np.array(json.dumps(facts)), **arrays)

    @classmethod
    def load(cls, path: Path, key: str) -> "LevelCounts | None":
        """Read what `save` wrote; None where there is nothing, or counts of other maps, or a damaged file."""
        with suppress(InputError), reading(path):
            facts = json.loads(str(read_npz(path, ["facts"], _OF_FACTS)[0]))
            if facts["key"] == key:  # who does not have these maps does not know it
                slices = [Slice(*values) for values in facts["slices"]]
                areas = [OfArea(*values) for values in facts["areas"]]
                arrays = read_npz(path, _ARRAYS, Limits())
                return cls(facts["threshold"], slices, areas, *arrays, found=facts["found"])
        return None

    def code(self, threshold: float) -> int:
        """The least code of a pixel that is called anomalous at a threshold; one between two levels is rounded up."""
        return 1 + int(np.searchsorted(self.levels, threshold))

    def confusion(self, threshold: float) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """True-positive, false-positive and false-negative pixels per image at ``score >= threshold``, a level."""
        code = self.code(threshold)
        hits = self.anomalous[:, code:].sum(axis=1)
        return hits, self.normal[:, code:].sum(axis=1), self.anomalous.sum(axis=1) - hits

    @property
    def curves(self) -> CurvePoints:
        """Points of the ROC, precision-recall and PRO curves, exact at every level."""
        hits, false_alarms = (_at_least(kind.sum(axis=0)) for kind in (self.anomalous, self.normal))
        overlaps = _at_least(self.regions) / self.regions.sum(axis=1, keepdims=True)
        return CurvePoints(
            recall=hits / hits[0],
            precision=hits / np.maximum(hits + false_alarms, 1),
            fpr=false_alarms / max(false_alarms[0], 1),
            overlap=overlaps.mean(axis=0),
        )


@dataclass(frozen=True)
class ScoredMaps:
    """What a method said about the test images of one category beside the truth, in the frame of the protocol.

    Attributes:
        case: method, data set and category.
        samples: the test images.
        scores: one map per sample in the same order, (height, width); may be read lazily.
        masks: True where the pixel is anomalous, masked where it is void, in the shape of the map of the same sample;
            may be read lazily.
        protocol: how scores and masks came into their frame; pictures follow.
        counts_file: where the counts are kept; None keeps none.
        key: of the maps that the counts are of.
        meeting: of maps and truth, where these are stored.
        found: threshold that was found on normal images; None without one.
    """

    case: Case
    samples: Sequence[Sample]
    scores: Sequence[NDArray[np.floating]]
    masks: Sequence[NDArray[np.bool_]]
    protocol: Protocol = EXACT
    counts_file: Path | None = None
    key: str = ""
    meeting: Meeting | None = None
    found: float | None = None

    @property
    def threshold(self) -> float | None:
        """The score that maximises precision + recall; None where a class of pixels is missing."""
        return self.counts.threshold

    @property
    def image_labels(self) -> NDArray[np.bool_]:
        """Which images the protocol calls anomalous."""
        if self.meeting is not None:
            return self.meeting.image_labels
        return np.array([sample.is_anomalous for sample in self.samples])

    @property
    def has_counts(self) -> bool:
        """Whether the counts of these very maps are kept."""
        return "counts" in vars(self) or self._kept is not None

    @cached_property
    def _kept(self) -> LevelCounts | None:
        return None if self.counts_file is None else LevelCounts.load(self.counts_file, self.key)

    @cached_property
    def counts(self) -> LevelCounts:
        """Pixel counts of every image at levels that hold the threshold; made once, and kept where they have a file."""
        counts = self._kept or self._counted()
        if self._kept is None and self.counts_file is not None:
            counts.save(self.counts_file, self.key)
        return counts

    def _counted(self) -> LevelCounts:
        threshold, slices, areas = sliced(self.samples, self.scores, self.masks)
        above = None if self.found is None else float(np.nextafter(self.found, np.inf))
        levels = _levels(self, threshold, above)
        shape = (len(self.samples), len(levels) + 1)
        normal, anomalous = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        regions, n_regions_of = [np.zeros((0, shape[1]), np.int64)], np.zeros(shape[0], np.int64)
        for index in range(len(self.samples)):
            code, mask = codes(self.scores[index], levels), self.masks[index]
            kept = ~np.ma.getmaskarray(mask) if np.ma.is_masked(mask) else slice(None)
            normal[index] = np.bincount(code[kept].ravel(), minlength=shape[1])
            truth = truth_of(mask)
            if not truth.any():
                continue
            region, n_regions = label(truth, structure=np.ones((3, 3)))
            joint = region * shape[1] + code
            joint = np.bincount(joint[kept].ravel(), minlength=(n_regions + 1) * shape[1])
            background, *found = joint.reshape(n_regions + 1, shape[1])
            normal[index], anomalous[index] = background, np.sum(found, axis=0)
            regions.append(np.array(found))
            n_regions_of[index] = n_regions
        of_image, regions_found = np.repeat(np.arange(shape[0]), n_regions_of), np.concatenate(regions)
        return LevelCounts(threshold, slices, areas, levels, normal, anomalous, regions_found, of_image, found=above)

    def picture(self, index: int) -> NDArray[np.uint8]:
        """The image of a sample in the frame of its map, (height, width, 3) uint8 RGB."""
        shape = self.scores[index].shape
        whole, box = shape, (slice(None), slice(None))
        if self.protocol.crop is not None and self.protocol.size != "map":
            path = self.samples[index].image_path
            whole = frame_shape(shape, image_size(path), self.protocol)
            box = crop_box(whole, self.protocol.crop)
        image = Image.fromarray(picture_of(self.samples[index]))
        return np.asarray(image.resize((whole[1], whole[0]), Image.Resampling.BILINEAR))[box]


def stored_maps(
    store: MapStore,
    case: Case,
    samples: Sequence[Sample],
    protocol: Protocol = EXACT,
    counts_file: Path | None = None,
    found: float | None = None,
) -> ScoredMaps:
    """The stored maps of a method on a category; nothing is read yet.

    Args:
        store: where the maps lie; there is one of every sample.
        case: method, data set and category.
        samples: the test images of the category.
        protocol: how maps and truth are compared.
        counts_file: where their counts are kept.
        found: threshold that was found on normal images; None without one.
    """
    key = "" if counts_file is None else _key(store, case.method, samples, protocol, found)
    n_bytes_kept = 0 if counts_file is not None and counts_file.is_file() else None  # then few are looked at, once
    meeting = Meeting(samples, store.maps(case.method, samples), None, protocol, n_bytes_kept)
    return ScoredMaps(case, samples, meeting.scores, meeting.truths, protocol, counts_file, key, meeting, found)


def by_category(samples: Sequence[Sample]) -> dict[tuple[str, str], list[Sample]]:
    """The samples of each data set and category."""
    categories: dict[tuple[str, str], list[Sample]] = {}
    for sample in samples:
        categories.setdefault((sample.dataset, sample.category), []).append(sample)
    return categories


def in_processes(jobs: Sequence[Callable[[], Result]]) -> list[Result]:
    """What the jobs return, one per category, made in processes of their own where that is worth their start."""
    n_jobs = cpu_count() if len(jobs) >= _PARALLEL_FROM else 1
    return list(Parallel(n_jobs=n_jobs)(delayed(job)() for job in jobs))


def counted(categories: Sequence[Sequence[ScoredMaps]]) -> list[list[ScoredMaps]]:
    """The same maps with the counts of all; those that are not kept are made, a category in a process."""
    made = in_processes([partial(_counted, some) for some in categories if not all(maps.has_counts for maps in some)])
    by_place = {some[0].case: some for some in made}
    return [by_place.get(some[0].case, list(some)) for some in categories]


def _counted(category: Sequence[ScoredMaps]) -> list[ScoredMaps]:
    for maps in category:
        _ = maps.counts  # kept by each
    return list(category)


def _key(store: MapStore, method: str, samples: Sequence[Sample], protocol: Protocol, found: float | None) -> str:
    """What changes whenever a map, a mask, the protocol or a found threshold does: names, sizes and times of files."""
    key = hashlib.sha256(json.dumps(protocol.settings, sort_keys=True).encode())
    for sample in samples:
        masks = [] if sample.mask_path is None else mask_files(sample.mask_path)
        for path in (store.path(method, sample), *masks):
            facts = path.stat()
            key.update(f"{sample.name}\0{facts.st_size}\0{facts.st_mtime_ns}\0".encode(errors="surrogateescape"))
    key.update(b"" if found is None else repr(found).encode())
    return key.hexdigest()


def codes(scores: NDArray[np.floating], levels: NDArray[np.float64]) -> NDArray[np.uint8]:
    """How many levels each score reaches, uint8 in the shape of ``scores``; at most 255 levels, ascending."""
    return np.searchsorted(levels, scores.ravel(), side="right").astype(np.uint8).reshape(scores.shape)


def _at_least(by_code: NDArray[np.int64]) -> NDArray[np.int64]:
    """Pixels of at least each code, along the last axis."""
    return np.cumsum(by_code[..., ::-1], axis=-1)[..., ::-1]


def small(picture: NDArray[Any], edge: int = EDGE) -> NDArray[Any]:
    """Every nth pixel, so that the longer edge has at most ``edge`` pixels; values are kept as they are."""
    height, width = picture.shape[:2]
    scale = min(1.0, edge / max(height, width))
    rows, columns = (
        ((np.arange(round(n * scale)) + 0.5) / round(n * scale) * n).astype(np.intp) for n in (height, width)
    )
    return np.asarray(picture[rows[:, None], columns])


def _levels(maps: ScoredMaps, threshold: float | None, found: float | None) -> NDArray[np.float64]:
    """Levels that show something: quantiles of anomalous pixels, of all pixels and of their upper tail.

    The quantiles are those of a few images, evenly spread; the thresholds are always among the levels.
    """
    by_kind = [[i for i, sample in enumerate(maps.samples) if sample.is_anomalous is kind] for kind in (True, False)]
    chosen = [kind[:: max(1, -(-len(kind) // _N_LOOKED_AT))] for kind in by_kind]
    everything = np.concatenate([maps.scores[i].ravel() for kind in chosen for i in kind])
    anomalous = np.concatenate([everything[:0], *(maps.scores[i][truth_of(maps.masks[i])] for i in chosen[0])])
    n_shares = 96 if found is None else 95  # levels are 255 at most
    shares = np.concatenate([np.linspace(0, 1, n_shares), 1 - np.geomspace(1e-5, 0.01, 62)])
    thinned = everything[:: 1 + everything.size // _N_QUANTILED]
    quantiles = [np.quantile(thinned, shares, method="lower")]
    if len(anomalous):
        quantiles.append(np.quantile(anomalous, np.linspace(0, 1, 96), method="lower"))
    quantiles += [np.array([one]) for one in (threshold, found) if one is not None]
    return np.unique(np.concatenate(quantiles).astype(np.float64))
