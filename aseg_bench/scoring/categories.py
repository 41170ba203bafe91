"""One case (method, data set, category) becomes scores, under a protocol."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aseg_bench.errors import InputError, UndefinedMetricError, first_few
from aseg_bench.metrics import DEFAULT_METRICS, METRICS, Measured, measure
from aseg_bench.protocols import EXACT, Protocol
from aseg_bench.protocols.frame import Shape
from aseg_bench.protocols.meeting import Masks, Meeting
from aseg_bench.protocols.presets import DscRule
from aseg_bench.protocols.restated import Restated
from aseg_bench.records import Case, Finding, Sample, Score
from aseg_bench.scoring.saturation import needing_saturation, saturated_regions

Maps = Sequence[NDArray[np.floating]]
_DSC = ("dsc", "iou")
_DSC_ENDINGS: dict[DscRule, str] = {"paper": "", "anomalous_only": "_anomalous", "pooled": "_pooled"}
DEGENERATE, FAINT, LOST = "degenerate_threshold", "faint_threshold", "defect_lost"
SCORING = 3  # raised when scores change; what an older one has scored is scored again
_MOST = 0.5  # share of all pixels called anomalous that makes a threshold degenerate
_LEAST = 0.05  # share of the anomalous pixels that a threshold must find


class Scored(NamedTuple):
    """What came of a category: its scores, what is odd about them, and the size at which its pixels were scored.

    The size is the height x width of the evaluated frame; where images differ, of the smallest and the largest.
    """

    scores: list[Score]
    findings: list[Finding]
    size: str


def score_category(
    case: Case,
    samples: Sequence[Sample],
    maps: Maps,
    *,
    protocol: Protocol = EXACT,
    metrics: Sequence[str] | None = None,
    masks: Masks | None = None,
    threshold: float | None = None,
    n_threads: int | None = None,
) -> Scored:
    """All scores of a method on one category.

    Args:
        case: what the scores will be about.
        samples: the test images of the category.
        maps: one map per sample, in the same order, (height, width); may be read lazily, once per pass.
        protocol: how maps and truth are compared.
        metrics: keys of ``METRICS``; None takes ``DEFAULT_METRICS``.
        masks: masks that travelled with the maps, one per sample; None reads those of the samples.
        threshold: found on normal images, for the metrics at it; in the scores that the protocol compares.
        n_threads: threads of the sweep; None takes all.

    Returns:
        One Score per metric, in the order asked for, of which undefined ones carry the reason; and a finding where the
        precision + recall threshold calls most pixels anomalous or finds next to nothing, and one where a defect
        vanishes as its mask is resized.

    Raises:
        InputError: the counts differ, an anomalous sample has no mask, or a map is not a finite 2-D array.
    """
    if len(samples) != len(maps) or (masks is not None and len(masks) != len(samples)):
        n_masks = "" if masks is None else f", {len(masks)} masks"
        raise InputError(f"{case.category}: {len(samples)} images, {len(maps)} maps{n_masks}; one of each is needed")
    meeting = Meeting(samples, maps, masks, protocol)
    return score_meeting(case, meeting, metrics=metrics, threshold=threshold, n_threads=n_threads)


def score_meeting(
    case: Case,
    meeting: Meeting,
    *,
    metrics: Sequence[str] | None = None,
    threshold: float | None = None,
    n_threads: int | None = None,
) -> Scored:
    """As `score_category`, of maps and truths that have met."""
    protocol = meeting.protocol
    computed = computed_for(metrics, protocol)
    keys = tuple(computed)
    image_scores, no_image_score = None, ""
    regions, no_regions = None, ""
    if needing_saturation(keys):
        try:
            regions = saturated_regions(meeting)
        except UndefinedMetricError as error:
            no_regions = str(error)
    if not meeting.has_plain_image_scores and any(METRICS[key].level == "image" for key in keys if key in METRICS):
        try:
            image_scores = meeting.image_scores
        except UndefinedMetricError as error:
            no_image_score = str(error)
    measured = measure(
        meeting.scores,
        meeting.truths,
        metrics=list(dict.fromkeys(computed.values())),
        image_scores=image_scores,
        image_labels=meeting.image_labels,
        regions=regions,
        threshold=threshold,
        n_threads=n_threads,
    )
    values, undefined = {}, {}
    restated = Restated(meeting, protocol, measured.values, measured.undefined)
    for key, source in computed.items():
        try:
            if no_image_score and METRICS[key].level == "image":
                raise UndefinedMetricError(no_image_score)
            if no_regions and METRICS[key].needs_saturation:
                raise UndefinedMetricError(no_regions)
            values[key] = restated.value(key, source)
        except UndefinedMetricError as error:
            undefined[key] = str(error)
    n_images = len(meeting.truths)
    scores = [Score(case, key, values.get(key), n_images, protocol.stamp, undefined.get(key, "")) for key in keys]
    lost, n_marked = meeting.lost_defects
    names = [meeting.samples[index].name for index in lost]
    return Scored(scores, odd(case, measured, names, n_marked, protocol), size_of(meeting.shapes))


def computed_for(metrics: Sequence[str] | None, protocol: Protocol) -> dict[str, str]:
    """The keys asked for, and the key of ``METRICS`` that is computed for each under a protocol."""
    keys = tuple(metrics) if metrics is not None else DEFAULT_METRICS
    return {key: key + _DSC_ENDINGS[protocol.dsc_rule] if key in _DSC else key for key in keys}


def size_of(shapes: Sequence[Shape]) -> str:
    """``Scored.size`` of distinct heights and widths, by area."""
    return " to ".join(dict.fromkeys("{} x {}".format(*shape) for shape in (shapes[0], shapes[-1])))


def odd(case: Case, measured: Measured, lost: Sequence[str], n_marked: int, protocol: Protocol) -> list[Finding]:
    """What is odd about scores.

    Args:
        case: what they are about.
        measured: the exact metrics.
        lost: names of the images whose defect vanishes as its mask is resized.
        n_marked: images whose stored mask marks a pixel.
        protocol: how maps and truth were compared.
    """
    extreme = _extreme(case, measured) if "dsc" in measured.values else []
    return [*extreme, *_lost(case, lost, n_marked, protocol)]


def mean_of(scores: Sequence[Score]) -> tuple[float | None, str]:
    """The unweighted mean of a metric over categories where it is defined, and how many of how many these are.

    The mean is None where no category defines the metric; the text is empty where all do.
    """
    values = [score.value for score in scores if score.value is not None]
    reason = "" if len(values) == len(scores) else f"defined in {len(values)} of {len(scores)} categories"
    return float(np.mean(values)) if values else None, reason


def _extreme(case: Case, measured: Measured) -> list[Finding]:
    """The sum of precision and recall is about one at both ends of the scores: see docs/metrics.md."""
    curve = measured.curve
    tp, fp = curve.at_pr_threshold
    share = (tp + fp) / (curve.n_anomalous + curve.n_normal)
    if share > _MOST:
        kind, what = DEGENERATE, "calls more than half of all pixels anomalous"
    elif tp < _LEAST * curve.n_anomalous:
        kind, what = FAINT, f"finds less than {100 * _LEAST:.0f} % of the anomalous pixels"
    else:
        return []
    return [Finding(kind, f"the DSC's threshold {what}, so DSC says little: see pixel_f1_max", case)]


def _lost(case: Case, lost: Sequence[str], n_marked: int, protocol: Protocol) -> list[Finding]:
    if not lost:
        return []
    is_one = len(lost) == 1
    what = "the defect of 1" if is_one else f"the defects of {len(lost)}"
    them = "vanishes when its mask is" if is_one else "vanish when their masks are"
    names = first_few(lost)
    where = "to the size of the maps" if protocol.size == "map" else f"into the frame of {protocol.name}"
    counts = "a normal picture, as in the code that it restates"
    if protocol.image_label == "folder":
        counts = "anomalous in image metrics, is none of the normal pictures of other metrics, and has no Dice"
    mend = "write larger maps, or score with" if protocol.size == "map" else "no defect is lost with"
    text = (
        f"{what} of {n_marked} pictures {them} brought {where}, first {names}; such a picture counts as {counts}: "
        f"{mend} --protocol native"
    )
    return [Finding(LOST, text, case)]
