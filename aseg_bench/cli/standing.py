"""Commands that look at a run and change nothing: status and verify."""

from pathlib import Path
from typing import Annotated

import typer

from aseg_bench.cli.options import AllowPickle, MaxGib, MaxPixels, Quiet, allow_max_pixels, limits_in

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
