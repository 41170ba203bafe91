"""Commands that look at a run and change nothing: status, verify and gate."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aseg_bench.cli.options import AllowPickle, MaxGib, MaxPixels, Quiet, allow_max_pixels, limits_in, names_in
from aseg_bench.errors import InputError

if TYPE_CHECKING:
    from aseg_bench.runs.gate import Bound

Run = Annotated[Path, typer.Argument(help="Folder of a run or an evaluation.")]


def status_command(run: Run) -> None:
    """Say how far a run is: each method planned, running, stopped, done, or failed and why."""
    from rich.table import Table
    from rich.text import Text

    from aseg_bench.cli.printing import console
    from aseg_bench.runs.standing import standings

    found, held_by = standings(run)
    table = Table("Method", "Data set", "State", "Detail")
    for one in found:
        table.add_row(*map(Text, (one.method, one.dataset, one.state, one.detail)))
    console.print(table)
    text = f"in use by {held_by}" if held_by else f"nothing is at work in {run}"
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def verify_command(
    run: Run,
    data_root: Annotated[Path | None, typer.Option(help="Where the images lie, if not where the run says.")] = None,
    allow_pickle: AllowPickle = False,
    max_gib: MaxGib = 8,
    max_pixels: MaxPixels = None,
    quiet: Quiet = False,
) -> None:
    """Compute the scores of a run again from its maps, compare checksums, and say what differs: exit code 1 then."""
    from aseg_bench.runs.verification import verify

    allow_max_pixels(max_pixels)
    made = verify(run, data_root, limits_in(max_gib, allow_pickle), quiet=quiet)
    for text in made.differences:
        print(f"differs: {text}")
    if made.differences:
        raise typer.Exit(1)
    if not quiet:
        print(f"equal: {made.n_scores} scores, computed again; checksums of {', '.join(made.checked) or 'nothing'}")


def gate_command(
    run: Run,
    least: Annotated[
        list[str] | None,
        typer.Option(
            "--min",
            metavar="[CATEGORY:]METRIC=VALUE",
            help="Worst value that passes, in every category and in the mean, or in one of them (mean:pixel_ap=0.4);"
            " where lower is better, the highest. May be repeated.",
        ),
    ] = None,
    against: Annotated[Path | None, typer.Option(help="Folder of a run that must be reached in every cell.")] = None,
    tolerance: Annotated[float, typer.Option(min=0, help="By how much a cell may be worse than there: 0.01.")] = 0.0,
    metrics: Annotated[str | None, typer.Option(help="Hold only these against the other run.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print an object in the place of lines.")] = False,
    quiet: Quiet = False,
) -> None:
    """Check the scores of a run for regressions, as in CI: exit code 1 and a line for each cell that fails."""
    from aseg_bench.runs.gate import gate

    bounds = [_bound_in(text) for text in least or ()]
    made = gate(run, bounds, against, tolerance=tolerance, metrics=names_in("--metrics", metrics))
    if json:
        print(made.to_json())
    else:
        for failure in made.failures:
            print(f"fails: {failure}")
    if made.failures:
        raise typer.Exit(1)
    if not (quiet or json):
        print(f"passes: {made.n_checked} comparisons")


def _bound_in(text: str) -> "Bound":
    from aseg_bench.runs.gate import Bound

    place, _, value = text.rpartition("=")
    category, _, metric = place.rpartition(":")
    try:
        return Bound(metric.strip(), float(value), category.strip())
    except ValueError:
        raise InputError(f"--min {text} is not METRIC=VALUE or CATEGORY:METRIC=VALUE, as pixel_ap=0.4") from None
