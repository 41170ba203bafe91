"""Looks at the values of a category's maps for the mistakes that make a benchmark wrong without an error."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aseg_bench.errors import InputError, UndefinedMetricError
from aseg_bench.metrics import measure
from aseg_bench.protocols import EXACT
from aseg_bench.protocols.meeting import Masks, Meeting
from aseg_bench.records import Sample

_STEP = 4  # every fourth row and column suffices to see an orientation
_MUCH_BETTER = 0.05  # AUROC that transposing may not gain
_INVERTED = 0.45  # AUROC below which a sign looks wrong
_CLAMPED_SHARE = 0.001  # of pixels at exactly 0 or exactly 1
_FEW_LEVELS = 256


@dataclass(frozen=True)
class Suspicion:
    """What looks wrong in the maps of a category, though they can be scored.

    Attributes:
        kind: short key, the same for the same mistake.
        text: the finding and what to do about it.
    """

    kind: str
    text: str


def finite_map(scores: NDArray[np.generic], where: str) -> NDArray[np.floating]:
    """A map as (height, width) floating-point scores.

    Args:
        scores: any real type; axes of length one are dropped.
        where: names the map in messages.

    Raises:
        InputError: it is no single map, not real, or a score is not finite.
    """
    flat = np.squeeze(scores)
    if flat.ndim != 2:
        raise InputError(f"the map of {where} has shape {scores.shape}; one (height, width) array is needed")
    if flat.dtype.kind not in "fiub":
        raise InputError(f"the map of {where} holds {flat.dtype}, no real numbers; write floating-point scores")
    if flat.dtype.kind == "f":
        is_finite = np.isfinite(flat)
        if not is_finite.all():
            row, column = np.argwhere(~is_finite)[0]
            raise InputError(
                f"score is {flat[row, column]} at {where}, pixel ({row}, {column});"
                f" {np.count_nonzero(~is_finite)} of its pixels are not finite"
            )
    return flat.astype(np.float64 if flat.dtype.itemsize > 4 else np.float32, copy=False)


def suspicions(samples: Sequence[Sample], maps: Sequence[NDArray[np.floating]], masks: Masks | None) -> list[Suspicion]:
    """Everything that looks wrong in the maps of a category.

    Args:
        samples: its test images.
        maps: one finite (height, width) array per sample.
        masks: masks that travelled with the maps, or None.
    """
    found = [_constant(samples, maps), _clamped(maps), _few_levels(maps), _per_image_min_max(maps)]
    return [suspicion for suspicion in (*found, *_orientation(samples, maps, masks)) if suspicion is not None]


def _constant(samples: Sequence[Sample], maps: Sequence[NDArray[np.floating]]) -> Suspicion | None:
    constant = [sample.name for sample, scores in zip(samples, maps, strict=True) if scores.min() == scores.max()]
    if not constant:
        return None
    zero = [name for sample, scores in zip(samples, maps, strict=True) if not scores.any() for name in [sample.name]]
    what = f"{len(constant)} of {len(maps)} maps are constant ({len(zero)} all zero), first {constant[0]}"
    return Suspicion("constant", f"{what}; was the model trained, and did the writing finish?")


def _clamped(maps: Sequence[NDArray[np.floating]]) -> Suspicion | None:
    low, high = min(scores.min() for scores in maps), max(scores.max() for scores in maps)
    n_pixels = sum(scores.size for scores in maps)
    if low < 0 or high > 1:
        return None
    n_zero = sum(int(np.count_nonzero(scores == 0)) for scores in maps)
    n_one = sum(int(np.count_nonzero(scores == 1)) for scores in maps)
    if max(n_zero, n_one) <= _CLAMPED_SHARE * n_pixels:
        return None
    return Suspicion(
        "clamped",
        f"{n_zero / n_pixels:.1%} of the pixels are exactly 0 and {n_one / n_pixels:.1%} exactly 1: the maps look"
        " clamped to [0, 1], which ties their extremes; write raw maps if you can",
    )


def _few_levels(maps: Sequence[NDArray[np.floating]]) -> Suspicion | None:
    levels: NDArray[np.floating] = np.empty(0)
    for scores in maps:
        levels = np.union1d(levels, scores[::_STEP, ::_STEP])
        if len(levels) > _FEW_LEVELS:
            break
    else:
        if len(levels) > 1:
            text = f"the maps hold only {len(levels)} distinct scores, as 8-bit pictures do; write floating-point maps"
            return Suspicion("few_levels", text)
        return None
    if all(_is_half(scores) for scores in maps):
        text = "every score is a float16 number; with a large offset few levels survive: write float32 maps"
        return Suspicion("half", text)
    return None


def _is_half(scores: NDArray[np.floating]) -> bool:
    part = scores[::_STEP, ::_STEP]
    return bool(np.abs(part).max() < np.finfo(np.float16).max and (part == part.astype(np.float16)).all())


def _per_image_min_max(maps: Sequence[NDArray[np.floating]]) -> Suspicion | None:
    ranges = {(float(scores.min()), float(scores.max())) for scores in maps}
    low, high = next(iter(ranges))
    if len(maps) < 3 or len(ranges) > 1 or low == high:
        return None
    return Suspicion(
        "per_image_min_max",
        f"every image spans exactly {low:g} to {high:g}: the maps look rescaled one by one, so that scores of different"
        " images cannot be compared; write them before that",
    )


def _orientation(
    samples: Sequence[Sample], maps: Sequence[NDArray[np.floating]], masks: Masks | None
) -> list[Suspicion]:
    meeting = Meeting(samples, maps, masks, EXACT)
    scores = [scores[::_STEP, ::_STEP] for scores in maps]
    truths = [truth[::_STEP, ::_STEP] for truth in meeting.truths]
    auroc = _auroc(scores, truths)
    found = []
    if auroc is not None and auroc < _INVERTED:
        text = f"pixel AUROC is {auroc:.2f}, well below one half: is a high score normal in these maps? negate them"
        found.append(Suspicion("inverted", text))
    if auroc is not None and all(part.shape[0] == part.shape[1] for part in scores):
        transposed = _auroc([part.T for part in scores], truths)
        if transposed is not None and transposed > max(auroc, 1 - auroc) + _MUCH_BETTER:
            text = (
                f"transposing the maps raises pixel AUROC from {auroc:.2f} to {transposed:.2f}: swap rows and columns"
            )
            found.append(Suspicion("transposed", text))
    return found


def _auroc(scores: Sequence[NDArray[np.floating]], truths: Sequence[NDArray[np.bool_]]) -> float | None:
    try:
        return measure(scores, truths, metrics=["pixel_auroc"]).values.get("pixel_auroc")
    except UndefinedMetricError:
        return None
