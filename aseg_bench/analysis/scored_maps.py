"""One method's maps of one category as they were scored, and how many pixels of each image lie at each of 256 codes."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from threading import Lock
from typing import Any, NamedTuple, TypeVar

import numpy as np
from joblib import Parallel, cpu_count, delayed
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import label

from aseg_bench.analysis.slices import Swept, sweep
from aseg_bench.images import image_size, read_image
from aseg_bench.predictions.store import MapStore
from aseg_bench.protocols import EXACT, Protocol
from aseg_bench.protocols.frame import crop_box, frame_shape
from aseg_bench.protocols.meeting import Meeting
from aseg_bench.records import Case, LazySequence, Sample

EDGE = 256  # pixels of the longer edge of a picture that is only looked at
_N_LOOKED_AT = 12  # images of each kind from which the levels are chosen
_N_QUANTILED = 2**18  # pixels of these images that suffice for quantiles
_PARALLEL_FROM = 4  # categories from which processes of their own are worth their start
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
        levels: distinct thresholds, ascending, at most 255, float64 in the unit of the scores.
        normal: normal pixels, (images, len(levels) + 1) int64.
        anomalous: anomalous pixels, same shape.
        regions: pixels of each connected region (8 neighbours) of the truth, (regions, len(levels) + 1) int64.
    """

    levels: NDArray[np.float64]
    normal: NDArray[np.int64]
    anomalous: NDArray[np.int64]
    regions: NDArray[np.int64]

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
        masks: True where the pixel is anomalous, in the shape of the map of the same sample; may be read lazily.
        protocol: how scores and masks came into their frame; pictures follow.
    """

    case: Case
    samples: Sequence[Sample]
    scores: Sequence[NDArray[np.floating]]
    masks: Sequence[NDArray[np.bool_]]
    protocol: Protocol = EXACT

    @cached_property
    def swept(self) -> Swept:
        """Threshold and slices, from one sweep; computed once."""
        return sweep(self.samples, self.scores, self.masks)

    @property
    def threshold(self) -> float | None:
        """The score that maximises precision + recall; None where no pixel is anomalous."""
        return self.swept.threshold

    @cached_property
    def counts(self) -> LevelCounts:
        """Pixel counts of every image at levels that hold the threshold; computed once."""
        levels = _levels(self)
        shape = (len(self.samples), len(levels) + 1)
        normal, anomalous = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        regions = [np.zeros((0, shape[1]), np.int64)]
        for index in range(len(self.samples)):
            code = codes(self.scores[index], levels)
            normal[index] = np.bincount(code.ravel(), minlength=shape[1])
            if not self.masks[index].any():
                continue
            region, n_regions = label(self.masks[index], structure=np.ones((3, 3)))
            joint = np.bincount(region.ravel() * shape[1] + code.ravel(), minlength=(n_regions + 1) * shape[1])
            background, *found = joint.reshape(n_regions + 1, shape[1])
            normal[index], anomalous[index] = background, np.sum(found, axis=0)
            regions.append(np.array(found))
        return LevelCounts(levels, normal, anomalous, np.concatenate(regions))

    def picture(self, index: int) -> NDArray[np.uint8]:
        """The image of a sample in the frame of its map, (height, width, 3) uint8 RGB."""
        shape = self.scores[index].shape
        whole, box = shape, (slice(None), slice(None))
        if self.protocol.crop is not None and self.protocol.size != "map":
            path = self.samples[index].image_path
            whole = frame_shape(shape, image_size(path), self.protocol)
            box = crop_box(whole, self.protocol.crop)
        image = Image.fromarray(read_image(self.samples[index].image_path))
        return np.asarray(image.resize((whole[1], whole[0]), Image.Resampling.BILINEAR))[box]


def scored_maps(
    store: MapStore, methods: Sequence[str], samples: Sequence[Sample], protocol: Protocol = EXACT
) -> list[list[ScoredMaps]]:
    """The stored maps of test images, one entry per category with one entry per method; nothing is read yet.

    Args:
        store: where the maps lie; every method has one of every sample.
        methods: names of the methods.
        samples: test images of one or several data sets.
        protocol: how maps and truth are compared.
    """
    categories: dict[tuple[str, str], list[Sample]] = {}
    for sample in samples:
        categories.setdefault((sample.dataset, sample.category), []).append(sample)
    recent = _Recent(len(methods))
    return [
        [_Stored(store, Case(method, *place), some, protocol, recent).scored() for method in methods]
        for place, some in categories.items()
    ]


def in_processes(jobs: Sequence[Callable[[], Result]]) -> list[Result]:
    """What the jobs return, one per category, made in processes of their own where that is worth their start."""
    n_jobs = cpu_count() if len(jobs) >= _PARALLEL_FROM else 1
    return list(Parallel(n_jobs=n_jobs)(delayed(job)() for job in jobs))


def counted(category: Sequence[ScoredMaps]) -> list[ScoredMaps]:
    """The same maps, swept and counted."""
    for maps in category:
        _ = maps.counts  # kept by each
    return list(category)


class _Stored:
    """The stored maps of one case in the frame of the protocol. Sent to another process, they are opened anew there."""

    def __init__(
        self, store: MapStore, case: Case, samples: Sequence[Sample], protocol: Protocol, recent: "_Recent"
    ) -> None:
        self._store, self._case, self._samples = store, case, samples
        self._protocol, self._recent = protocol, recent

    @property
    def _meeting(self) -> Meeting:
        maps = self._store.maps(self._case.method, self._samples)
        return self._recent.meeting(self._case, lambda: Meeting(self._samples, maps, None, self._protocol))

    def scored(self) -> ScoredMaps:
        scores, masks = (LazySequence(len(self._samples), item) for item in (self._scores, self._mask))
        return ScoredMaps(self._case, self._samples, scores, masks, self._protocol)

    def _scores(self, index: int) -> NDArray[Any]:
        return self._recent.item((self._case, "scores", index), lambda: self._meeting.scores[index])

    def _mask(self, index: int) -> NDArray[Any]:
        return self._recent.item((self._case, "mask", index), lambda: self._meeting.truths[index])


class _Recent:
    """What was read last, up to a number of bytes: figures and page go over the maps of a category several times.

    Meetings, which may keep all they read, are as many as one category has methods.
    """

    def __init__(self, n_meetings: int, n_bytes: int = 2**27) -> None:
        self._n_meetings, self._room, self._lock = n_meetings, n_bytes, Lock()
        self._items: OrderedDict[Hashable, NDArray[Any]] = OrderedDict()
        self._meetings: OrderedDict[Case, Meeting] = OrderedDict()

    def __reduce__(self) -> tuple[type["_Recent"], tuple[int]]:
        return _Recent, (self._n_meetings,)  # another process starts with nothing

    def meeting(self, case: Case, make: Callable[[], Meeting]) -> Meeting:
        """The meeting of this case, made where it is not kept."""
        with self._lock:
            found = self._meetings.pop(case, None) or make()
            self._meetings[case] = found
            if len(self._meetings) > self._n_meetings:
                self._meetings.popitem(last=False)
            return found

    def item(self, key: Hashable, read: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        """The array of this key, read where it is not kept."""
        with self._lock:
            if key in self._items:
                self._items.move_to_end(key)
                return self._items[key]
        item = read()
        with self._lock:
            if key not in self._items:
                self._items[key] = item
                self._room -= item.nbytes
            while self._room < 0 and len(self._items) > 1:
                self._room += self._items.popitem(last=False)[1].nbytes
        return item


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


def _levels(maps: ScoredMaps) -> NDArray[np.float64]:
    """Levels that show something: quantiles of anomalous pixels, of all pixels and of their upper tail.

    The quantiles are those of a few images, evenly spread; the threshold is always among the levels.
    """
    by_kind = [[i for i, sample in enumerate(maps.samples) if sample.is_anomalous is kind] for kind in (True, False)]
    chosen = [kind[:: max(1, -(-len(kind) // _N_LOOKED_AT))] for kind in by_kind]
    everything = np.concatenate([maps.scores[i].ravel() for kind in chosen for i in kind])
    anomalous = np.concatenate([everything[:0], *(maps.scores[i][maps.masks[i]] for i in chosen[0])])
    shares = np.concatenate([np.linspace(0, 1, 96), 1 - np.geomspace(1e-5, 0.01, 62)])
    thinned = everything[:: 1 + everything.size // _N_QUANTILED]
    quantiles = [np.quantile(thinned, shares, method="lower")]
    if len(anomalous):
        quantiles.append(np.quantile(anomalous, np.linspace(0, 1, 96), method="lower"))
    if maps.threshold is not None:
        quantiles.append(np.array([maps.threshold]))
    return np.unique(np.concatenate(quantiles).astype(np.float64))
