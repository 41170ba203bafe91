"""Commands for results that others see: packs, the leaderboard, and what a server takes."""

from pathlib import Path
from typing import Annotated

import typer

from aseg_bench.cli.options import (
    AllowPickle,
    Device,
    MaxGib,
    MaxPixels,
    Quiet,
    allow_max_pixels,
    limits_in,
)
from aseg_bench.errors import InputError


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


def submit_command(
    dataset: Annotated[str, typer.Argument(help="The data set whose server it is for: mvtec_ad_2.")],
    run: Annotated[Path | None, typer.Argument(help="Folder of a finished run on it, with a threshold.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the submission.")] = None,
    method: Annotated[str | None, typer.Option(help="Method of the run, where it has several.")] = None,
    check: Annotated[
        Path | None, typer.Option(help="Only check this folder by the rules of the server; leaves with 1 if it fails.")
    ] = None,
    device: Device = "auto",
    allow_pickle: AllowPickle = False,
    max_gib: MaxGib = 8,
    max_pixels: MaxPixels = None,
    quiet: Quiet = False,
) -> None:
    """Write the maps and masks of the images whose truth only a server has, as it takes them, and check them."""
    from aseg_bench.runs.submission import DATASET, submit
    from aseg_bench.runs.submission_rules import check_submission

    if dataset != DATASET:
        raise InputError(f"no server is known for {dataset}; submissions are written for {DATASET}")
    if check is not None:
        if run is not None or out is not None or method is not None:
            raise InputError("--check reads a folder and writes nothing; leave out the run, --out and --method")
        problems = check_submission(check)
        if not quiet:
            print("\n".join(problems) or f"{check} is as the server wants it")
        if problems:
            raise typer.Exit(1)
        return
    if run is None or out is None:
        raise InputError("name a run and --out FOLDER for its submission, or a folder with --check")
    allow_max_pixels(max_pixels)
    made = submit(run, out, method=method, device=device, limits=limits_in(max_gib, allow_pickle), quiet=quiet)
    if quiet:
        return
    for one in made.converted:
        aps = ("–" if ap is None else f"{100 * ap:.3f}" for ap in (one.pixel_ap, one.pixel_ap_kept))
        print(
            f"{one.category}: {one.n_images} images; {one.n_scores:,} distinct scores became {one.n_kept:,} of "
            f"float16, pixel AP of the public test images {' became '.join(aps)} %"
        )
    print(f"{made.method} for the server: {out}")
    print(
        "\n".join(f"not yet as the server wants it: {text}" for text in made.problems)
        or "checked: as the server wants it"
    )
