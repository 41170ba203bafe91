"""The same maps under many protocols: how far each number moves from ours, and which setting moves it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from aseg_bench.errors import AsegBenchError, InputError, first_few
from aseg_bench.metrics import METRICS
from aseg_bench.predictions.imported import Category, ImportedMaps
from aseg_bench.protocols import EXACT, PROTOCOLS, Protocol
from aseg_bench.protocols.mask_rule import DEFAULT_RULE
from aseg_bench.records import Case, Finding, Score, grouped
from aseg_bench.scoring.categories import Scored, mean_of, score_category

AUDITED = ("pixel_auroc", "pixel_ap", "pixel_f1_max", "dsc", "aupro_0.3", "image_auroc")
NEGLIGIBLE = 0.005  # points: what does not show in a table with two decimals
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
        protocol: name of the preset, with the mask rule where that is not ``>0``.
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


@dataclass(frozen=True)
class Audited:
    """What came of an audit of one dump.

    Attributes:
        deviations: one per protocol and metric, protocols in the order given.
        findings: what is odd about its maps and scores, one sentence per kind.
    """

    deviations: Sequence[Deviation]
    findings: Sequence[str]


def audit_dump(
    imported: ImportedMaps,
    name: str,
    *,
    protocols: Sequence[Protocol] = tuple(PROTOCOLS.values()),
    mask_rule: str = DEFAULT_RULE,
    metrics: Sequence[str] = AUDITED,
    tell: Callable[[str], None] = lambda category: None,
) -> Audited:
    """Score a dump under every protocol and under every single switch of a choice.

    A protocol that cannot score a category leaves that out and says why; the others go on.

    Args:
        imported: the dump; every category must be sound.
        name: of the method.
        protocols: to compare with ``exact``.
        mask_rule: in the place of theirs, so that masks mean the same under all.
        metrics: keys of ``METRICS``; those that are not installed are left out.
        tell: called with each category that is done.

    Raises:
        InputError: the dump has a problem, its maps cannot be used under ``exact``, or the mask rule does not go with
            a protocol.
    """
    if problems := imported.problem_text:
        raise InputError(problems)
    keys = [key for key in metrics if key in METRICS]
    exact = replace(EXACT, mask_rule=mask_rule)
    protocols = [replace(protocol, mask_rule=mask_rule) for protocol in protocols]
    variants = {protocol.stamp: protocol for protocol in _with_switches(exact, protocols)}
    scores: list[Score] = []
    findings: list[Finding] = []
    for of in imported.found:
        category = imported.read(of, mask_rule)
        case = Case(name, category.samples[0].dataset, of)
        for variant in variants.values():
            scored = _scored(variant, case, category, keys)
            scores += scored.scores
            findings += scored.findings
        findings += [Finding(suspicion.kind, suspicion.text, case) for suspicion in category.suspicions]
        tell(of)
        del category  # with the maps that it keeps, before the next is read
    if scores:
        of_all = replace(scores[0].case, category="")
        findings += [Finding(suspicion.kind, suspicion.text, of_all) for suspicion in imported.suspicions[""]]
    by_cell: dict[tuple[str, str], list[Score]] = {}
    for score in scores:
        by_cell.setdefault((score.protocol, score.metric), []).append(score)
    means = {cell: mean_of(of_cell)[0] for cell, of_cell in by_cell.items()}
    deviations = [
        replace(_deviation(name, protocol, exact, key, means), undefined_because=_reasons(by_cell[protocol.stamp, key]))
        for protocol in protocols
        for key in keys
    ]
    return Audited(deviations, grouped(findings, len(imported.found)))


def _with_switches(exact: Protocol, protocols: Sequence[Protocol]) -> Iterable[Protocol]:
    """``exact``, the protocols, and ``exact`` with each single choice of theirs."""
    yield exact
    for protocol in protocols:
        yield protocol
        for _, switched in _switches(protocol, exact):
            yield switched


def _switches(protocol: Protocol, exact: Protocol) -> Iterable[tuple[str, Protocol]]:
    for choice, settings in _CHOICES.items():
        switched = replace(exact, **{setting: protocol.settings[setting] for setting in settings})
        if switched != exact:
            yield choice, switched


def _deviation(
    name: str, protocol: Protocol, exact: Protocol, metric: str, means: Mapping[tuple[str, str], float | None]
) -> Deviation:
    def points(stamp: str) -> float | None:
        value, at_exact = means[stamp, metric], means[exact.stamp, metric]
        return None if value is None or at_exact is None else 100 * (value - at_exact)

    total, shown = points(protocol.stamp), protocol.name + protocol.mask_suffix
    value = means[protocol.stamp, metric]
    if total is None or abs(total) < NEGLIGIBLE:
        return Deviation(name, shown, metric, value, total, "", None)
    alone = ((choice, switched, points(switched.stamp)) for choice, switched in _switches(protocol, exact))
    moving = [(choice, switched, by) for choice, switched, by in alone if by and by * total > 0]
    if not moving or max(abs(by) for *_, by in moving) < _SHARE * abs(total):
        return Deviation(name, shown, metric, value, total, "several choices together", None)
    choice, switched, by = max(moving, key=lambda entry: abs(entry[2]))
    return Deviation(name, shown, metric, value, total, _in_words(choice, switched), by)


def _in_words(choice: str, switched: Protocol) -> str:
    """A choice with its settings, for instance ``resolution (size 256, keep aspect, crop 224)``."""
    changed = {key: switched.settings[key] for key in _CHOICES[choice] if switched.settings[key] != EXACT.settings[key]}
    words = [value if isinstance(value, str) else key if value is True else f"{key} {value}"
             for key, value in changed.items()]  # fmt: skip
    return f"{choice} ({', '.join(words).replace('keep_aspect', 'keep aspect')})"


def _scored(variant: Protocol, case: Case, category: Category, keys: Sequence[str]) -> Scored:
    """Scores under one protocol; where it raises, scores without a value that say why."""
    try:
        return score_category(
            case, category.samples, category.maps, protocol=variant, metrics=keys, masks=category.masks
        )
    except Exception as error:
        if variant == replace(EXACT, mask_rule=variant.mask_rule):
            raise
        reason = str(error) if isinstance(error, AsegBenchError) else f"{type(error).__name__}: {error}"
        return Scored([Score(case, key, None, len(category.samples), variant.stamp, reason) for key in keys], [], "")


def _reasons(scores: Sequence[Score]) -> str:
    """Why a metric is undefined under a protocol, each reason once with its categories."""
    categories: dict[str, list[str]] = {}
    for score in scores:
        if score.value is None:
            categories.setdefault(score.undefined_because, []).append(score.case.category)
    return "; ".join(f"{first_few(of)}: {reason}" for reason, of in categories.items())
