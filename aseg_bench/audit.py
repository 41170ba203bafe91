"""The same maps under many protocols: how far each number moves from ours, and which setting moves it."""

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure

from aseg_bench.dumps import DEGENERATE, scores_under, some
from aseg_bench.errors import AsegBenchError, InputError
from aseg_bench.evaluate import DegenerateThresholdWarning, mean_scores
from aseg_bench.files import written_whole
from aseg_bench.metrics import METRICS
from aseg_bench.predictions.imported import Category, ImportedMaps
from aseg_bench.protocols import EXACT, PROTOCOLS, Protocol
from aseg_bench.records import MEAN, Case, Score
from aseg_bench.reporting.figures.style import printed
from aseg_bench.reporting.markdown import escape
from aseg_bench.reporting.scores import csv_text

AUDITED = ("pixel_auroc", "pixel_ap", "pixel_f1_max", "dsc", "aupro_0.3", "image_auroc")
_NEGLIGIBLE = 0.005  # points: what does not show in a table with two decimals
_SHARE = 0.25  # of a deviation that a choice must explain by itself to be called its cause
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "resolution": ("size", "keep_aspect", "crop"),
    "truth mask": ("truth_resize", "truth_rule", "truth_binarised_first"),
    "smoothing": ("smoothing",),
    "rescaling of the maps": ("map_scale",),
    "AUROC flip": ("auroc_flip",),
    "area under the precision-recall curve": ("ap_rule",),
    "binning of the scores": ("binning",),
    "binning of the image scores": ("image_binning",),
    "thresholds of F1": ("f1_rule",),
    "average of Dice": ("dsc_rule",),
    "AUPRO variant": ("aupro_rule",),
    "image score": ("image_score",),
    "source of the image label": ("image_label",),
}


@dataclass(frozen=True)
class Deviation:
    """One metric of a method under one protocol, beside the exact protocol.

    Attributes:
        method: whose maps.
        protocol: name of the preset.
        metric: key of ``METRICS``.
        value: mean over the categories; None where undefined.
        points: deviation from ``exact`` in percentage points; None where either is undefined.
        cause: the choice that, switched alone from ``exact``, moves the metric most in this direction, in words.
        cause_points: by how many points it does; None without a cause.
        undefined_because: why categories have no value, and the protocol none if none has; empty where all have one.
    """

    method: str
    protocol: str
    metric: str
    value: float | None
    points: float | None
    cause: str
    cause_points: float | None
    undefined_because: str = ""


def audit(
    imported: ImportedMaps,
    name: str,
    *,
    protocols: Sequence[Protocol] = tuple(PROTOCOLS.values()),
    metrics: Sequence[str] = AUDITED,
    tell: Callable[[str], None] = lambda category: None,
) -> list[Deviation]:
    """Score a dump under every protocol and under every single switch of a choice.

    A protocol that cannot score a category leaves that out and says why; the others go on.

    Args:
        imported: the dump; every category must be sound.
        name: of the method.
        protocols: to compare with ``exact``.
        metrics: keys of ``METRICS``; those that are not installed are left out.
        tell: called with each category that is done.

    Returns:
        One Deviation per protocol and metric, protocols in the order given.

    Raises:
        InputError: the dump has a problem, or its maps cannot be used under ``exact``.
    """
    if problems := imported.problem_text:
        raise InputError(problems)
    keys = [key for key in metrics if key in METRICS]
    variants = {protocol.stamp: protocol for protocol in _with_switches(protocols)}
    scores: list[Score] = []
    degenerate: list[str] = []
    for of in imported.found:
        category = imported.read(of)
        case = Case(name, category.samples[0].dataset, of)
        found = [_scored(variant, case, category, keys) for variant in variants.values()]
        scores += [score for own, _ in found for score in own]
        degenerate += [of] if any(is_degenerate for _, is_degenerate in found) else []
        tell(of)
    if degenerate:
        warnings.warn(f"{name} on {some(degenerate)}: {DEGENERATE}", DegenerateThresholdWarning, stacklevel=2)
    means = {
        (score.protocol, score.metric): score.value for score in mean_scores(scores) if score.case.category == MEAN
    }
    deviations = [_deviation(name, protocol, key, means) for protocol in protocols for key in keys]
    stamps = {protocol.name: protocol.stamp for protocol in protocols}
    return [replace(row, undefined_because=_reasons(scores, stamps[row.protocol], row.metric)) for row in deviations]


def as_frame(deviations: Sequence[Deviation]) -> pd.DataFrame:
    """One row per method, protocol and metric; values are fractions."""
    return pd.DataFrame(deviations)


def as_markdown(deviations: Sequence[Deviation]) -> str:
    """One row per method and protocol: each metric in per cent with its deviation, and the cause of the largest one."""
    rows = []
    for (method, protocol), of_both in _grouped(deviations).items():
        cells = {METRICS[row.metric].label: _cell(row) for row in of_both}
        rows.append(
            {
                "method": escape(method),
                "protocol": protocol,
                **cells,
                "what moves it most": _largest_cause(of_both),
            }
        )
    return str(pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True))


def write_audit(out: Path, deviations: Sequence[Deviation]) -> list[Path]:
    """Write ``audit.csv``, ``audit.md`` and the dot plot ``audit.svg``; a name is neither formula nor tag in them."""
    paths = [out / "audit.csv", out / "audit.md", out / "audit.svg"]
    with written_whole(paths[0]) as temporary:
        harmless = [
            replace(row, method=csv_text(row.method), undefined_because=csv_text(row.undefined_because))
            for row in deviations
        ]
        as_frame(harmless).to_csv(temporary, index=False, lineterminator="\n")
    with written_whole(paths[1]) as temporary:
        temporary.write_text(as_markdown(deviations) + "\n", encoding="utf-8")
    with written_whole(paths[2]) as temporary:
        _draw(temporary, deviations)
    return paths


def _with_switches(protocols: Sequence[Protocol]) -> Iterable[Protocol]:
    """``exact``, the protocols, and ``exact`` with each single choice of theirs."""
    yield EXACT
    for protocol in protocols:
        yield protocol
        for _, switched in _switches(protocol):
            yield switched


def _switches(protocol: Protocol) -> Iterable[tuple[str, Protocol]]:
    for choice, settings in _CHOICES.items():
        switched = replace(EXACT, **{setting: protocol.settings[setting] for setting in settings})
        if switched != EXACT:
            yield choice, switched


def _deviation(name: str, protocol: Protocol, metric: str, means: Mapping[tuple[str, str], float | None]) -> Deviation:
    def points(stamp: str) -> float | None:
        value, exact = means[stamp, metric], means[EXACT.stamp, metric]
        return None if value is None or exact is None else 100 * (value - exact)

    total = points(protocol.stamp)
    value = means[protocol.stamp, metric]
    if total is None or abs(total) < _NEGLIGIBLE:
        return Deviation(name, protocol.name, metric, value, total, "", None)
    alone = ((choice, switched, points(switched.stamp)) for choice, switched in _switches(protocol))
    moving = [(choice, switched, by) for choice, switched, by in alone if by and by * total > 0]
    if not moving or max(abs(by) for *_, by in moving) < _SHARE * abs(total):
        return Deviation(name, protocol.name, metric, value, total, "several choices together", None)
    choice, switched, by = max(moving, key=lambda entry: abs(entry[2]))
    return Deviation(name, protocol.name, metric, value, total, _in_words(choice, switched), by)


def _in_words(choice: str, switched: Protocol) -> str:
    """A choice with its settings, for instance ``resolution (size 256, keep aspect, crop 224)``."""
    changed = {key: switched.settings[key] for key in _CHOICES[choice] if switched.settings[key] != EXACT.settings[key]}
    words = [value if isinstance(value, str) else key if value is True else f"{key} {value}"
             for key, value in changed.items()]  # fmt: skip
    return f"{choice} ({', '.join(words).replace('keep_aspect', 'keep aspect')})"


def _scored(variant: Protocol, case: Case, category: Category, keys: Sequence[str]) -> tuple[list[Score], bool]:
    """As ``scores_under`` with one protocol; where it raises, scores without a value that say why."""
    try:
        return scores_under([variant], case, category, keys, category.masks)
    except Exception as error:
        if variant == EXACT:
            raise
        reason = str(error) if isinstance(error, AsegBenchError) else f"{type(error).__name__}: {error}"
        return [Score(case, key, None, len(category.samples), variant.stamp, reason) for key in keys], False


def _reasons(scores: Sequence[Score], stamp: str, metric: str) -> str:
    """Why a metric is undefined under a protocol, each reason once with its categories."""
    categories: dict[str, list[str]] = {}
    for score in scores:
        if score.protocol == stamp and score.metric == metric and score.value is None:
            categories.setdefault(score.undefined_because, []).append(score.case.category)
    return "; ".join(f"{some(of)}: {reason}" for reason, of in categories.items())


def _grouped(deviations: Sequence[Deviation]) -> dict[tuple[str, str], list[Deviation]]:
    groups: dict[tuple[str, str], list[Deviation]] = {}
    for row in deviations:
        groups.setdefault((row.method, row.protocol), []).append(row)
    return groups


def _cell(row: Deviation) -> str:
    because = f" ({escape(row.undefined_because)})" if row.undefined_because else ""
    if row.value is None:
        return f"–{because}"
    return f"{100 * row.value:.2f}" + (f" ({row.points:+.2f})" if row.points is not None else "") + because


def _largest_cause(rows: Sequence[Deviation]) -> str:
    largest = max(rows, key=lambda row: abs(row.points or 0))
    if abs(largest.points or 0) < _NEGLIGIBLE:
        return "nothing"
    by = "" if largest.cause_points is None else f": {largest.cause_points:+.2f} by itself"
    return f"{METRICS[largest.metric].label} by {largest.cause}{by}"


def _draw(path: Path, deviations: Sequence[Deviation]) -> None:
    """Deviation of every protocol from the exact one, a panel per metric, a dot per method."""
    metrics, protocols, methods = (
        list(dict.fromkeys(getattr(row, field) for row in deviations)) for field in ("metric", "protocol", "method")
    )
    figure = Figure(figsize=(2.2 * len(metrics) + 1.6, 0.26 * len(protocols) + 1.2), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(metrics), sharey=True))
    for panel, metric in zip(panels, metrics, strict=True):
        panel.axvline(0, color="0.7", linewidth=1)
        for method in methods:
            rows = [row for row in deviations if row.method == method and row.metric == metric]
            places = [protocols.index(row.protocol) for row in rows]
            points = [np.nan if row.points is None else row.points for row in rows]
            panel.plot(points, places, "o", markersize=4.5, label=printed(method))
        panel.set_title(METRICS[metric].label, fontsize=9)
        panel.tick_params(labelsize=8)
        panel.grid(axis="y", color="0.93")
        panel.spines[["top", "right", "left"]].set_visible(False)
    panels[0].set_yticks(range(len(protocols)), protocols)
    panels[0].invert_yaxis()
    figure.supxlabel("points from the exact protocol", fontsize=9)
    if len(methods) > 1:
        figure.legend(
            *panels[0].get_legend_handles_labels(), loc="outside upper right", ncols=4, fontsize=8, frameon=False
        )
    with rc_context({"svg.fonttype": "none"}):
        figure.savefig(path, format="svg")
