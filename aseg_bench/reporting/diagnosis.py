"""What pixel AUROC hides in a run: prevalence, AP and its lift, false alarms on normal images, changes of rank."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aseg_bench.errors import listed
from aseg_bench.methods import MethodFacts
from aseg_bench.records import MEAN, Case
from aseg_bench.reporting.cells import DASH, Cell, Footnotes, Table, result_text, told_seeds
from aseg_bench.reporting.tables import RANKED, RATE
from aseg_bench.runs.scores import Key, Result

FALSE_ALARMS = "fp_pixels"


@dataclass(frozen=True)
class Diagnosis:
    """Inflation on one data set.

    Attributes:
        table: one row per method.
        findings: sentences, plain text.
    """

    table: Table
    findings: Sequence[str]


@dataclass(frozen=True)
class _Row:
    label: str
    results: Mapping[str, Result | None]
    lift: float | None
    false_alarms: float | None


def diagnose(
    results: Mapping[Key, Result],
    methods: Mapping[str, MethodFacts],
    datasets: Mapping[str, str],
    false_alarms: Mapping[Case, float] | None = None,
) -> list[Diagnosis]:
    """One diagnosis per data set, from the means over its categories.

    Args:
        results: from ``merge_runs``, under one protocol.
        methods: facts of the methods by name; an unknown name prints as it is.
        datasets: labels of the data sets by key.
        false_alarms: false-positive pixels per normal image at the threshold of the paper, by case of each category;
            None takes the scores of ``fp_pixels``, where there are any.
    """
    diagnoses = []
    for dataset in dict.fromkeys(key.dataset for key in results):
        means = {(k.method, k.metric): r for k, r in results.items() if (k.dataset, k.category) == (dataset, MEAN)}
        names = dict.fromkeys(name for name, _ in means)
        rows = [_row(name, dataset, means, methods, _lift(name, dataset, results), false_alarms) for name in names]
        if rows:
            label = datasets.get(dataset, dataset)
            diagnoses.append(Diagnosis(_table(dataset, label, rows), _findings(label, rows)))
    return diagnoses


def _row(
    name: str,
    dataset: str,
    means: Mapping[tuple[str, str], Result],
    methods: Mapping[str, MethodFacts],
    lift: float | None,
    false_alarms: Mapping[Case, float] | None,
) -> _Row:
    found = {metric: means.get((name, metric)) for metric in (*RANKED, RATE)}
    alarms = _value(means.get((name, FALSE_ALARMS)))
    here = [count for case, count in (false_alarms or {}).items() if (case.method, case.dataset) == (name, dataset)]
    alarms = sum(here) / len(here) if here else alarms
    label = methods[name].label if name in methods else name
    return _Row(label, found, lift, alarms)


def _lift(name: str, dataset: str, results: Mapping[Key, Result]) -> float | None:
    """Mean pixel AP over mean Anomaly Rate, of the categories where both are defined."""
    by_category: dict[str, dict[str, float]] = {}
    for key, result in results.items():
        if (key.method, key.dataset) == (name, dataset) and key.category != MEAN and result.value is not None:
            by_category.setdefault(key.category, {})[key.metric] = result.value
    both = [found for found in by_category.values() if found.keys() >= {"pixel_ap", RATE}]
    rate = sum(found[RATE] for found in both)
    return sum(found["pixel_ap"] for found in both) / rate if rate else None


def _table(dataset: str, label: str, rows: Sequence[_Row]) -> Table:
    notes = Footnotes()
    by_metric = {metric: _ranks(rows, metric) for metric in RANKED}
    cells = []
    for index, row in enumerate(rows):
        numbers = []
        for metric in (RATE, *RANKED):
            result = row.results[metric]
            rank = by_metric.get(metric, {}).get(index)
            shown = result or Result({}, "not scored")
            numbers.append(
                Cell(result_text(result, metric), notes=notes.letters(shown), aside=str(rank) if rank else "")
            )
        lift = DASH if row.lift is None else f"{row.lift:.1f}"
        alarms = DASH if row.false_alarms is None else f"{row.false_alarms:,.0f}"
        cells.append([Cell(row.label), *numbers, Cell(lift), Cell(alarms)])
    header = ("Method", "AR (%)", "Pixel AUROC (%)", "Pixel AP (%)", "DSC (%)", "AP lift", "False-positive pixels")
    caption = (
        f"Inflation on {label}: ranks in parentheses; AP lift is pixel AP over the Anomaly Rate (AR), which chance "
        "reaches; false-positive pixels are per normal image at the threshold of the DSC."
    )
    caption = told_seeds(caption, [one for row in rows for one in row.results.values() if one is not None])
    return Table(f"{dataset}_inflation", caption, [Cell(title) for title in header], [("", cells)], notes.by_letter())


def _findings(label: str, rows: Sequence[_Row]) -> list[str]:
    findings = []
    rate = _value(rows[0].results[RATE])
    if rate is not None:
        findings.append(f"On {label}, {100 * rate:.2g} % of the pixels are anomalous.")
    best = _leader(rows, "pixel_auroc")
    if best is not None:
        auroc, ap = (_value(best.results[metric]) for metric in RANKED[:2])
        if auroc is not None and ap is not None:
            lift = f", {best.lift:.0f} times that of a guess" if best.lift else ""
            first = "has the highest pixel AUROC," if len(_ranks(rows, "pixel_auroc")) > 1 else "has a pixel AUROC of"
            findings.append(
                f"On {label}, {best.label} {first} {100 * auroc:.2f} %; its pixel AP is {100 * ap:.2f} %{lift}."
            )
            if best.false_alarms is not None:
                findings.append(
                    f"At the threshold of the DSC, {best.label} calls {best.false_alarms:,.0f} pixels of a normal "
                    f"image of {label} anomalous, on average."
                )
    findings += _rank_changes(label, rows)
    return findings


def _rank_changes(label: str, rows: Sequence[_Row]) -> list[str]:
    by_auroc = _ranks(rows, RANKED[0])
    changes = []
    for metric, name in zip(RANKED[1:], ("pixel AP", "DSC"), strict=True):
        ranks = _ranks(rows, metric)
        moved = [
            f"{rows[index].label} {'rises' if rank < by_auroc[index] else 'falls'} from {by_auroc[index]} to {rank}"
            for index, rank in ranks.items()
            if index in by_auroc and by_auroc[index] != rank
        ]
        if moved:
            changes.append(f"In the ranks on {label} by {name} instead of pixel AUROC, {listed(moved)}.")
    if len(by_auroc) > 1 and all(_ranks(rows, metric) == by_auroc for metric in RANKED):
        return [f"On {label}, pixel AUROC, pixel AP and DSC put the methods in the same order."]
    return changes


def _ranks(rows: Sequence[_Row], metric: str) -> dict[int, int]:
    """Rank by the printed value, ties alike, of the rows that have one and may be ranked."""
    values = {
        index: round(100 * result.value, 2)
        for index, row in enumerate(rows)
        if (result := row.results[metric]) and result.value is not None and not result.is_disqualified
    }
    return {index: 1 + sum(other > value for other in values.values()) for index, value in values.items()}


def _leader(rows: Sequence[_Row], metric: str) -> _Row | None:
    ranks = _ranks(rows, metric)
    return rows[min(ranks, key=lambda index: ranks[index])] if ranks else None


def _value(result: Result | None) -> float | None:
    return None if result is None else result.value
