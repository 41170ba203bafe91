"""Which tables there are, and what stands in which of their cells. Renderers print them."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from statistics import fmean

from aseg_bench.errors import listed
from aseg_bench.methods import MethodFacts
from aseg_bench.metrics import METRICS
from aseg_bench.records import MEAN
from aseg_bench.reporting.cells import (
    DASH,
    Cell,
    Footnotes,
    Table,
    heading,
    leading_number,
    ranks,
    result_text,
    told_seeds,
)
from aseg_bench.runs.scores import Key, Result

PAPER_TABLES = {1: "pixel_auroc", 2: "pixel_ap", 3: "dsc"}  # Ma et al. (WACV 2025), Tables 1-3
FOUND = "seg_f1"  # at a threshold that was found on normal images, beside those that were chosen on the test images
BESIDE = {"dsc": ("pixel_f1_max", FOUND, "aupro_0.3")}  # the DSC's threshold is unstable: docs/metrics.md
RANKED = tuple(PAPER_TABLES.values())  # metrics by which the diagnosis and the figures rank methods
RATE = "anomaly_rate"
BY_NUMBER = {  # what the main table of a single data set has of each of Tables 1-3
    1: ("pixel_auroc",),
    2: ("pixel_ap", "aupro_0.3"),
    3: ("dsc", "pixel_f1_max"),
}
_OF_DSC = 3  # among them
_CHOSEN = ("is chosen on the test images", "are chosen on the test images")
MAIN = tuple(chain.from_iterable(BY_NUMBER.values()))


@dataclass(frozen=True, slots=True)
class Entry:
    """A competitor of one table: its name in print and its result at each place (data set or category)."""

    label: str
    venue: str
    results: Mapping[str, Result]


def paper_tables(
    results: Mapping[Key, Result], methods: Mapping[str, MethodFacts], datasets: Mapping[str, str]
) -> list[Table]:
    """Tables 1-3 of the paper: pixel AUROC with the Anomaly Rate, pAP and DSC, of methods by data sets.

    Table 3 has the best F1 and AUPRO beside the DSC, whose threshold is unstable.

    Args:
        results: from ``merge_runs``.
        methods: facts of the methods by name; an unknown name prints as it is.
        datasets: labels of the data sets by key; an unknown key prints as it is.
    """
    places = {key.dataset: datasets.get(key.dataset, key.dataset) for key in results}
    tables = []
    for number, metric in PAPER_TABLES.items():
        shown = {}
        for each in (metric, *BESIDE.get(metric, ())):
            entries = _entries(results, methods, each, lambda key: key.dataset if key.category == MEAN else None)
            if entries:
                shown[each] = [_with_mean(entry, places) for entry in entries]
        if metric not in shown:
            continue
        names = listed([heading(each) for each in shown])
        caption = f"{names} by data set, each the mean over its categories.{told_oracles(shown)}"
        columns = {**places, **({MEAN: "Mean"} if len(places) > 1 else {})}
        if metric == PAPER_TABLES[1]:
            rates = _rates(results, lambda key: key.dataset if key.category == MEAN else None)
            rates[MEAN] = _mean({label: rates.get(place) for place, label in places.items()})
            tables.append(_by_place(f"table{number}", caption, shown[metric], columns, "Data set", metric, rates))
        else:
            marks = {place: _marks_of_data(results, place) for place in places}
            tables.append(_by_method(f"table{number}", caption, shown, columns, marks))
    return tables


def main_table(
    results: Mapping[Key, Result],
    methods: Mapping[str, MethodFacts],
    datasets: Mapping[str, str],
    numbers: Sequence[int],
) -> list[Table]:
    """Tables 1-3 of a single data set in one: methods by metrics, each the mean over its categories.

    Args:
        results: from ``merge_runs``, of one data set.
        methods: facts of the methods by name; an unknown name prints as it is.
        datasets: labels of the data sets by key; an unknown key prints as it is.
        numbers: of the tables that are wanted.

    Returns:
        The table; nothing where none of its metrics was scored.
    """
    dataset = next(iter(results)).dataset
    rate = _rates(results, _dataset_of_mean).get(dataset)
    of_rate = (
        ""
        if rate is None
        else (f" The Anomaly Rate (AR), the share of anomalous pixels, is {result_text(rate, RATE)} %.")
    )
    metrics = [each for number in numbers for each in (*BY_NUMBER[number], *((FOUND,) if number == _OF_DSC else ()))]
    table = mean_table("table", of_rate, results, methods, datasets, metrics)
    return [] if table is None else [table]


def mean_table(
    key: str,
    said: str,
    results: Mapping[Key, Result],
    methods: Mapping[str, MethodFacts],
    datasets: Mapping[str, str],
    metrics: Sequence[str],
) -> Table | None:
    """Methods by metrics on a single data set, each the mean over its categories.

    Args:
        key: name of the table.
        said: the end of its caption.
        results: from ``merge_runs``, of one data set.
        methods: as in `main_table`.
        datasets: as in `main_table`.
        metrics: keys in the order of the columns; one that was not scored has none.

    Returns:
        The table; None where none of its metrics was scored.
    """
    dataset = next(iter(results)).dataset
    found = {metric: _entries(results, methods, metric, _dataset_of_mean) for metric in metrics}
    shown = {metric: entries for metric, entries in found.items() if entries}
    if not shown:
        return None
    label, n_categories = datasets.get(dataset, dataset), len({key.category for key in results} - {MEAN})
    of = f"means over {n_categories} categories" if n_categories > 1 else "one category"
    what = "in per cent" if all(METRICS[metric].unit == "fraction" for metric in shown) else "shares in per cent"
    caption = f"{label}: {of}, {what}.{said}{told_oracles(shown)}"
    return _by_method(key, caption, shown, {dataset: label}, {dataset: _marks_of_data(results, dataset)})


def told_oracles(metrics: Collection[str]) -> str:
    """A sentence that says of which metrics in a table the threshold is chosen on the test images themselves."""
    chosen = [METRICS[key].label for key in ("dsc", "pixel_f1_max") if key in metrics]
    if not chosen:
        return ""
    told = f" The threshold{'s' if len(chosen) > 1 else ''} of {listed(chosen)} {_CHOSEN[len(chosen) > 1]}"
    return f"{told}{f'; that of {METRICS[FOUND].label} is found on normal images' if FOUND in metrics else ''}."


def _dataset_of_mean(key: Key) -> str | None:
    return key.dataset if key.category == MEAN else None


def category_tables(
    results: Mapping[Key, Result], methods: Mapping[str, MethodFacts], datasets: Mapping[str, str]
) -> list[Table]:
    """One table per data set and metric: categories by methods, with the Anomaly Rate and the mean row."""
    tables = []
    for dataset in dict.fromkeys(key.dataset for key in results):
        here = {key: result for key, result in results.items() if key.dataset == dataset}
        categories = [category for category in dict.fromkeys(key.category for key in here) if category != MEAN]
        rates = _rates(here, lambda key: key.category)
        for metric in dict.fromkeys(key.metric for key in here):
            if metric not in METRICS or METRICS[metric].level == "data":
                continue
            entries = _entries(here, methods, metric, lambda key: key.category)
            places = {**dict(zip(categories, categories, strict=True)), MEAN: "Mean"}
            caption = f"{heading(metric)} on {datasets.get(dataset, dataset)} by category."
            tables.append(_by_place(f"{dataset}_{metric}", caption, entries, places, "Category", metric, rates))
    return tables


def method_tables(
    results: Mapping[Key, Result],
    methods: Mapping[str, MethodFacts],
    datasets: Mapping[str, str],
    metrics: Sequence[str] = MAIN,
) -> list[Table]:
    """One table per method, protocol and data set: categories down, metrics across, the mean row last."""
    tables = []
    for of in dict.fromkeys((key.dataset, key.method, key.protocol) for key in results):
        here = {key: result for key, result in results.items() if (key.dataset, key.method, key.protocol) == of}
        dataset, method, protocol = of
        shown = [
            metric for metric in dict.fromkeys((RATE, *metrics, FOUND)) if any(key.metric == metric for key in here)
        ]
        places = {**{key.category: key.category for key in here if key.category != MEAN}, MEAN: "Mean"}
        notes, by_place = Footnotes(), {(key.category, key.metric): result for key, result in here.items()}
        rows = []
        for place, label in places.items():
            found = [(metric, by_place.get((place, metric), Result({}, "not scored"))) for metric in shown]
            rows.append([Cell(label), *(Cell(result_text(one, key), "", notes.letters(one)) for key, one in found)])
        label = methods[method].label if method in methods else method
        caption = f"{label} on {datasets.get(dataset, dataset)} by category, under the protocol {protocol}."
        header = [Cell("Category"), *(Cell(heading(metric)) for metric in shown)]
        blocks = [("", rows[:-1]), ("", rows[-1:])]
        tables.append(Table(f"{dataset}_{method}", caption, header, blocks, notes.by_letter()))
    return tables


def ablation_table(
    key: str,
    caption: str,
    header: Sequence[Cell],
    heads: Sequence[Sequence[Cell]],
    columns: Mapping[str, Sequence[str]],
    gaps_elsewhere: Mapping[str, Sequence[str]] | None = None,
) -> Table:
    """Variants of a model down, the full one last; behind each value its gap to the full model, by the printed values.

    Args:
        key: name of the table.
        caption: of the table.
        header: titles of the columns that say what a variant has.
        heads: those columns, one row per variant.
        columns: title -> printed values, one per variant; higher is better.
        gaps_elsewhere: title -> gaps that were printed elsewhere, empty where none; a footnote shows one that differs.
    """
    notes = Footnotes()
    cells = []
    for title, texts in columns.items():
        full = leading_number(texts[-1])
        values = [leading_number(text) for text in texts]
        gaps = ["" if value is None or full is None else f"{full - value:.2f}" for value in values]
        others = (gaps_elsewhere or {}).get(title, gaps)
        differing = [
            f"gap printed as {other}" if other and gap and float(other) != float(gap) else ""
            for gap, other in zip(gaps, others, strict=True)
        ]
        cells.append(
            [
                Cell(text, medal, notes.letter(note), gap)
                for text, medal, note, gap in zip(texts, ranks(texts, True), differing, [*gaps[:-1], ""], strict=True)
            ]
        )
    rows = [[*head, *values] for head, values in zip(heads, zip(*cells, strict=True), strict=True)]
    return Table(key, caption, [*header, *(Cell(title) for title in columns)], [("", rows)], notes.by_letter())


def _entries(
    results: Mapping[Key, Result],
    methods: Mapping[str, MethodFacts],
    metric: str,
    place_of: Callable[[Key], str | None],
) -> list[Entry]:
    """One entry per method and protocol; the protocol joins the label only where several meet."""
    several = len({key.protocol for key in results}) > 1
    found: dict[tuple[str, str], dict[str, Result]] = {}
    for key, result in results.items():
        place = place_of(key)
        if key.metric == metric and place is not None:
            found.setdefault((key.method, key.protocol), {})[place] = result
    entries = []
    for (method, protocol), by_place in found.items():
        facts = methods.get(method)
        label = facts.label if facts else method
        entries.append(Entry(f"{label} [{protocol}]" if several else label, facts.venue if facts else "", by_place))
    return entries


def _rates(results: Mapping[Key, Result], place_of: Callable[[Key], str | None]) -> dict[str, Result]:
    """Anomaly Rate by place; a footnote where methods disagree, as under protocols of other resolutions."""
    rates: dict[str, Result] = {}
    for key, result in results.items():
        place = place_of(key)
        if key.metric != RATE or place is None:
            continue
        only = {} if result.value is None else {1: result.value}  # no spread: data do not vary
        shown = Result(only, result.note, result.marks)
        first = rates.setdefault(place, shown)
        if result_text(first, RATE) != result_text(shown, RATE):
            rates[place] = Result(first.by_run, "differs between methods; the first is shown", first.marks)
    return rates


def _mean(results: Mapping[str, Result | None]) -> Result:
    """Unweighted mean over data sets, run by run; says how many it covers, and which of them are not whole."""
    defined = [result for result in results.values() if result and result.by_run]
    if not defined:
        return Result({}, "no data set has a value")
    notes = [f"{place} {result.note}" for place, result in results.items() if result and result.by_run and result.note]
    if len(defined) < len(results):
        notes.insert(0, f"mean of {len(defined)} of {len(results)} data sets")
    note = "; ".join(notes)
    marks = tuple(dict.fromkeys(mark for result in defined for mark in result.marks))
    is_disqualified = any(result.is_disqualified for result in defined)
    if any(result.by_run.keys() != defined[0].by_run.keys() for result in defined):
        by_run = {1: fmean(result.value or 0.0 for result in defined)}  # no spread: runs differ
    else:
        by_run = {run: fmean(result.by_run[run] for result in defined) for run in defined[0].by_run}
    return Result(by_run, note, marks, is_disqualified)


def _with_mean(entry: Entry, places: Mapping[str, str]) -> Entry:
    mean = _mean({label: entry.results.get(place) for place, label in places.items()})
    return Entry(entry.label, entry.venue, {**entry.results, MEAN: mean})


def _cells(entries: Sequence[Entry], place: str, metric: str, notes: Footnotes) -> list[Cell]:
    """The cells of all entries at one place, ranked among those that cover the same ground and may be ranked."""
    results = [entry.results.get(place) or Result({}, "not scored") for entry in entries]
    covers = {result.note for result in results if result.value is not None and not result.is_disqualified}
    cover = "" if "" in covers else covers.pop() if len(covers) == 1 else None
    texts = [result_text(result, metric) for result in results]
    rivals = [
        text if result.note == cover and not result.is_disqualified else DASH
        for text, result in zip(texts, results, strict=True)
    ]
    medals = ranks(rivals, METRICS[metric].higher_is_better)
    return [
        Cell(text, medal, notes.letters(result)) for text, medal, result in zip(texts, medals, results, strict=True)
    ]


def _by_place(
    key: str,
    caption: str,
    entries: Sequence[Entry],
    places: Mapping[str, str],
    place_title: str,
    metric: str,
    rates: Mapping[str, Result],
) -> Table:
    """Places down, methods across, with the Anomaly Rate column; a mean stands last in a block of its own."""
    notes = Footnotes()
    rows = []
    for place, label in places.items():
        rate = rates.get(place)
        rate_cell = Cell(result_text(rate, RATE), "", notes.letters(rate or Result({}, "not scored")))
        rows.append([Cell(label), rate_cell, *_cells(entries, place, metric, notes)])
    header = [Cell(place_title), Cell("AR (%)"), *(Cell(entry.label) for entry in entries)]
    caption = f"{caption} AR is the Anomaly Rate: the share of anomalous pixels."
    caption = told_seeds(caption, [entry.results[place] for entry in entries for place in entry.results])
    n_means = 1 if MEAN in places else 0
    blocks = [("", rows[: len(rows) - n_means]), ("", rows[len(rows) - n_means :])]
    return Table(key, caption, header, [block for block in blocks if block[1]], notes.by_letter())


def _marks_of_data(results: Mapping[Key, Result], dataset: str) -> tuple[str, ...]:
    """What is odd about a data set, which its mean Anomaly Rate is marked with."""
    return next((one.marks for key, one in results.items() if (key.dataset, *key[3:]) == (dataset, MEAN, RATE)), ())


def _by_method(
    key: str,
    caption: str,
    shown: Mapping[str, Sequence[Entry]],
    places: Mapping[str, str],
    marks: Mapping[str, tuple[str, ...]],
) -> Table:
    """Methods down, places across, at each place the metrics side by side."""
    notes = Footnotes()
    methods = {entry.label: entry for found in shown.values() for entry in found}.values()
    caption = told_seeds(
        caption, [entry.results[place] for found in shown.values() for entry in found for place in entry.results]
    )
    header, columns = [Cell("Method")], []
    for place, label in places.items():
        for metric, found in shown.items():
            by_label = {entry.label: entry for entry in found}
            entries = [by_label.get(entry.label, Entry(entry.label, entry.venue, {})) for entry in methods]
            name = METRICS[metric].label
            title = label if len(shown) == 1 else name if len(places) == 1 else f"{label}, {name}"
            header.append(Cell(title, notes=",".join(map(notes.letter, marks.get(place, ())))))
            columns.append(_cells(entries, place, metric, notes))
    rows = [
        [Cell(entry.label, aside=entry.venue), *cells]
        for entry, cells in zip(methods, zip(*columns, strict=True), strict=True)
    ]
    return Table(key, caption, header, [("", rows)], notes.by_letter())
