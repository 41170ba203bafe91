"""From scores to the files a paper or a reader takes: tables in every format."""

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from aseg_bench.files import written_whole
from aseg_bench.methods import MethodFacts
from aseg_bench.records import Score
from aseg_bench.reporting.cells import Table
from aseg_bench.reporting.html import html
from aseg_bench.reporting.latex import latex
from aseg_bench.reporting.markdown import markdown
from aseg_bench.reporting.tables import category_tables, paper_tables
from aseg_bench.runs.scores import csv_text, merge_runs


def tables_csv(tables: Iterable[Table]) -> str:
    """All cells of all tables, one per line: table, block, row, column, text, aside, rank, note."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["table", "block", "row", "column", "text", "aside", "rank", "note"])
    for table in tables:
        for title, rows in table.blocks:
            for row in rows:
                for head, cell in zip(table.header[1:], row[1:], strict=True):
                    note = "; ".join(table.notes[letter] for letter in cell.notes.split(",") if letter)
                    texts = (table.key, title, row[0].text, head.text, cell.text, cell.aside, cell.rank, note)
                    writer.writerow([csv_text(text) for text in texts])
    return file.getvalue()


FORMATS: dict[str, Callable[[Iterable[Table]], str]] = {
    "md": markdown,
    "tex": latex,
    "html": html,
    "csv": tables_csv,
}


def report_tables(
    runs: Sequence[Sequence[Score]],
    *,
    methods: Mapping[str, MethodFacts] | None = None,
    datasets: Mapping[str, str] | None = None,
    mixed: bool = False,
) -> list[Table]:
    """Tables 1-3 and the per-category tables of one or several runs.

    Args:
        runs: the scores of each run; a method scored by several runs gets mean and standard deviation.
        methods: facts of the methods by name, for labels and venues; an unknown name prints as it is.
        datasets: labels of the data sets by key; an unknown key prints as it is.
        mixed: accept several protocols or sets of test images in one table.

    Raises:
        InputError: the runs do not belong in one table.
    """
    results = merge_runs(runs, mixed)
    return [
        *paper_tables(results, methods or {}, datasets or {}),
        *category_tables(results, methods or {}, datasets or {}),
    ]


def write_tables(
    out: Path,
    scores: Sequence[Score],
    *,
    methods: Mapping[str, MethodFacts] | None = None,
    datasets: Mapping[str, str] | None = None,
    mixed: bool = False,
    formats: Iterable[str] = ("md", "tex"),
) -> list[Path]:
    """Write ``tables.md``, ``tables.tex`` and so on into a folder; arguments as for ``report_tables``."""
    return write_formats(out, report_tables([scores], methods=methods, datasets=datasets, mixed=mixed), formats)


def write_formats(out: Path, tables: Sequence[Table], formats: Iterable[str], stem: str = "tables") -> list[Path]:
    """Write ``<stem>.<format>`` for each format of ``FORMATS``; returns the files."""
    paths = []
    for name in formats:
        path = out / f"{stem}.{name}"
        with written_whole(path) as temporary:
            temporary.write_text(FORMATS[name](tables), encoding="utf-8")
        paths.append(path)
    return paths
