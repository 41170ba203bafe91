"""Looks in the values of a category's maps for mistakes that make a benchmark wrong without raising an error."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from aseg_bench.errors import InputError, UndefinedMetricError
from aseg_bench.metrics import measure
from aseg_bench.metrics.checks import as_array
from aseg_bench.predictions.exact import exact_scores
from aseg_bench.protocols import EXACT
from aseg_bench.protocols.mask_rule import DEFAULT_RULE
from aseg_bench.protocols.meeting import Masks, Meeting
from aseg_bench.records import LazySequence, Sample

Scores = NDArray[Any]

_STEP = 4
_MUCH_BETTER = 0.05  # gain in AUROC by transposing from which the maps look transposed
_INVERTED = 0.45  # AUROC below which a sign looks wrong
_CLAMPED_SHARE = 0.001  # of pixels at exactly 0 or exactly 1
_FEW_LEVELS = 256
_KEPT = 2**24  # bytes of every fourth row and column, and of their truth, that are kept
_MOST_TURNED = 500  # images of each class that are read again, beyond what is kept, to look for sign and orientation


@dataclass(frozen=True)
class Suspicion:
    """What looks wrong in the maps of a category, though they can be scored.

    Attributes:
        kind: short key, the same for the same mistake.
        text: the finding and what to do about it.
    """

    kind: str
    text: str


def finite_map(scores: Any, where: str) -> NDArray[Any]:
    """A map as (height, width) scores: float32, float64 or int64, the first of these that holds them exactly.

    Args:
        scores: array or tensor of any real type; axes of length one are dropped.
        where: names the map in messages.

    Raises:
        InputError: the scores are not a single map, not real, or not all finite.
    """
    values = as_array(scores, f"the map of {where}")
    flat = np.squeeze(values)
    if flat.ndim != 2 or not flat.size:
        raise InputError(f"the map of {where} has shape {values.shape}; one (height, width) array is needed")
    if flat.dtype.kind == "f":
        is_finite = np.isfinite(flat)
        if not is_finite.all():
            row, column = np.argwhere(~is_finite)[0]
            raise InputError(
                f"score is {flat[row, column]} at {where}, pixel ({row}, {column});"
                f" {np.count_nonzero(~is_finite)} of its pixels are not finite"
            )
    return exact_scores(flat, f"the map of {where}")


class Looking:
    """A look at the maps of a category, one by one, for everything that looks wrong in them.

    Args:
        samples: its test images.
        maps: one finite (height, width) array per sample.
        masks: masks that travelled with the maps, or None.
        mask_rule: which values of a mask mean anomalous or void, see `MaskRule`.
    """

    def __init__(
        self, samples: Sequence[Sample], maps: Sequence[Scores], masks: Masks | None, mask_rule: str = DEFAULT_RULE
    ) -> None:
        self._samples, self._maps, self._look = samples, maps, MapsLook()
        self._truths = truths = Meeting(samples, maps, masks, replace(EXACT, mask_rule=mask_rule)).truths
        places = to_turn(samples)
        self._parts = LazySequence(len(places), lambda number: thinned(maps[places[number]]), _KEPT)
        self._truth_parts = LazySequence(len(places), lambda number: thinned(truths[places[number]]), _KEPT)
        self._number_at = {place: number for number, place in enumerate(places)}

    def at(self, index: int) -> None:
        """Look at the map of an image; all of them are looked at once, in order."""
        if (number := self._number_at.get(index)) is not None:
            _ = self._parts[number], self._truth_parts[number]  # what is kept of them is not read again
        self._look.update(self._maps[index], self._truths[index], thinned(self._maps[index]))

    @property
    def n_seen(self) -> int:
        """How many maps were looked at."""
        return len(self._look.seen)

    def suspicions(self) -> list[Suspicion]:
        """Everything that looks wrong; the maps that are not looked at yet are read now, and then some of `to_turn`."""
        for index in range(self.n_seen, len(self._maps)):
            self.at(index)
        parts, truth_parts = self._parts, self._truth_parts
        turned = LazySequence(len(parts), lambda index: parts[index].T)
        return self._look.suspicions(
            [sample.name for sample in self._samples],
            _auroc(parts, truth_parts),
            lambda: _auroc(turned, truth_parts) if all(part.shape[0] == part.shape[1] for part in parts) else None,
        )


def thinned(values: NDArray[Any]) -> NDArray[Any]:
    """Every fourth row and column, which is enough to see an orientation."""
    return values[::_STEP, ::_STEP].copy()


def to_turn(samples: Sequence[Sample]) -> list[int]:
    """Places of the images by which sign and orientation are looked for: as many of each class as are enough."""
    places: list[int] = []
    for is_anomalous in (False, True):
        of_class = [place for place, sample in enumerate(samples) if sample.is_anomalous == is_anomalous]
        places += of_class[:: max(len(of_class) - 1, 0) // _MOST_TURNED + 1]
    return sorted(places)


@dataclass
class MapsLook:
    """What is remembered of maps; looks at parts of a category merge.

    Attributes:
        seen: range, size and extremes, by map.
        levels: the distinct scores of every fourth row and column, as far as they are few.
        is_half: all of these are float16 numbers.
        truth_counts: see `_counts_of_truth`.
    """

    seen: list["Seen"] = field(default_factory=list)
    levels: NDArray[Any] = field(default_factory=lambda: np.empty(0))
    is_half: bool = True
    truth_counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(4, np.int64))

    def update(self, scores: Scores, truth: NDArray[np.bool_], part: Scores) -> None:
        """Look at a map, its truth and its `thinned` scores."""
        self.seen.append(Seen.of(scores))
        self.truth_counts += _counts_of_truth(truth)
        self.is_half = self.is_half and _is_half(part)
        if len(self.levels) <= _FEW_LEVELS:
            self.levels = np.union1d(self.levels, part)

    def merge(self, other: Self) -> None:
        """Add the look at other maps; ``seen`` is left to who knows their order."""
        self.truth_counts += other.truth_counts
        self.is_half = self.is_half and other.is_half
        self.levels = np.union1d(self.levels, other.levels)

    def suspicions(
        self, names: Sequence[str], auroc: float | None, turned_auroc: Callable[[], float | None]
    ) -> list[Suspicion]:
        """What looks wrong.

        Args:
            names: of the images.
            auroc: of the thinned maps.
            turned_auroc: gives that of the thinned maps transposed; None where these are not square.
        """
        found = [
            _constant(names, self.seen),
            clamped(self.seen),
            _few_levels(len(self.levels), self.is_half),
            _per_image_min_max(self.seen),
            _inverted(auroc, self.truth_counts),
            None if auroc is None else _transposed(auroc, turned_auroc()),
        ]
        return [suspicion for suspicion in found if suspicion is not None]


class Seen(NamedTuple):
    """What is remembered of a map: its range, its size, and how many scores are exactly 0 and exactly 1."""

    low: float
    high: float
    n_pixels: int
    n_zero: int
    n_one: int

    @classmethod
    def of(cls, scores: Scores) -> Self:
        """What there is to know of a map."""
        low, high = scores.min(), scores.max()
        is_share = low >= 0 and high <= 1
        n_zero, n_one = (int(np.count_nonzero(scores == end)) if is_share else 0 for end in (0, 1))
        return cls(low, high, scores.size, n_zero, n_one)


def _constant(names: Sequence[str], seen: Sequence[Seen]) -> Suspicion | None:
    constant = [name for name, scores in zip(names, seen, strict=True) if scores.low == scores.high]
    if not constant:
        return None
    n_zero = sum(scores.low == scores.high == 0 for scores in seen)
    what = f"{len(constant)} of {len(seen)} maps are constant ({n_zero} all zero), first {constant[0]}"
    return Suspicion("constant", f"{what}; was the model trained, and did the writing finish?")


def clamped(seen: Sequence[Seen]) -> Suspicion | None:
    """Whether maps look cut off at 0 or 1."""
    if min(scores.low for scores in seen) < 0 or max(scores.high for scores in seen) > 1:
        return None
    n_pixels, n_zero, n_one = (sum(of_map) for of_map in zip(*(scores[2:] for scores in seen), strict=True))
    if max(n_zero, n_one) <= _CLAMPED_SHARE * n_pixels:
        return None
    return Suspicion(
        "clamped",
        f"{n_zero / n_pixels:.1%} of the pixels are exactly 0 and {n_one / n_pixels:.1%} exactly 1: the maps look"
        " clamped to [0, 1], which ties their extremes; write raw maps if you can",
    )


def _few_levels(n_levels: int, is_half: bool) -> Suspicion | None:
    if 1 < n_levels <= _FEW_LEVELS:
        text = f"the maps hold only {n_levels} distinct scores, as 8-bit pictures do; write floating-point maps"
        return Suspicion("few_levels", text)
    if n_levels > _FEW_LEVELS and is_half:
        text = "every score is a float16 number; with a large offset few levels survive: write float32 maps"
        return Suspicion("half", text)
    return None


def _is_half(part: Scores) -> bool:
    return bool(np.abs(part).max() < np.finfo(np.float16).max and (part == part.astype(np.float16)).all())


def _per_image_min_max(seen: Sequence[Seen]) -> Suspicion | None:
    ranges = {(scores.low, scores.high) for scores in seen}
    low, high = next(iter(ranges))
    if len(seen) < 3 or len(ranges) > 1 or low == high:
        return None
    return Suspicion(
        "per_image_min_max",
        f"every image spans exactly {low:g} to {high:g}: the maps look rescaled one by one, so that scores of different"
        " images cannot be compared; write them before that",
    )


def _counts_of_truth(truth: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Anomalous and all pixels that are not void; and of those on the border, if any pixel is anomalous."""
    anomalous, known = np.ma.filled(truth, False), ~np.ma.getmaskarray(truth)
    border = np.ones(truth.shape, np.bool_)
    border[1:-1, 1:-1] = False
    n_border = known[border].sum() if anomalous.any() else 0
    return np.array([anomalous.sum(), known.sum(), anomalous[border].sum(), n_border], np.int64)


def _inverted(auroc: float | None, truth_counts: NDArray[np.int64]) -> Suspicion | None:
    if auroc is None or auroc >= _INVERTED:
        return None
    n_anomalous, n_pixels, n_on_border, n_border = truth_counts.tolist()
    text, n_border = f"pixel AUROC is {auroc:.2f}, well below one half", max(n_border, 1)  # all may be void
    if 2 * n_anomalous > n_pixels or 2 * n_on_border > n_border:
        text += (
            f", and {n_anomalous / n_pixels:.0%} of the pixels are anomalous, {n_on_border / n_border:.0%} of the"
            " border of masks that mark any: do these mark what is normal? write them with 0 where normal,"
            " or give --mask-rule '=0'"
        )
    else:
        text += ": is a high score normal in these maps? negate them"
    return Suspicion("inverted", text)


def _transposed(auroc: float, turned_auroc: float | None) -> Suspicion | None:
    if turned_auroc is None or turned_auroc <= max(auroc, 1 - auroc) + _MUCH_BETTER:
        return None
    return Suspicion(
        "transposed",
        f"transposing the maps raises pixel AUROC from {auroc:.2f} to {turned_auroc:.2f}: swap rows and columns",
    )


def _auroc(scores: Sequence[Scores], truths: Sequence[NDArray[np.bool_]]) -> float | None:
    try:
        return measure(scores, truths, metrics=["pixel_auroc"]).values.get("pixel_auroc")
    except UndefinedMetricError:
        return None
