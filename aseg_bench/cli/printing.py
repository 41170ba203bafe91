"""What a command prints when it is done."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from aseg_bench.reporting import Table
    from aseg_bench.runs.results import Results

_FILE_WIDTH = 160  # columns where no screen sets them
console = Console(width=None if Console().is_terminal else _FILE_WIDTH)


def print_report(tables: "Sequence[Table]", findings: Sequence[str], paths: Sequence[Path]) -> None:
    """Print tables, then what they show, then where more of it lies."""
    from aseg_bench.reporting import terminal

    for table in tables:
        console.print(terminal(table))
    for text in findings:
        console.print(text, markup=False, highlight=False)
    for path in dict.fromkeys(path.parent if path.parent.name == "figures" else path for path in paths):
        console.print(path, markup=False, highlight=False, soft_wrap=True)


def finish(
    results: "Results", *, page: bool, mixed: bool, quiet: bool, methods: Sequence[str], metrics: Sequence[str] | None
) -> None:
    """Write the report of a folder of scores and print its tables and where everything lies.

    A single method has a table of its categories, and so have several where metrics are named; else several methods
    have the paper's tables.

    Args:
        results: of the folder.
        page: draw figures and build the page, too.
        mixed: tables may mix protocols, which leaves out figures and page.
        quiet: print nothing.
        methods: those that were scored just now.
        metrics: keys that the user named; None where the usual ones were taken.
    """
    from aseg_bench.reporting.report import report, tables_of_methods

    made = report([results], page=page, mixed=mixed, again=False, quiet=quiet)
    if not quiet:
        built = next((path for path in made.paths if path.name == "report.html"), results.folder.report)
        of_the_paper = [table for table in made.tables if table.key in {"table", "table1", "table2", "table3"}]
        by_category = tables_of_methods(results, metrics, methods, mixed) if metrics or len(methods) == 1 else []
        is_alone = len({score.case.method for score in results.scores}) == 1
        robustness = [table for table in made.tables if table.key.endswith("_robustness")]
        print_report(
            [*by_category, *([] if is_alone else of_the_paper), *robustness],
            made.findings,
            [results.folder.scores_file, built],
        )
