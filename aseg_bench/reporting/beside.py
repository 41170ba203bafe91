"""Published numbers beside measured ones, wherever a run has a published method on all categories of a data set."""

import csv
import io
from collections.abc import Mapping, Sequence

import pandas as pd

from aseg_bench.methods import MethodFacts
from aseg_bench.metrics import METRICS
from aseg_bench.records import MEAN
from aseg_bench.reporting.cells import DASH, Cell, Footnotes, Table, result_text, told_seeds
from aseg_bench.reporting.published import normalised, published, sources
from aseg_bench.reporting.tables import PAPER_TABLES
from aseg_bench.runs.scores import Key, Result, csv_text

SETTING = "one-for-all"
_ORIGIN = ["method", "venue_year", "source_key", "variant", "reproduced_by"]


def beside_published(
    results: Mapping[Key, Result], methods: Mapping[str, MethodFacts], datasets: Mapping[str, str]
) -> pd.DataFrame:
    """Every measured number with every published one-for-all number of the same method, category and metric.

    A data set takes part if all its categories are published ones: a custom set in the layout of MVTec-AD is not
    MVTec-AD. A method's mean takes part if it covers all of them.

    Args:
        results: from ``merge_runs``.
        methods: facts of the methods by name; ``MethodFacts.published`` names the method in the published numbers.
        datasets: keys of the data sets that may have published numbers.

    Returns:
        The columns of ``published``, and measured_as, measured and deviation (measured - published), in percent.
    """
    rows = []
    everything = published(setting=SETTING)
    everything["plain"] = everything["method"].map(normalised)
    for dataset in dict.fromkeys(key.dataset for key in results if key.dataset in datasets):
        there = everything[everything["dataset"] == dataset]
        categories = set(there["category"]) - {MEAN}
        here = {key: result for key, result in results.items() if key.dataset == dataset}
        run = {key.category for key in here} - {MEAN}
        if not run or not run <= categories:
            continue
        for key, result in here.items():
            own = {other.category for other in here if other.method == key.method} - {MEAN}
            is_whole = own == categories and not result.note
            if result.value is None or (key.category == MEAN and not is_whole):
                continue
            facts = methods.get(key.method)
            name = facts.published if facts and facts.published else key.method
            found = there[
                (there["plain"] == normalised(name))
                & (there["category"] == key.category)
                & (there["metric"] == key.metric)
            ]
            rows += [
                {**row, "measured_as": key.method, "measured": 100 * result.value}
                for row in found.drop(columns="plain").to_dict("records")
            ]
    columns = [*everything.columns.drop("plain"), "measured_as", "measured"]
    frame = pd.DataFrame(rows, columns=columns)
    frame["deviation"] = frame["measured"] - frame["value_percent"].astype(float)
    return frame


def published_tables(
    frame: pd.DataFrame, results: Mapping[Key, Result], methods: Mapping[str, MethodFacts], datasets: Mapping[str, str]
) -> list[Table]:
    """Tables 1-3 once more for the methods with published means: measured, and published in a block of its own.

    Args:
        frame: from ``beside_published``.
        results: from ``merge_runs``.
        methods: facts of the methods by name.
        datasets: labels of the data sets by key.
    """
    tables = []
    for number, metric in PAPER_TABLES.items():
        here = frame[(frame["metric"] == metric) & (frame["category"] == MEAN)]
        here = here[~here["reproduced_by"].str.contains("reprinted")]
        if here.empty:
            continue
        places = list(dict.fromkeys(here["dataset"]))
        notes = Footnotes()
        caption = (
            f"{METRICS[metric].label} (%), measured and published ({SETTING}). * from the source in the footnote; in "
            "parentheses measured minus published. Resolution, training and truth may differ: see the variants."
        )
        measured = []
        for name in dict.fromkeys(here["measured_as"]):
            own = {key.dataset: result for key, result in results.items() if _is_mean_of(key, name, metric)}
            label = methods[name].label if name in methods else name
            shown = [own.get(place, Result({}, "not scored")) for place in places]
            cells = [Cell(result_text(result, metric), notes=notes.letters(result)) for result in shown]
            measured.append([Cell(label), *cells])
        caption = told_seeds(caption, [one for key, one in results.items() if key.metric == metric])
        rows = [_published_row(group, places, notes) for _, group in here.groupby(_ORIGIN, sort=False)]
        header = [Cell("Method"), *(Cell(datasets.get(place, place)) for place in places)]
        blocks = [("Measured", measured), ("Published", rows)]
        tables.append(Table(f"table{number}_published", caption, header, blocks, notes.by_letter()))
    return tables


def published_csv(frame: pd.DataFrame) -> str:
    """All rows of ``beside_published`` as CSV."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(frame.columns)
    for row in frame.to_dict("records"):
        writer.writerow([csv_text(value) if isinstance(value, str) else value for value in row.values()])
    return file.getvalue()


def _published_row(group: pd.DataFrame, places: Sequence[str], notes: Footnotes) -> list[Cell]:
    first = group.iloc[0]
    title = sources().set_index("source_key").loc[first["source_key"], "title"]
    origin = ", ".join(part for part in (f"{title} [{first['source_key']}]", first["variant"]) if part)
    cells = [Cell(first["method"], notes=notes.letter(origin), aside=first["venue_year"])]
    for place in places:
        at = group[group["dataset"] == place]
        if at.empty:
            cells.append(Cell(DASH))
            continue
        row = at.iloc[0]
        caution = notes.letter(f"caution: {row['caution']}" if row["caution"] else "")
        cells.append(Cell(f"{row['value_percent']}*", notes=caution, aside=f"{row['deviation']:+.2f}"))
    return cells


def _is_mean_of(key: Key, method: str, metric: str) -> bool:
    return (key.method, key.category, key.metric) == (method, MEAN, metric)
