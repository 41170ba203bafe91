"""First pass of the sweep: the anomalous pixels of every image."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from aseg_bench.errors import InputError
from aseg_bench.metrics import _kernels as kernels
from aseg_bench.metrics.checks import (
    Levels,
    as_map,
    as_mask,
    check_mask,
    check_pair,
    mask_bytes,
    n_valid,
    note_levels,
    of_merged,
    truth_of,
)
from aseg_bench.metrics.keys import FLOAT32, KEY_TYPES, Keys, KeyType, key_type
from aseg_bench.metrics.tallies import UINT32_MAX, CoarseTally

EIGHT_CONNECTED = np.ones((3, 3), dtype=np.bool_)
N_CELLS = 2**26  # cells of keys that a ladder has at most, 12 MB of them,
CELLS_PER_KEY = (64, 512)  # but at least and at most these times as many as distinct keys


@dataclass(frozen=True)
class Needs:
    """What the asked metrics need of the passes.

    Attributes:
        curve: every normal pixel counted between the anomalous scores.
        overlaps: true and false positives of each image at the precision + recall threshold.
        regions: the 8-connected regions of the masks.
        images: a score and a label per image.
        anomalous_images: the normal pixels of images with an anomalous one counted by themselves too.
        normal_fpr: false-positive rate on normal images down to which their pixels must be ranked; 0 for none.
        threshold: count the pixels of each image that score above it; None counts none.
        shapes: count the regions and boundaries of these too.
    """

    curve: bool = True
    overlaps: bool = False
    regions: bool = False
    images: bool = False
    anomalous_images: bool = False
    normal_fpr: float = 0.0
    threshold: float | None = None
    shapes: bool = False

    def __or__(self, other: "Needs") -> "Needs":
        """What either of them needs."""
        return Needs(
            self.curve or other.curve,
            self.overlaps or other.overlaps,
            self.regions or other.regions,
            self.images or other.images,
            self.anomalous_images or other.anomalous_images,
            max(self.normal_fpr, other.normal_fpr),
            other.threshold if self.threshold is None else self.threshold,
            self.shapes or other.shapes,
        )


NOTHING, CURVE_ONLY = Needs(curve=False), Needs()


class SaturatedRegion(NamedTuple):
    """A defect that counts as found completely once ``saturation`` of its pixels are found (MVTec LOCO).

    Attributes:
        mask: True at the pixels of the region, (height, width) bool.
        saturation: number of pixels, at least 1; a number above that of the region counts as all of its pixels.
    """

    mask: NDArray[np.bool_]
    saturation: int


@dataclass(frozen=True)
class Groups:
    """Keys of anomalous pixels of one image, group by group.

    Attributes:
        index: place of the image in the results.
        keys: all keys, (n,).
        sizes: keys in each group, (n_groups,) int64.
    """

    index: int
    keys: Keys
    sizes: NDArray[np.int64]


@dataclass
class Ranking:
    """The anomalous pixels of all images, ranked: what the second pass counts against.

    Attributes:
        needs: what will be needed.
        kind: how scores are compared.
        images: the anomalous pixels of each anomalous image, in regions if these are needed.
        saturated: the pixels of each image's saturated regions that can count, in regions.
        n_distinct: number of distinct anomalous scores.
        ladder: finds a key among them.
        found: anomalous pixels at each.
        span: keys between which the precision + recall threshold lies, both included.
        n_top: highest normal pixels of normal images that must be kept.
    """

    needs: Needs
    kind: KeyType
    images: list[Groups]
    saturated: list[Groups]
    n_distinct: int
    ladder: kernels.Ladder
    found: NDArray[np.integer[Any]]
    span: tuple[int, int]
    n_top: int

    @property
    def keys(self) -> Keys:
        """The distinct anomalous keys, ascending."""
        return self.ladder.distinct[: self.n_distinct]

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """What another process needs to count against it: 4 bytes per distinct score (8 of float64 and int64)."""
        return {"kind": np.array(self.kind.name), "keys": self.keys, "limits": np.array([*self.span, self.n_top])}

    @classmethod
    def of_arrays(cls, needs: Needs, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """What `to_arrays` gave, to be counted against only: it has none of the images.

        Raises:
            InputError: the arrays are not such: a score is nan, or they do not ascend, each once.
        """
        kind, keys, (low, high, n_top) = KEY_TYPES[str(arrays["kind"])], arrays["keys"], arrays["limits"].tolist()
        kind.check(keys)
        if not (keys[1:] > keys[:-1]).all() or low > high or n_top < 0:
            raise InputError("the scores of a ranking do not ascend, each once, with limits that fit; take `to_arrays`")
        found = np.zeros(0, dtype=np.uint32)
        return cls(needs, kind, [], [], len(keys), ladder_of(keys, len(keys), kind), found, (low, high), n_top)


@dataclass
class FirstPass:
    """Collects the anomalous pixels, image by image; parts made anywhere merge in any order.

    Attributes:
        needs: what the asked metrics need.
    """

    needs: Needs
    _kind: KeyType | None = None
    _images: list[Groups] = field(default_factory=list)
    _saturated: list[Groups] = field(default_factory=list)
    _n_images: int = 0
    _n_pixels_of_normal_images: int = 0
    _coarse: CoarseTally = field(default_factory=CoarseTally)
    _levels: Levels = field(default_factory=dict)

    def wants_scores(self, mask: NDArray[np.bool_]) -> bool:
        """Whether the scores of an image with this mask are needed, or ``update`` can take None instead."""
        return self.needs.overlaps or bool(mask.any())

    def update(
        self,
        score_map: NDArray[Any] | None,
        mask: NDArray[np.bool_],
        *,
        regions: Sequence[SaturatedRegion] = (),
        index: int | None = None,
        name: str | None = None,
    ) -> None:
        """Take one image.

        Args:
            score_map: anomaly scores, (height, width); None where `wants_scores` says so.
            mask: True where anomalous, masked where void, (height, width).
            regions: the image's saturated regions.
            index: place of the image in per-image results, unique over all parts; None counts the calls.
            name: the image's name in messages; None takes its index.

        Raises:
            InputError: shapes or types do not fit, or a score is nan.
        """
        index = self._n_images if index is None else index
        where = f"image {index}" if name is None else name
        self._n_images += 1
        mask = as_mask(mask, f"the mask of {where}", self._levels)
        if score_map is None:
            check_mask(mask, where)
        else:
            score_map = as_map(score_map, where)
            check_pair(score_map, mask, where)
            self._take(score_map, mask, regions, index, where)
        if not truth_of(mask).any():
            self._n_pixels_of_normal_images += n_valid(mask)

    def _take(
        self,
        score_map: NDArray[Any],
        mask: NDArray[np.bool_],
        regions: Sequence[SaturatedRegion],
        index: int,
        where: str,
    ) -> None:
        kind = self._kind = same_kind(self._kind, key_type(score_map.dtype, where), where)
        bits = kind.bits(score_map)
        flat, truth = mask_bytes(mask), truth_of(mask)
        if self.needs.overlaps:
            lowest, highest = extremes(bits, kind, score_map.shape, where)
            self._coarse.update(bits, flat, kind.flip, lowest, highest)
        n_anomalous = int(np.count_nonzero(truth))
        if n_anomalous:
            keys = np.empty(n_anomalous, dtype=kind.integer)
            kernels.gather(bits, flat, kind.flip, keys)
            if not self.needs.overlaps and (keys.max() > kind.infinity or keys.min() < -kind.infinity):
                extremes(bits, kind, score_map.shape, where)
            groups = _by_region(keys, truth) if self.needs.regions else (keys, np.array([n_anomalous]))
            self._images.append(Groups(index, *groups))
        if parts := _saturating(bits, kind, mask, regions, where):
            self._saturated.append(Groups(index, np.concatenate(parts), np.array([len(part) for part in parts])))

    def note_levels(self, levels: Levels) -> None:
        """Note what stands for anomalous in masks of another part, or in those that come here as booleans.

        Raises:
            InputError: 255 stands for it there and 1 here.
        """
        note_levels(self._levels, of_merged(levels))

    def merge(self, other: Self) -> None:
        """Add the images of another part.

        Raises:
            InputError: the scores of the other part are of another kind, or 255 stands for anomalous there and 1 here.
        """
        if other._kind is not None:
            self._kind = same_kind(self._kind, other._kind, "a merged part")
        self.note_levels(other._levels)
        self._images += other._images
        self._saturated += other._saturated
        self._n_images += other._n_images
        self._n_pixels_of_normal_images += other._n_pixels_of_normal_images
        self._coarse.merge(other._coarse)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """All that was collected, for `take` of another process: 4 bytes per anomalous pixel (8 of float64 and int64).

        There must be no saturated regions; what stands for anomalous in the masks, and nothing else, is left out.
        """
        assert not self._saturated, "saturated regions do not cross processes"
        kind, images, coarse = self._kind or FLOAT32, self._images, self._coarse
        sizes = [image.sizes for image in images]
        return {
            "kind": np.array(self._kind.name if self._kind else ""),
            "n": np.array([self._n_images, self._n_pixels_of_normal_images]),
            "index": np.array([image.index for image in images], dtype=np.int64),
            "n_groups": np.array([len(of_image) for of_image in sizes], dtype=np.int64),
            "sizes": np.concatenate([np.zeros(0, dtype=np.int64), *sizes]),
            "keys": np.concatenate([np.zeros(0, dtype=kind.integer), *(image.keys for image in images)]),
            "coarse": coarse.counts,
            "coarse_place": np.array([coarse.shift, coarse.base]),
        }

    def take(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Add what another process gave with `to_arrays`.

        Raises:
            InputError: its scores are of another kind, or one is nan.
            ValueError: the arrays do not fit one another; kernels would read beyond them.
        """
        if kind := str(arrays["kind"]):
            self._kind = same_kind(self._kind, KEY_TYPES[kind], "a merged part")
        self._check(arrays)
        n_images, n_pixels = arrays["n"].tolist()
        self._n_images += n_images
        self._n_pixels_of_normal_images += n_pixels
        sizes = np.split(arrays["sizes"], np.cumsum(arrays["n_groups"])[:-1])
        keys = np.split(arrays["keys"], np.cumsum([of_image.sum() for of_image in sizes])[:-1])
        self._images += map(Groups, arrays["index"].tolist(), keys, sizes)
        shift, base = arrays["coarse_place"].tolist()
        self._coarse.merge(CoarseTally.of(shift, base, arrays["coarse"]))

    def _check(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        keys, sizes, n_groups = arrays["keys"], arrays["sizes"], arrays["n_groups"]
        shift, base = arrays["coarse_place"].tolist()
        for parts, n_whole in ((sizes, len(keys)), (n_groups, len(sizes))):
            fits = parts.dtype == np.int64 and parts.ndim == 1 and parts.size <= n_whole + 1
            if not fits or parts.min(initial=1) < 1 or parts.max(initial=1) > max(n_whole, 1) or parts.sum() != n_whole:
                raise ValueError("the sizes of its groups of pixels are not those of its scores")
        KEY_TYPES.get(str(arrays["kind"]), FLOAT32).check(keys)  # a part without a map names none
        n_buckets = len(arrays["coarse"])
        if not 0 <= shift < 64 or abs(base) + n_buckets >= 2**63 >> shift:
            raise ValueError("its buckets lie beyond all scores")
        low, high = base << shift, (base + n_buckets) << shift
        if self.needs.overlaps and len(keys) and not low <= int(keys.min()) <= int(keys.max()) < high:
            raise ValueError("its buckets do not hold its scores")

    def compute(self) -> Ranking:
        """Rank the anomalous pixels of all images."""
        kind = self._kind or FLOAT32
        ordered = np.concatenate([np.zeros(0, dtype=kind.integer), *(image.keys for image in self._images)])
        ordered.sort()
        n_anomalous = len(ordered)
        found: NDArray[np.integer[Any]] = np.zeros(
            n_anomalous, dtype=np.uint32 if n_anomalous <= UINT32_MAX else np.int64
        )
        n_distinct = kernels.squeeze(ordered, found)
        found = found[:n_distinct].copy()
        n_top = int(self.needs.normal_fpr * self._n_pixels_of_normal_images) + 1
        n_top = n_top if n_distinct and self.needs.normal_fpr else 0
        span = (0, 0)
        if n_distinct and self.needs.overlaps:
            coarse = self._coarse
            first, last = kernels.candidates(ordered, found, n_anomalous, coarse.shift, coarse.base, coarse.from_top())
            span = (int(ordered[first]), int(ordered[last]))
        ladder = ladder_of(ordered, n_distinct, kind)
        return Ranking(self.needs, kind, self._images, self._saturated, n_distinct, ladder, found, span, n_top)


def same_kind(known: KeyType | None, kind: KeyType, where: str) -> KeyType:
    """The common kind of scores.

    Raises:
        InputError: the kinds differ, so that scores cannot be compared without loss.
    """
    if known not in (None, kind):
        raise InputError(f"{where} has {kind.name} scores, other images {known.name}; convert all to one type")
    return kind


def extremes(bits: Keys, kind: KeyType, shape: tuple[int, ...], where: str) -> tuple[int, int]:
    """Lowest and highest key of an image.

    Raises:
        InputError: a score is nan; names the pixel.
    """
    lowest, highest, nan = kernels.scan(bits, kind.flip, kind.infinity)
    if nan >= 0:
        row, column = divmod(nan, shape[1])
        raise InputError(f"score is nan at {where}, pixel ({row}, {column}); repair the map, or remove the image")
    return int(lowest), int(highest)


def _by_region(keys: Keys, mask: NDArray[np.bool_]) -> tuple[Keys, NDArray[np.int64]]:
    """The keys of a mask's pixels, region by region, and the regions' sizes."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    labels, n_regions = ndimage.label(box, structure=EIGHT_CONNECTED)
    if n_regions == 1:
        return keys, np.array([len(keys)])
    label = labels[box]
    order = np.argsort(label.astype(np.uint16) if n_regions <= 0xFFFF else label, kind="stable")
    return keys[order], np.bincount(label)[1:]


def _saturating(
    bits: Keys, kind: KeyType, mask: NDArray[np.bool_], regions: Sequence[SaturatedRegion], where: str
) -> list[Keys]:
    """The highest ``saturation`` keys of each region that is not all void: the pixels with which it is found."""
    parts = []
    for number, region in enumerate(regions):
        place = f"{where}, region {number}"
        given = as_mask(region.mask, place)
        check_mask(given, place)
        inside = truth_of(given)
        if given.shape != mask.shape or not inside.any() or np.ma.filled(inside & ~mask, False).any():
            raise InputError(f"{place} is empty or reaches beyond the mask; the mask must be the union of the regions")
        if region.saturation < 1:
            raise InputError(f"{place}: the saturation is {region.saturation} pixels; at least 1 is needed")
        inside = inside & truth_of(mask)
        keys = np.empty(int(inside.sum()), dtype=kind.integer)
        kernels.gather(bits, mask_bytes(inside), kind.flip, keys)
        keys.sort()
        parts.append(keys[-int(region.saturation) :])
    return [part for part in parts if len(part)]


def ladder_of(ordered: Keys, n_distinct: int, kind: KeyType) -> kernels.Ladder:
    """What finds a key among the first ``n_distinct``, which ascend."""
    sums = starts = np.zeros(1, dtype=np.uint32)
    if not n_distinct:
        return kernels.Ladder(ordered, np.zeros(1, dtype=np.uint64), sums, starts, 0, 0, 0, 0, 0)
    low, high = int(ordered[0]) - 1, int(ordered[n_distinct - 1]) + 1
    least, most = (times * n_distinct for times in CELLS_PER_KEY)
    shift = ((high - low) // max(least, min(most, N_CELLS))).bit_length()
    base = low >> shift
    words = np.zeros(((high >> shift) - base) // 64 + 1, dtype=np.uint64)
    sums, starts = np.empty(len(words), dtype=np.uint32), np.empty(n_distinct + 1 if shift else 1, dtype=np.uint32)
    fullest = kernels.index(ordered, n_distinct, shift, base, words, sums, starts)
    widest = 1 << (fullest.bit_length() - 1) if shift else 0
    distinct = np.full(n_distinct + widest, np.iinfo(kind.integer).max, dtype=kind.integer)
    distinct[:n_distinct] = ordered[:n_distinct]
    return kernels.Ladder(distinct, words, sums, starts, shift, base, widest, low, high)
