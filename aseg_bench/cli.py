"""The command line: one command, one function; the work is done in the rooms."""

import sys
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from aseg_bench import __version__
from aseg_bench.datasets import DATASETS
from aseg_bench.errors import AsegBenchError, InputError
from aseg_bench.methods import MethodOptions, find_methods
from aseg_bench.reporting import report_tables, terminal
from aseg_bench.runner import REPORT, SCORES, RunPlan, dataset_labels, find_method, run

app = typer.Typer(
    name="aseg-bench",
    help="Benchmarks image anomaly segmentation: exact pixel metrics, live models, and the tables a paper prints.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="markdown",
)
console = Console()

Out = Annotated[Path, typer.Option("--out", help="Folder of the run; an interrupted run goes on there.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bars, no tables; files and errors only.")]
DataRoot = Annotated[Path | None, typer.Option(help="Where the data set lies.")]
Categories = Annotated[str | None, typer.Option(help="Take only these, separated by commas.")]


def main() -> None:
    """Run the command line; a user's error is one line and exit code 2."""
    try:
        app()
    except AsegBenchError as error:
        Console(stderr=True, soft_wrap=True, highlight=False).print("[red]error:[/red]", end=" ")
        print(error, file=sys.stderr)
        sys.exit(2)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"aseg-bench {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    del version


@app.command("run", epilog="Example: `aseg-bench run --methods uni_as,uniad --dataset mvtec_ad --data-root ~/mvtec`")
def run_command(
    methods: Annotated[str, typer.Option(help="Names from `aseg-bench methods`, separated by commas.")],
    dataset: Annotated[str, typer.Option(help="Key from `aseg-bench datasets`.")] = "demo",
    data_root: DataRoot = None,
    categories: Categories = None,
    out: Out = Path("runs/demo"),
    preset: Annotated[str, typer.Option(help="Settings of the methods: cpu, paper, ...")] = "cpu",
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="METHOD.FIELD=VALUE replaces one setting; may be repeated.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of every random draw.")] = 0,
    max_minutes: Annotated[
        float | None, typer.Option(min=0.01, help="Stop each training after this time; the last state is used.")
    ] = None,
    backbone: Annotated[str | None, typer.Option(help="Any timm feature extractor, in place of the preset's.")] = None,
    backbone_weights: Annotated[Path | None, typer.Option(help="State dict of the backbone.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    precision: Annotated[str, typer.Option(help="32-true, bf16-mixed or 16-mixed.")] = "32-true",
    devices: Annotated[int, typer.Option(min=1, help="Processes of distributed training.")] = 1,
    protocol: Annotated[str, typer.Option(help="How maps and truth are compared.")] = "exact",
    half: Annotated[bool, typer.Option("--half", help="Keep maps as float16.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Compute finished methods again.")] = False,
    quiet: Quiet = False,
) -> None:
    """Train methods, map the test images, score every pixel and print the tables."""
    options = MethodOptions(
        seed=seed,
        device=device,
        precision=precision,
        n_devices=devices,
        backbone=backbone,
        backbone_weights=backbone_weights,
        max_minutes=max_minutes,
        preset=preset,
        quiet=quiet,
    )
    plan = RunPlan(
        methods=_names(methods) or (),
        dataset=dataset,
        out=out,
        data_root=data_root,
        categories=_names(categories),
        options=options,
        settings=_settings(settings or ()),
        protocol=protocol,
        half=half,
        overwrite=overwrite,
    )
    try:
        scores = run(plan)
    except KeyboardInterrupt:
        print(f"stopped; {out} keeps what is finished, the same command goes on from there", file=sys.stderr)
        raise typer.Exit(130) from None
    if not quiet:
        for table in report_tables([scores], methods=find_methods(), datasets=dataset_labels()):
            console.print(terminal(table))
        console.print(f"scores: {out / SCORES}   report: {out / REPORT}", highlight=False)


@app.command("methods", epilog="Example: `aseg-bench methods --show uni_as`")
def methods_command(
    show: Annotated[str | None, typer.Option(help="Print all that is known of one method.")] = None,
) -> None:
    """List the methods: live models, and those whose maps can be read."""
    from tabulate import tabulate

    if show:
        facts = find_method(show)
        print(tabulate([(item.name, getattr(facts, item.name)) for item in fields(facts)[:-2]], tablefmt="plain"))
        for name, preset in facts.presets().items() if facts.presets else ():
            print(f"\npreset {name}")
            print(tabulate(asdict(preset).items(), tablefmt="plain"))
        return
    rows = [
        (facts.name, facts.label, facts.venue, "live" if facts.build else "maps", facts.reader, facts.protocol)
        for facts in find_methods().values()
    ]
    print(tabulate(rows, headers=["name", "method", "venue", "live or maps", "reader", "protocol"], missingval="-"))


@app.command("datasets")
def datasets_command() -> None:
    """List the data sets."""
    from tabulate import tabulate

    rows = [
        (data.key, data.label, "--data-root" if data.needs_root else "-", data.summary) for data in DATASETS.values()
    ]
    print(tabulate(rows, headers=["key", "data set", "needs", "what it is"], maxcolwidths=[None, None, None, 72]))


def _names(text: str | None) -> tuple[str, ...] | None:
    return tuple(name.strip() for name in text.split(",") if name.strip()) if text is not None else None


def _settings(texts: Sequence[str]) -> dict[str, dict[str, str]]:
    settings: dict[str, dict[str, str]] = {}
    for text in texts:
        place, equals, value = text.partition("=")
        method, dot, name = place.partition(".")
        if not (equals and dot and method and name):
            raise InputError(f"--set {text} is not METHOD.FIELD=VALUE, for instance uni_as.n_steps=1000")
        settings.setdefault(method, {})[name] = value
    return settings
