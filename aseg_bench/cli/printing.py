"""What a command prints when it is done."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from aseg_bench.reporting import Table

_FILE_WIDTH = 160  # columns where no screen sets them
console = Console(width=None if Console().is_terminal else _FILE_WIDTH)


def print_report(tables: "Sequence[Table]", findings: Sequence[str], paths: Sequence[Path]) -> None:
    """Print tables, then what they show, then where more of it lies."""
    from aseg_bench.reporting import terminal

    for table in tables:
        console.print(terminal(table))
    for text in findings:
        console.print(text, markup=False, highlight=False)
    for path in paths:
        console.print(path, markup=False, highlight=False, soft_wrap=True)


def finish(out: Path, *, page: bool, mixed: bool, quiet: bool) -> None:
    """Write the report of a folder of scores and print the paper's tables and where everything lies.

    Args:
        out: folder of the run.
        page: draw figures and build the page, too.
        mixed: tables may mix protocols, which leaves out figures and page.
        quiet: print nothing.
    """
    from aseg_bench.errors import InputError
    from aseg_bench.methods import find_methods
    from aseg_bench.progress import working
    from aseg_bench.reporting.report import write_run_report
    from aseg_bench.runs.results import read_results
    from aseg_bench.runs.runner import REPORT, SCORES, dataset_labels

    runs, facts = read_results([out], mixed), find_methods()
    labels = dataset_labels(runs[0].scores)
    with working("writing the report", quiet):
        try:
            made, paths = write_run_report(
                out / REPORT, runs, methods=facts, datasets=labels, page=page and not mixed, mixed=mixed
            )
        except InputError as error:  # scores without maps in the folder
            warnings.warn(f"no figures and no page: {error}", stacklevel=2)
            made, paths = write_run_report(out / REPORT, runs, methods=facts, datasets=labels, page=False, mixed=mixed)
    if not quiet:
        built = next((path for path in paths if path.name == "report.html"), out / REPORT)
        of_the_paper = [table for table in made.tables if table.key in {"table1", "table2", "table3"}]
        print_report(of_the_paper, made.findings, [out / SCORES, built])
