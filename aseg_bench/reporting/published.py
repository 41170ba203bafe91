"""Published numbers: what papers, repositories and logs report, each with setting, source and variant."""

import re
from functools import cache
from importlib.resources import as_file, files
from pathlib import Path

import pandas as pd

from aseg_bench.errors import InputError, near_matches
from aseg_bench.files import written_whole
from aseg_bench.reporting.cells import Cell, Footnotes, Table
from aseg_bench.runs.scores import csv_text

PAPER_DATASETS = {"mvtec_ad": "MVTec-AD", "visa": "VisA"}  # of Ma et al. (WACV 2025), key -> name in print
ALIASES = {"mvtec": "mvtecad"}  # the name of a data set in papers -> in DATASETS, both without punctuation


def published(
    method: str | None = None,
    dataset: str | None = None,
    category: str | None = None,
    metric: str | None = None,
    setting: str | None = None,
    source: str | None = None,
) -> pd.DataFrame:
    """Published numbers that meet every given condition.

    Names match without regard to case and punctuation: ``uni_as`` finds UniAS, ``mvtec`` finds MVTec-AD.

    Args:
        method: a method, for instance ``UniAD``.
        dataset: a data set, for instance ``visa``.
        category: a category, or ``mean`` for the mean over categories.
        metric: a key of ``METRICS`` or another published metric.
        setting: ``one-for-all`` or ``one-for-one``.
        source: a source key of ``sources()``.

    Returns:
        One row per number, all columns text: method, venue_year, setting, dataset, category, metric, value_percent
        (as printed), source_key, source_note, reproduced_by, variant, read_how, and caution (what is known to be
        wrong with it, usually empty).

    Raises:
        InputError: nothing published has such a name.
    """
    frame = _read("published.csv.xz")
    conditions = {
        "method": method,
        "dataset": dataset,
        "category": category,
        "metric": metric,
        "setting": setting,
        "source_key": source,
    }
    chosen = pd.Series(True, index=frame.index)
    for column, wanted in conditions.items():
        if wanted is not None:
            chosen &= frame[column].isin(_matches(wanted, column, frame[column]))
    return frame[chosen].copy()


def sources() -> pd.DataFrame:
    """Where published numbers come from: source_key, title, location, commit, kind, trust and counts of rows.

    Trust A is the authors' own publication or a benchmark's own runs, B reproduced or reprinted, C unofficial.
    """
    return _read("sources.csv").copy()


def paper_data(name: str) -> pd.DataFrame:
    """One of the source paper's data: ``tables123``, ``table4``, ``table5`` or ``inconsistencies``; all text."""
    return _read(f"paper_{name}.csv").copy()


def normalised(name: str) -> str:
    """A name without case and punctuation, ``+`` apart."""
    plain = re.sub(r"[^a-z0-9+]", "", name.lower())
    return ALIASES.get(plain, plain)


def published_table(frame: pd.DataFrame) -> Table:
    """Published numbers as one table, a row per number; source, variant, who ran it and cautions are footnotes."""
    titles = sources().set_index("source_key")["title"]
    notes = Footnotes()
    rows = []
    for row in frame.to_dict("records"):
        origin = (f"{titles[row['source_key']]} [{row['source_key']}]", row["variant"], row["reproduced_by"])
        source = notes.letter("; ".join(filter(None, origin)))
        caution = notes.letter(f"caution: {row['caution']}" if row["caution"] else "")
        rows.append(
            [
                Cell(row["method"], aside=row["venue_year"]),
                *(Cell(row[column]) for column in ("dataset", "category", "metric")),
                Cell(row["value_percent"], notes=",".join(filter(None, (source, caution)))),
                Cell(row["setting"]),
            ]
        )
    header = [Cell(title) for title in ("Method", "Data set", "Category", "Metric", "%", "Setting")]
    return Table("published", "Published numbers.", header, [("", rows)], notes.by_letter())


def write_published(path: Path, frame: pd.DataFrame) -> None:
    """Write published numbers as CSV; no spreadsheet takes a cell for a formula."""
    with written_whole(path) as temporary:
        frame.map(csv_text).to_csv(temporary, index=False)


def _matches(wanted: str, column: str, values: "pd.Series[str]") -> list[str]:
    names = sorted(values.unique())
    found = [name for name in names if normalised(name) == normalised(wanted)]
    if not found:
        raise InputError(f"no published number has the {column.split('_')[0]} {wanted}; {near_matches(wanted, names)}")
    return found


@cache
def _read(name: str) -> pd.DataFrame:
    with as_file(files("aseg_bench.reporting") / "data" / name) as path:
        return pd.read_csv(path, dtype=str, keep_default_na=False)
