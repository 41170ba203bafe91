"""Commands for results that others see: packs and the leaderboard."""

from pathlib import Path
from typing import Annotated

import typer


def pack_command(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    out: Annotated[Path | None, typer.Option(help="The file; RUN.aseg.zip beside the run by default.")] = None,
    maps: Annotated[bool, typer.Option("--maps", help="Put the maps in, so that others can score them again.")] = False,
) -> None:
    """Write a finished run as one file for others: scores and record, with their checksums."""
    from aseg_bench.files import make_place
    from aseg_bench.runs.publishing import pack

    if out:
        make_place(out)
    print(pack(run, out, maps=maps))


def leaderboard_command(
    folder: Annotated[Path, typer.Argument(help="Folder of runs and packs, at any depth.")],
    out: Annotated[Path, typer.Option(help="Folder of the page.")] = Path("site"),
    title: Annotated[str, typer.Option(help="Heading of the page.")] = "Anomaly segmentation",
) -> None:
    """Write one page over many runs, packs of others and published numbers."""
    from aseg_bench.reporting.leaderboard import leaderboard

    print(leaderboard(folder, out, title).page)
