"""Commands that print what is known: report, compare and published."""

from pathlib import Path
from typing import Annotated

import typer

from aseg_bench.cli.options import MaxPixels, Page, Quiet, allow_max_pixels, names_in
from aseg_bench.cli.printing import console, print_report
from aseg_bench.errors import InputError


def report_command(
    runs: Annotated[
        list[Path] | None, typer.Argument(help="Folders of finished runs, whose seeds are merged, or of an ablation.")
    ] = None,
    names: Annotated[
        str | None, typer.Option("--as", help="A name for each run's method, in order, separated by commas.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the report; RUN/report for a single run, else report beside the first."),
    ] = None,
    tables: Annotated[
        str | None,
        typer.Option(
            help="Any of 1 to 5, robustness, cost, areas and categories, separated by commas; 4 and 5 need an ablation."
        ),
    ] = None,
    formats: Annotated[str, typer.Option("--format", help="Any of md, tex, html and csv.")] = "md,tex,html,csv",
    paper: Annotated[
        bool, typer.Option("--paper", help="The source paper's own Tables 1-5, recomputed; published inflation.")
    ] = False,
    page: Page = True,
    max_pixels: MaxPixels = None,
    mixed: Annotated[
        bool, typer.Option("--mixed", help="Accept several protocols or sets of images; tables only.")
    ] = False,
    title: Annotated[str | None, typer.Option(help="Heading of the page; the data sets by default.")] = None,
    quiet: Quiet = False,
) -> None:
    """Print and write tables, diagnosis, figures and page of finished runs; or an ablation's tables, or the paper's."""
    from aseg_bench.reporting.ablation import ablation_report
    from aseg_bench.reporting.report import paper_report, report
    from aseg_bench.runs.folder import RunFolder

    allow_max_pixels(max_pixels)
    wanted, kinds = names_in("--tables", tables), names_in("--format", formats) or ()
    if bool(runs) == paper:
        raise InputError("name one or several runs, or give --paper")
    ablations = [run for run in runs or () if RunFolder(run).is_ablation]
    if ablations and len(runs or ()) > 1:
        raise InputError(f"{ablations[0]} is an ablation; report on it by itself")
    if names is not None and (paper or ablations):
        raise InputError("--as names the methods of runs; an ablation and the paper have theirs")
    if paper:
        made = paper_report(wanted, out=out, formats=kinds, page=page, quiet=quiet)
    elif ablations:
        made = ablation_report(ablations[0], wanted, out=out or ablations[0], formats=kinds)
    else:
        given = None if names is None else [name.strip() for name in names.split(",")]
        made = report(
            runs or (),
            names=given,
            out=out,
            tables=wanted,
            formats=kinds,
            page=page,
            mixed=mixed,
            title=title,
            quiet=quiet,
        )
    if not quiet:
        print_report(made.tables, made.findings, made.paths)


def compare_command(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run with its maps.")],
    methods: Annotated[str | None, typer.Option(help="Two or more, separated by commas; all by default.")] = None,
    replicates: Annotated[int, typer.Option(min=100, help="Number of resampled sets of images.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the resampling.")] = 0,
    max_pixels: MaxPixels = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the files; RUN/report by default.")] = None,
    quiet: Quiet = False,
) -> None:
    """Intervals and paired tests of pixel metrics over images, and rank tests over categories."""
    from aseg_bench.reporting.comparison import compare

    allow_max_pixels(max_pixels)
    chosen = names_in("--methods", methods)
    compared = compare(run, chosen, n_replicates=replicates, seed=seed, out=out, quiet=quiet)
    if not quiet:
        print_report(compared.tables, (), compared.paths)


def published_command(
    method: Annotated[str | None, typer.Option(help="In any spelling.")] = None,
    dataset: Annotated[str | None, typer.Option(help="For instance mvtec or visa.")] = None,
    metric: Annotated[str | None, typer.Option(help="For instance pixel_auroc, pixel_ap, dsc or image_auroc.")] = None,
    category: Annotated[str, typer.Option(help="A category, mean, or all.")] = "mean",
    setting: Annotated[str | None, typer.Option(help="one-for-all or one-for-one.")] = None,
    source: Annotated[str | None, typer.Option(help="Key of a source.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write the numbers to this CSV file, and print no table.")] = None,
) -> None:
    """Look up published numbers: 62 methods, each number with its setting, variant, source and known errors."""
    from aseg_bench.files import make_place
    from aseg_bench.reporting import terminal
    from aseg_bench.reporting.published import published, published_table, write_published

    found = published(method, dataset, None if category == "all" else category, metric, setting, source)
    if out:
        make_place(out)
        write_published(out, found)
    else:
        console.print(terminal(published_table(found)))
