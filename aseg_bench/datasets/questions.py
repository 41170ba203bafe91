"""Masks are questioned before they are believed: what looks odd about them is a finding over the whole data set."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from aseg_bench.errors import first_few
from aseg_bench.records import N_NAMED, Case, Finding

IsAnomalous = Callable[[NDArray[Any]], NDArray[np.bool_]]

_LOSSY = frozenset({".jfif", ".jpe", ".jpeg", ".jpg"})
_MOST_CLASSES = 31  # a mask with no higher value holds class indices, not shades of grey
_VOID = 255  # beside class indices


class Look(NamedTuple):
    """What is remembered of a mask.

    Attributes:
        name: of its picture.
        is_of_defect: the picture shows a defect, by its folder.
        is_empty: no pixel is anomalous.
        is_grey: it holds values between black and white.
        highest: the highest value.
        is_mostly_anomalous: most of its pixels are, or most of those at the border of the picture.
        has_void: it holds class indices and 255, which marks void pixels in many data sets.
        is_turned: it was turned by the EXIF orientation of its picture.
    """

    name: str
    is_of_defect: bool
    is_empty: bool
    is_grey: bool
    highest: float
    is_mostly_anomalous: bool
    has_void: bool
    is_turned: bool


def look(
    mask: NDArray[Any],
    name: str,
    *,
    is_of_defect: bool = True,
    ending: str = "",
    is_turned: bool = False,
    is_anomalous: IsAnomalous | None = None,
) -> Look:
    """What there is to know of a mask.

    Args:
        mask: with its values as stored, (height, width).
        name: of its picture.
        is_of_defect: the picture shows a defect, by its folder.
        ending: of its file, which says whether its compression adds noise.
        is_turned: it was turned by the EXIF orientation of its picture.
        is_anomalous: which values mean anomalous, where the user has said so; None takes all above 0.
    """
    anomalous = mask > 0 if is_anomalous is None else is_anomalous(mask)
    border = np.concatenate([anomalous[0], anomalous[-1], anomalous[:, 0], anomalous[:, -1]])
    is_grey = has_void = False
    if is_anomalous is None:
        values = np.flatnonzero(np.bincount(mask.ravel())) if mask.dtype == np.uint8 else np.unique(mask)
        between = values[(values > 0) & (values < values[-1])]
        classes = between <= _MOST_CLASSES
        is_lossy = ending.lower() in _LOSSY
        has_void = bool(values[-1] == _VOID and len(between) and classes.all()) and not is_lossy
        is_grey = bool(len(between)) and not has_void
        is_grey = is_grey and (is_lossy or mask.dtype.kind == "f" or bool(values[-1] > _MOST_CLASSES))
    return Look(
        name=name,
        is_of_defect=is_of_defect,
        is_empty=not anomalous.any(),
        is_grey=is_grey,
        highest=float(mask.max()),
        is_mostly_anomalous=bool(anomalous.mean() > 0.5 or border.mean() > 0.5),
        has_void=has_void,
        is_turned=is_turned,
    )


class _Question(NamedTuple):
    """One oddity: of masks of defects or of normal pictures, which of them show it, and what to say of these."""

    kind: str
    of_defects: bool
    is_odd: Callable[[Look], bool]
    what: str
    advice: str


_QUESTIONS = (
    _Question(
        "mask_grey",
        True,
        lambda mask: mask.is_grey,
        "hold grey levels between black and white",
        "every value above 0 counts as anomalous; where the greys come from smoothing or from JPEG, "
        "--mask-rule '>{half:g}' takes the lighter half",
    ),
    _Question(
        "mask_void",
        True,
        lambda mask: mask.has_void,
        "hold class indices and 255",
        "255 marks void pixels in many data sets, but counts as anomalous here; --mask-rule 'ignore=255' leaves it out",
    ),
    _Question(
        "mask_mostly_anomalous",
        True,
        lambda mask: mask.is_mostly_anomalous,
        "call most of the picture or of its border anomalous",
        "if white means normal in these masks, give --mask-rule '=0'",
    ),
    _Question(
        "mask_empty",
        True,
        lambda mask: mask.is_empty,
        "of pictures that show a defect are empty",
        "these pictures count as anomalous, without an anomalous pixel",
    ),
    _Question(
        "mask_turned",
        True,
        lambda mask: mask.is_turned,
        "have the stored size of a picture that its EXIF orientation turns, and were turned alike",
        "where a mask was drawn on the upright picture, store that picture upright, too",
    ),
    _Question(
        "mask_of_normal",
        False,
        lambda mask: not mask.is_empty,
        "of normal pictures have anomalous pixels",
        "the pictures count as normal; these masks are not used if they are of a data set, and are if they travel with "
        "the maps",
    ),
)


def mask_findings(looks: Sequence[Look], dataset: str) -> list[Finding]:
    """What is odd about the masks of a data set: one finding per kind, with counts and the first names.

    Args:
        looks: at every mask.
        dataset: key of the data set.
    """
    findings = []
    half = min((one.highest / 2 if one.highest <= 1 else one.highest // 2 for one in looks if one.is_grey), default=0)
    for question in _QUESTIONS:
        asked = [one for one in looks if one.is_of_defect == question.of_defects]
        odd = [one.name for one in asked if question.is_odd(one)]
        if odd:
            names = first_few(odd, N_NAMED)
            text = (
                f"{len(odd)} of {len(asked)} masks {question.what}, first {names}: {question.advice.format(half=half)}"
            )
            findings.append(Finding(question.kind, text, Case("", dataset, "")))
    return findings
