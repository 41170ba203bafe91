"""A comparison in print: intervals, paired differences and rank tests as tables and numbers."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from string import ascii_lowercase

import pandas as pd

from aseg_bench.analysis.comparison import Comparison, compare_methods
from aseg_bench.analysis.rank_tests import holm, rank_tests
from aseg_bench.analysis.resampling import RESAMPLED, Resampled
from aseg_bench.datasets import dataset_labels
from aseg_bench.files import make_folder, written_whole
from aseg_bench.metrics import METRICS
from aseg_bench.progress import track
from aseg_bench.records import MEAN, Place
from aseg_bench.reporting.cells import DASH, Cell, Table
from aseg_bench.reporting.writing import write_formats
from aseg_bench.runs.findings import marked, shown_methods
from aseg_bench.runs.lock import held
from aseg_bench.runs.results import Results, read_results
from aseg_bench.runs.scores import csv_text, merge_runs

LEVEL = 0.95
_NO_RANKS = "no tests of ranks: they need two categories where every method has a value"
CSV_COLUMNS = (
    *("dataset", "category", "metric", "method", "second"),
    *("estimate", "low", "high", "p_value", "p_holm", "grid_error"),
)


@dataclass(frozen=True)
class Compared:
    """The result of a comparison.

    Attributes:
        comparison: resampled numbers of every method at every place.
        tables: in the order of print.
        paths: files written.
    """

    comparison: Comparison
    tables: Sequence[Table]
    paths: Sequence[Path]

    def to_frame(self) -> pd.DataFrame:
        """The columns of ``comparison.csv``."""
        return pd.read_csv(io.StringIO(comparison_csv(self.comparison)))


def compare(
    run: Path | Results,
    methods: Sequence[str] | None = None,
    *,
    n_replicates: int = 1000,
    seed: int = 0,
    out: Path | None = None,
    quiet: bool = True,
) -> Compared:
    """Intervals and paired differences of methods of one run, from its maps; ``aseg-bench compare`` is this function.

    Args:
        run: folder or results of a finished run with its maps.
        methods: names of two or more; None takes all.
        n_replicates: resampled sets of images.
        seed: of the resampling.
        out: folder of the files; None takes ``report`` in the run's.
        quiet: no progress bar.

    Raises:
        InputError: maps or images are missing, or a method is not of the run.
    """
    results = run if isinstance(run, Results) else read_results([run])[0]
    place = out or results.folder.report
    with held(results.folder.out if out is None else out):
        make_folder(place)
        maps = list(results.maps(methods).values())
        comparison = compare_methods(
            track(maps, "resampling images", len(maps), quiet), results.scores, n_replicates=n_replicates, seed=seed
        )
        comparison = replace(comparison, unranked=_unranked(results, comparison.methods))
        labels = {name: facts.label for name, facts in shown_methods([results]).items()}
        tables = comparison_tables(comparison, labels, dataset_labels(results.scores))
        paths = write_formats(place, tables, ("md", "tex", "html"), "comparison")
        with written_whole(place / "comparison.csv") as temporary:
            temporary.write_text(comparison_csv(comparison), encoding="utf-8")
    return Compared(comparison, tables, [*paths, place / "comparison.csv"])


def comparison_tables(comparison: Comparison, labels: Mapping[str, str], datasets: Mapping[str, str]) -> list[Table]:
    """Intervals by data set and by category, paired differences and rank tests, for each metric.

    Args:
        comparison: from ``compare_methods``.
        labels: names of methods in print.
        datasets: names of data sets in print.
    """
    names = {name: labels.get(name, name) for name in comparison.methods}
    means = [place for place in comparison.numbers if place[1] == MEAN]
    places = {place: _place_label(place, datasets) for place in means}
    tables = [_intervals("intervals", comparison, metric, places, names) for metric in RESAMPLED]
    for dataset in dict.fromkeys(dataset for dataset, _ in means if dataset != MEAN):
        inside = {place: place[1] for place in comparison.numbers if place[0] == dataset and place[1] != MEAN}
        tables += [_intervals(f"{dataset}_intervals", comparison, metric, inside, names) for metric in RESAMPLED]
    if len(names) > 1:
        tables += [_differences(comparison, metric, places, names) for metric in RESAMPLED]
        tables += [table for metric in RESAMPLED if (table := _ranks(comparison, metric, names)) is not None]
    return tables


def comparison_csv(comparison: Comparison) -> str:
    """Every interval and paired difference as fractions in full precision; ``second`` is empty for a plain value."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for (dataset, category), by_metric in comparison.numbers.items():
        for metric, by_method in by_metric.items():
            start = [csv_text(dataset), csv_text(category), metric]
            for name, number in by_method.items():
                writer.writerow([*start, csv_text(name), "", *_numbers(number), "", "", number.error])
            for first, second, number, p_holm in _paired(comparison.ranked((dataset, category), metric)):
                pair = [csv_text(first), csv_text(second)]
                writer.writerow([*start, *pair, *_numbers(number), number.p_value, p_holm, number.error])
    return file.getvalue()


def _intervals(
    key: str, comparison: Comparison, metric: str, places: Mapping[Place, str], names: Mapping[str, str]
) -> Table:
    """Values with intervals; a letter at a value stands for a method that lies significantly below it.

    Methods stand down and data sets across, or categories down and methods across.
    """
    numbers = {place: comparison.numbers[place].get(metric, {}) for place in places}
    beaten = {place: _beaten(comparison.ranked(place, metric)) for place in places}
    below = [name for name in names if any(name in found for by in beaten.values() for found in by.values())]
    letters = {name: ascii_lowercase[index % 26] * (1 + index // 26) for index, name in enumerate(below)}

    def cell(name: str, place: Place) -> Cell:
        number = numbers[place].get(name)
        if number is None:
            return Cell(DASH)
        notes = ",".join(sorted(letters[other] for other in beaten[place].get(name, ())))
        return Cell(_percent(number.estimate), notes=notes, aside=_range(number))

    heads = [Cell(label) for label in names.values()]
    if all(category == MEAN for _, category in places):
        header = [Cell("Method"), *(Cell(label) for label in places.values())]
        rows = [[head, *(cell(name, place) for place in places)] for head, name in zip(heads, names, strict=True)]
    else:
        header = [Cell("Category"), *heads]
        rows = [[Cell(label), *(cell(name, place) for name in names)] for place, label in places.items()]
    error = max((number.error for by_method in numbers.values() for number in by_method.values()), default=0.0)
    caption = (
        f"{METRICS[metric].label} (%) with {100 * LEVEL:.0f} % intervals from {comparison.n_replicates} resampled sets "
        "of images, normal and anomalous ones apart. The grid of thresholds moves these by at most "
        f"{100 * error:.2f} points (root mean square)."
    )
    notes = {
        letter: f"above {names[name]} on the same images, p < {1 - LEVEL:.2f} (paired, Holm)"
        for name, letter in letters.items()
    }
    left_out = "; ".join(f"{category}: {reason}" for (_, category), reason in comparison.skipped.items())
    too_few = "; ".join(
        f"{category}: {n} anomalous image(s), so its interval may be too narrow"
        for (_, category), n in comparison.few.items()
    )
    notes |= {key: text for key, text in {"left out": left_out, "caution": too_few}.items() if text}
    notes |= _not_ranked(comparison, metric, places, names)
    return Table(f"{key}_{metric}", caption, header, [("", rows)], notes)


def _differences(comparison: Comparison, metric: str, places: Mapping[Place, str], names: Mapping[str, str]) -> Table:
    """Paired differences of all pairs of methods."""
    rows: dict[tuple[str, str], list[Cell]] = {pair: [] for pair in combinations(names, 2)}
    for place in places:
        found = {(first, second): (number, p) for first, second, number, p in _paired(comparison.ranked(place, metric))}
        for pair, cells in rows.items():
            if pair in found:
                number, p_holm = found[pair]
                mark = "*" if p_holm < 1 - LEVEL else ""
                cells.append(Cell(f"{100 * number.estimate:+.2f}{mark}", aside=_range(number)))
            else:
                cells.append(Cell(DASH))
    body = [[Cell(f"{names[first]} − {names[second]}"), *cells] for (first, second), cells in rows.items()]
    caption = (
        f"Paired differences in {METRICS[metric].label} (percentage points) on the same images, with "
        f"{100 * LEVEL:.0f} % intervals. * p < {1 - LEVEL:.2f} after Holm's correction over the pairs of a column."
    )
    header = [Cell("Pair"), *(Cell(label) for label in places.values())]
    notes = _not_ranked(comparison, metric, places, names)
    notes |= {} if _complete(comparison, metric) else {"ranks": _NO_RANKS}
    return Table(f"differences_{metric}", caption, header, [("", body)], notes)


def _ranks(comparison: Comparison, metric: str, names: Mapping[str, str]) -> Table | None:
    """Rank tests over the categories where every method has a value; None with fewer than two."""
    complete = _complete(comparison, metric)
    if not complete:
        return None
    values = {name: [place[name].estimate for place in complete] for name in complete[0]}
    tests = rank_tests(values, METRICS[metric].higher_is_better is not False)
    rows = [
        [
            Cell(f"{names[pair.first]} − {names[pair.second]}"),
            Cell(f"{tests.mean_ranks[pair.first]:.2f}"),
            Cell(f"{tests.mean_ranks[pair.second]:.2f}"),
            Cell(f"{100 * pair.difference:+.2f}"),
            Cell(_p(pair.wilcoxon)),
            Cell(DASH if pair.nemenyi is None else _p(pair.nemenyi)),
        ]
        for pair in tests.pairs
    ]
    friedman = "" if tests.friedman is None else f" Friedman's p: {_p(tests.friedman)}."
    caption = (
        f"Rank tests on {METRICS[metric].label} over {tests.n_categories} categories.{friedman} Mean ranks that lie "
        f"{tests.critical_difference:.2f} or more apart differ (Nemenyi, 5 %)."
    )
    titles = ("Pair", "Mean rank", "against", "Difference", "Wilcoxon p (Holm)", "Nemenyi p")
    inside = {place: place[1] for place in comparison.numbers if place[1] != MEAN}
    notes = _not_ranked(comparison, metric, inside, names)
    return Table(f"ranks_{metric}", caption, [Cell(title) for title in titles], [("", rows)], notes)


def _unranked(results: Results, methods: Sequence[str]) -> dict[tuple[Place, str, str], str]:
    """Why numbers of some methods take no part in tests, by place, metric and method; the last place is over all."""
    found: dict[tuple[Place, str, str], str] = {}
    for key, result in marked(merge_runs([results.scores], mixed=True), [results]).items():
        if result.is_disqualified and key.method in methods and key.metric in RESAMPLED:
            text = "; ".join(result.marks)
            found[(key.dataset, key.category), key.metric, key.method] = text
            if key.category == MEAN:
                found.setdefault(((MEAN, MEAN), key.metric, key.method), text)
    return found


def _not_ranked(
    comparison: Comparison, metric: str, places: Mapping[Place, str], names: Mapping[str, str]
) -> dict[str, str]:
    """The note under a table on the methods that take no part in its tests."""
    where: dict[tuple[str, str], list[str]] = {}
    for (place, of_metric, name), text in comparison.unranked.items():
        if place in places and of_metric == metric:
            where.setdefault((names[name], text), []).extend([place[1]] if place[1] != MEAN else [])
    listed = "; ".join(
        f"{label} on {', '.join(inside)}: {text}" if inside else f"{label}: {text}"
        for (label, text), inside in where.items()
    )
    return {"not tested": listed} if listed else {}


def _complete(comparison: Comparison, metric: str) -> list[Mapping[str, Resampled]]:
    """The categories where every method that is tested in some has a value; none where there are too few."""
    inside: list[Mapping[str, Resampled]] = [
        comparison.ranked(place, metric) for place in comparison.numbers if place[1] != MEAN
    ]
    names = {name for by_method in inside for name in by_method}
    found = [by_method for by_method in inside if len(by_method) == len(names) > 1]
    return found if len(found) > 1 else []


def _paired(by_method: Mapping[str, Resampled]) -> list[tuple[str, str, Resampled, float]]:
    """Every pair of methods with its paired difference and Holm's p-value over these pairs."""
    pairs = [(first, second, by_method[first] - by_method[second]) for first, second in combinations(by_method, 2)]
    corrected = holm([number.p_value for _, _, number in pairs])
    return [(*pair, p_holm) for pair, p_holm in zip(pairs, corrected, strict=True)]


def _beaten(by_method: Mapping[str, Resampled]) -> dict[str, list[str]]:
    """The methods that lie significantly below each method."""
    beaten: dict[str, list[str]] = {name: [] for name in by_method}
    for first, second, number, p_holm in _paired(by_method):
        if p_holm < 1 - LEVEL and number.estimate != 0:
            better, worse = (first, second) if number.estimate > 0 else (second, first)
            beaten[better].append(worse)
    return beaten


def _numbers(number: Resampled) -> tuple[float, float, float]:
    return (number.estimate, *number.interval(LEVEL))


def _place_label(place: Place, datasets: Mapping[str, str]) -> str:
    return "Mean" if place[0] == MEAN else datasets.get(place[0], place[0])


def _percent(value: float) -> str:
    return f"{100 * value:.2f}"


def _range(number: Resampled) -> str:
    low, high = number.interval(LEVEL)
    return f"{_percent(low)} to {_percent(high)}"


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
