"""One case (method, data set, category) becomes scores, under a protocol."""

import warnings
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from aseg_bench.errors import InputError, UndefinedMetricError
from aseg_bench.metrics import DEFAULT_METRICS, METRICS, Measured, measure
from aseg_bench.protocols import EXACT, Protocol
from aseg_bench.protocols.meeting import Masks, Meeting
from aseg_bench.protocols.presets import DscRule
from aseg_bench.protocols.restated import Restated
from aseg_bench.records import MEAN, Case, Sample, Score

Maps = Sequence[NDArray[np.floating]]
_DSC = ("dsc", "iou")
_DSC_ENDINGS: dict[DscRule, str] = {"paper": "", "anomalous_only": "_anomalous", "pooled": "_pooled"}
DSC_ADVICE = "so DSC says little: see dsc_anomalous, dsc_pooled and pixel_f1_max"
_MOST = 0.5  # share of all pixels called anomalous that makes a threshold degenerate


class DegenerateThresholdWarning(UserWarning):
    """The precision + recall threshold of a category calls nearly everything anomalous."""


def score_category(
    case: Case,
    samples: Sequence[Sample],
    maps: Maps,
    *,
    protocol: Protocol = EXACT,
    metrics: Sequence[str] | None = None,
    masks: Masks | None = None,
    n_threads: int | None = None,
) -> list[Score]:
    """All scores of a method on one category.

    Args:
        case: what the scores will be about.
        samples: the test images of the category.
        maps: one map per sample, in the same order, (height, width); may be read lazily, once per pass.
        protocol: how maps and truth are compared.
        metrics: keys of ``METRICS``; None takes ``DEFAULT_METRICS``.
        masks: masks that travelled with the maps, one per sample; None reads those of the samples.
        n_threads: threads of the sweep; None takes all.

    Returns:
        One Score per metric, in the order asked for; undefined ones carry the reason.

    Raises:
        InputError: the counts differ, an anomalous sample has no mask, or a map is no finite 2-D array.
    """
    if len(samples) != len(maps) or (masks is not None and len(masks) != len(samples)):
        n_masks = "" if masks is None else f", {len(masks)} masks"
        raise InputError(f"{case.category}: {len(samples)} images, {len(maps)} maps{n_masks}; one of each is needed")
    keys = tuple(metrics) if metrics is not None else DEFAULT_METRICS
    computed = {key: key + _DSC_ENDINGS[protocol.dsc_rule] if key in _DSC else key for key in keys}
    meeting = Meeting(samples, maps, masks, protocol)
    image_scores, no_image_score = None, ""
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
        n_threads=n_threads,
    )
    if "dsc" in measured.values:
        _warn_if_all_is_anomalous(case, measured)
    values, undefined = {}, {}
    restated = Restated(meeting, protocol, measured.values, measured.undefined)
    for key, source in computed.items():
        try:
            if no_image_score and METRICS[key].level == "image":
                raise UndefinedMetricError(no_image_score)
            values[key] = restated.value(key, source)
        except UndefinedMetricError as error:
            undefined[key] = str(error)
    return [Score(case, key, values.get(key), len(samples), protocol.stamp, undefined.get(key, "")) for key in keys]


def mean_scores(scores: Sequence[Score]) -> list[Score]:
    """The scores with the rows of category ``mean`` added after each method and data set.

    A mean is unweighted, over the categories where the metric is defined; ``undefined_because`` says how many of how
    many these are where any is missing. It is None only where no category defines the metric.
    """
    groups: dict[tuple[str, str, str], list[Score]] = {}
    for score in scores:
        if score.case.category != MEAN:
            groups.setdefault((score.case.method, score.case.dataset, score.protocol), []).append(score)
    rows: list[Score] = []
    for group in groups.values():
        rows += group
        for metric in dict.fromkeys(score.metric for score in group):
            rows.append(_mean([score for score in group if score.metric == metric]))
    return rows


def _mean(scores: Sequence[Score]) -> Score:
    values = [score.value for score in scores if score.value is not None]
    reason = "" if len(values) == len(scores) else f"defined in {len(values)} of {len(scores)} categories"
    first = scores[0]
    return Score(
        case=replace(first.case, category=MEAN),
        metric=first.metric,
        value=float(np.mean(values)) if values else None,
        n_images=sum(score.n_images for score in scores),
        protocol=first.protocol,
        undefined_because=reason,
    )


def _warn_if_all_is_anomalous(case: Case, measured: Measured) -> None:
    curve = measured.curve
    place = np.searchsorted(curve.thresholds, curve.pr_threshold)
    share = (curve.tp[place] + curve.fp[place]) / (curve.n_anomalous + curve.n_normal)
    if share > _MOST:
        text = f"the DSC's threshold calls {share:.0%} of all pixels anomalous, {DSC_ADVICE}"
        warnings.warn(f"{case.method} on {case.category}: {text}", DegenerateThresholdWarning, stacklevel=3)
