"""Commands that print what is known: report, compare and published."""

from pathlib import Path
from typing import Annotated

import typer

from aseg_bench.cli.options import Page, Quiet, names_in
from aseg_bench.cli.printing import console, print_report
from aseg_bench.errors import InputError


def report_command(
    runs: Annotated[
        list[Path] | None, typer.Argument(help="Folders of finished runs, whose seeds are merged, or of an ablation.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the report; of one run, RUN/report.")] = None,
    tables: Annotated[
        str | None, typer.Option(help="Of 1 to 5 and categories, separated by commas; 4 and 5 are of ablations.")
    ] = None,
    formats: Annotated[str, typer.Option("--format", help="Of md, tex, html and csv.")] = "md,tex,html,csv",
    paper: Annotated[
        bool, typer.Option("--paper", help="The source paper's own Tables 1-5, recomputed; published inflation.")
    ] = False,
    page: Page = True,
    mixed: Annotated[
        bool, typer.Option("--mixed", help="Accept several protocols or sets of images; tables only.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Print and write tables, diagnosis, figures and page of finished runs; or an ablation's tables, or the paper's."""
    from aseg_bench.ablation import ablation_report, is_ablation
    from aseg_bench.files import make_folder
    from aseg_bench.methods import find_methods
    from aseg_bench.progress import working
    from aseg_bench.reporting.figures import write_published_figures
    from aseg_bench.reporting.report import paper_report, write_report, write_run_report
    from aseg_bench.runs.results import read_results
    from aseg_bench.runs.runner import REPORT, dataset_labels

    wanted, kinds = names_in("--tables", tables), names_in("--format", formats) or ()
    if bool(runs) == paper:
        raise InputError("name one or several runs, or give --paper")
    ablations = [run for run in runs or () if is_ablation(run)]
    if ablations and len(runs or ()) > 1:
        raise InputError(f"{ablations[0]} is an ablation; report on it by itself")
    if ablations:
        made = ablation_report(ablations[0], wanted)
        make_folder(out or ablations[0])
        paths = write_report(out or ablations[0], made, kinds)
    elif paper:
        made = paper_report(wanted)
        if out:
            make_folder(out)
        paths = write_report(out, made, kinds) if out else []
        if out and page:
            with working("drawing the published numbers", quiet):
                paths += [path for figure in write_published_figures(out / "figures") for path in figure.paths[:1]]
    else:
        read = read_results(runs or (), mixed)
        if out is None and len(read) > 1:
            raise InputError("several runs make one report; say where with --out FOLDER")
        make_folder(out or read[0].folder / REPORT)
        with working("writing the report", quiet):
            made, paths = write_run_report(
                out or read[0].folder / REPORT,
                read,
                methods=find_methods(),
                datasets=dataset_labels(score for run in read for score in run.scores),
                tables=wanted,
                formats=kinds,
                page=page and not mixed,
                mixed=mixed,
            )
    if not quiet:
        print_report(made.tables, made.findings, paths)


def compare_command(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run with its maps.")],
    methods: Annotated[str | None, typer.Option(help="Two or more, separated by commas; all without it.")] = None,
    replicates: Annotated[int, typer.Option(min=100, help="Resampled sets of images.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the resampling.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Folder of the files; RUN/report without it.")] = None,
    quiet: Quiet = False,
) -> None:
    """Intervals and paired tests of pixel metrics over images, and rank tests over categories."""
    from aseg_bench.files import make_folder
    from aseg_bench.methods import find_methods
    from aseg_bench.reporting.report import compare_run, write_comparison
    from aseg_bench.runs.results import read_results
    from aseg_bench.runs.runner import REPORT, dataset_labels

    chosen = names_in("--methods", methods)
    (results,) = read_results([run])
    make_folder(out or run / REPORT)
    comparison = compare_run(results, chosen, n_replicates=replicates, seed=seed, quiet=quiet)
    tables, paths = write_comparison(out or run / REPORT, comparison, find_methods(), dataset_labels(results.scores))
    if not quiet:
        print_report(tables, (), paths)


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
