"""The command line: one command, one function; the work is done in the rooms.

A command imports its rooms when it runs, so that ``--help`` and ``--version`` wait for none of them.
"""

import errno
import sys
import warnings
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from aseg_bench import __version__
from aseg_bench.errors import AsegBenchError, InputError

if TYPE_CHECKING:
    from aseg_bench.records import Sample, Score
    from aseg_bench.reporting import Table

app = typer.Typer(
    name="aseg-bench",
    help="Benchmarks image anomaly segmentation: exact pixel metrics, live models, and the tables a paper prints.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="markdown",
)
console = Console()
_FULL_OR_FORBIDDEN = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS}  # no bug of ours

Out = Annotated[Path, typer.Option("--out", help="Folder of the run; an interrupted run goes on there.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bars, no tables; files and errors only.")]
Mixed = Annotated[bool, typer.Option("--mixed", help="Tables may mix protocols; their rows are marked.")]
DataRoot = Annotated[Path | None, typer.Option(help="Where the data set lies.")]
Categories = Annotated[str | None, typer.Option(help="Take only these, separated by commas.")]

Maps = Annotated[Path, typer.Argument(help="File or folder of anomaly maps.")]
MapsDataset = Annotated[
    str | None,
    typer.Option("--dataset", help="Key from `aseg-bench datasets`; not needed where masks travel with maps."),
]
ReaderKey = Annotated[str, typer.Option("--reader", help="auto, or a key from `aseg-bench readers`.")]
ProtocolKey = Annotated[str, typer.Option(help="Key from `aseg-bench protocols`: how maps and truth are compared.")]
AllowPickle = Annotated[
    bool, typer.Option("--allow-pickle", help="Read formats that need pickle: arrays and plain containers only.")
]
AllowClamped = Annotated[bool, typer.Option("--allow-clamped", help="Score anomalib's clamped maps as they are.")]
MaxGib = Annotated[float, typer.Option(min=0.001, help="Largest array or file, in GiB, that a dump may hold.")]

Preset = Annotated[str, typer.Option(help="Settings of the methods: cpu, paper, ...")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="METHOD.FIELD=VALUE replaces one setting; may be repeated.")
]
MaxMinutes = Annotated[
    float | None, typer.Option(min=0.01, help="Stop each training after this time; the last state is used.")
]
BackboneName = Annotated[str | None, typer.Option(help="Any timm feature extractor, in place of the preset's.")]
BackboneWeights = Annotated[Path | None, typer.Option(help="State dict of the backbone.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
Precision = Annotated[str, typer.Option(help="auto (bf16-mixed where CUDA has it), 32-true or bf16-mixed.")]
Devices = Annotated[int, typer.Option(min=1, help="Processes of distributed training.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Compute finished methods again.")]
Checkpoint = Annotated[Path, typer.Option(help="Of a training: RUN/training/METHOD/DATASET/checkpoint.pt.")]


def main() -> None:
    """Run the command line; a user's error is one line and exit code 2."""
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            app()
    except AsegBenchError as error:
        Console(stderr=True, soft_wrap=True, highlight=False).print("[red]error:[/red]", end=" ")
        print(error, file=sys.stderr)
        sys.exit(2)
    except ModuleNotFoundError as error:  # only models need more than what is always installed
        print(f"error: this needs the package {error.name}: pip install 'aseg-bench[models]'", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        if error.errno not in _FULL_OR_FORBIDDEN:
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def _show_warning(message: Warning | str, *place: object, **stream: object) -> None:
    print(f"warning: {message}", file=sys.stderr)


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
    methods: Annotated[
        str, typer.Option(help="Names from `aseg-bench methods`, separated by commas; NAME=maps:PATH reads maps.")
    ],
    dataset: Annotated[str, typer.Option(help="Key from `aseg-bench datasets`.")] = "demo",
    data_root: DataRoot = None,
    categories: Categories = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the run, runs/DATASET if not given; an interrupted run goes on there."),
    ] = None,
    preset: Preset = "cpu",
    settings: Settings = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of every random draw.")] = 0,
    max_minutes: MaxMinutes = None,
    backbone: BackboneName = None,
    backbone_weights: BackboneWeights = None,
    device: Device = "auto",
    precision: Precision = "auto",
    devices: Devices = 1,
    protocol: ProtocolKey = "exact",
    half: Annotated[bool, typer.Option("--half", help="Keep maps as float16.")] = False,
    overwrite: Overwrite = False,
    mixed: Mixed = False,
    quiet: Quiet = False,
) -> None:
    """Train methods, map the test images, score every pixel and print the tables."""
    from aseg_bench.methods import MethodOptions
    from aseg_bench.runner import RunPlan, run

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
    names, maps = _methods(methods)
    plan = RunPlan(
        methods=names,
        dataset=dataset,
        out=out or Path("runs") / dataset,
        data_root=data_root,
        categories=_names(categories),
        options=options,
        settings=_settings(settings or ()),
        protocol=protocol,
        half=half,
        overwrite=overwrite,
        mixed=mixed,
        maps=maps,
    )
    try:
        scores = run(plan)
    except KeyboardInterrupt:
        again = "the same command without --overwrite" if overwrite else "the same command"
        print(f"stopped; {plan.out} keeps what is finished, and {again} goes on from there", file=sys.stderr)
        raise typer.Exit(130) from None
    if not quiet:
        _print_tables(scores, plan.out, mixed)


@app.command("eval", epilog="Example: `aseg-bench eval dump/ --name patchcore --dataset mvtec_ad --data-root ~/mvtec`")
def eval_command(
    maps: Maps,
    dataset: MapsDataset = None,
    data_root: DataRoot = None,
    categories: Categories = None,
    reader: ReaderKey = "auto",
    name: Annotated[str, typer.Option(help="Name of the method in the tables.")] = "maps",
    protocol: ProtocolKey = "exact",
    metrics: Annotated[
        str | None, typer.Option(help="Keys in place of the usual nine: dsc,dsc_anomalous,dsc_pooled,pixel_f1_max, ...")
    ] = None,
    out: Out = Path("runs/eval"),
    allow_pickle: AllowPickle = False,
    allow_clamped: AllowClamped = False,
    max_gib: MaxGib = 8,
    keep_going: Annotated[
        bool, typer.Option("--keep-going", help="Score the sound categories, list the others.")
    ] = False,
    mixed: Mixed = False,
    quiet: Quiet = False,
) -> None:
    """Score maps that other code wrote, and write the same tables as `run`."""
    from aseg_bench.dumps import score_dump
    from aseg_bench.predictions.imported import import_maps
    from aseg_bench.predictions.records import Limits
    from aseg_bench.progress import progress_bar
    from aseg_bench.protocols import find_protocol
    from aseg_bench.runner import keep_scores

    rules = find_protocol(protocol)
    imported = import_maps(
        maps,
        _test_samples(dataset, data_root),
        categories=_names(categories),
        reader=reader,
        limits=Limits(max_bytes=int(max_gib * 2**30), allow_pickle=allow_pickle),
        allow_clamped=allow_clamped,
    )
    with progress_bar(quiet) as bar:
        task = bar.add_task("scoring", total=len(imported.found), note="")
        scored = score_dump(
            imported,
            name,
            protocols=[rules],
            metrics=_names(metrics),
            keep_going=keep_going,
            tell=lambda note: bar.update(task, advance=1, note=note),
        )
    for text in (*scored.warnings, *scored.failures):
        print(f"warning: {text}", file=sys.stderr)
    scores = keep_scores(out, scored.scores, mixed=mixed)
    if not quiet:
        _print_tables(scores, out, mixed)


@app.command("audit", epilog="Example: `aseg-bench audit result_eval_temp/ --protocols exact,uniad,ader`")
def audit_command(
    maps: Annotated[list[Path], typer.Argument(help="Files or folders of maps, one per method.")],
    dataset: MapsDataset = None,
    data_root: DataRoot = None,
    categories: Categories = None,
    reader: ReaderKey = "auto",
    protocols: Annotated[
        str, typer.Option(help="Presets to compare with `exact`, separated by commas, or all.")
    ] = "all",
    out: Annotated[Path, typer.Option("--out", help="Folder of the audit.")] = Path("runs/audit"),
    allow_pickle: AllowPickle = False,
    allow_clamped: AllowClamped = False,
    max_gib: MaxGib = 8,
    quiet: Quiet = False,
) -> None:
    """Score the same maps under many protocols, and say which setting moves each number."""
    from aseg_bench.audit import as_markdown, audit, write_audit
    from aseg_bench.predictions.imported import import_maps
    from aseg_bench.predictions.records import Limits
    from aseg_bench.progress import progress_bar
    from aseg_bench.protocols import PROTOCOLS, find_protocol

    names = list(PROTOCOLS) if protocols == "all" else list(_names(protocols) or ())
    rules = [find_protocol(key) for key in names]
    samples = _test_samples(dataset, data_root)
    limits = Limits(max_bytes=int(max_gib * 2**30), allow_pickle=allow_pickle)
    dumps = [
        import_maps(
            path,
            samples,
            categories=_names(categories),
            reader=reader,
            limits=limits,
            allow_clamped=allow_clamped,
        )
        for path in maps
    ]
    labels = [path.stem for path in maps]
    if len(set(labels)) < len(labels):
        labels = [str(path) for path in maps]
    deviations = []
    with progress_bar(quiet) as bar:
        task = bar.add_task("auditing", total=sum(len(dump.found) for dump in dumps), note="")
        for label, dump in zip(labels, dumps, strict=True):
            deviations += audit(dump, label, protocols=rules, tell=lambda note: bar.update(task, advance=1, note=note))
    paths = write_audit(out, deviations)
    if not quiet:
        print(as_markdown(deviations))
        console.print("written: " + "   ".join(str(path) for path in paths), highlight=False)


@app.command("report", epilog="Example: `aseg-bench report runs/seed0 runs/seed1 --out runs/report`")
def report_command(
    runs: Annotated[list[Path] | None, typer.Argument(help="Folders of finished runs; seeds are merged.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the report; of one run, RUN/report.")] = None,
    tables: Annotated[str | None, typer.Option(help="Of 1, 2, 3, 4, 5 and categories, separated by commas.")] = None,
    formats: Annotated[str, typer.Option("--format", help="Of md, tex, html and csv.")] = "md,tex,html,csv",
    paper: Annotated[bool, typer.Option("--paper", help="The source paper's own Tables 1-5, recomputed.")] = False,
    page: Annotated[bool, typer.Option(help="Draw figures and build report.html.")] = True,
    mixed: Annotated[
        bool, typer.Option("--mixed", help="Accept several protocols or sets of images; tables only.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Print and write tables, diagnosis, figures and page of finished runs, or the source paper's tables."""
    from aseg_bench.methods import find_methods
    from aseg_bench.report import paper_report, write_report, write_run_report
    from aseg_bench.results import read_results
    from aseg_bench.runner import REPORT, dataset_labels

    if bool(runs) == paper:
        raise InputError("name one or several runs, or give --paper")
    if paper:
        made = paper_report(_names(tables))
        paths = write_report(out, made, _names(formats) or ()) if out else []
    else:
        read = read_results(runs or (), mixed)
        if out is None and len(read) > 1:
            raise InputError("several runs make one report; say where with --out FOLDER")
        made, paths = write_run_report(
            out or read[0].folder / REPORT,
            read,
            methods=find_methods(),
            datasets=dataset_labels(),
            tables=_names(tables),
            formats=_names(formats) or (),
            page=page and not mixed,
            mixed=mixed,
        )
    if not quiet:
        _print_report(made.tables, made.findings, paths)


@app.command("compare", epilog="Example: `aseg-bench compare runs/demo --methods uni_as,uniad`")
def compare_command(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run with its maps.")],
    methods: Annotated[str | None, typer.Option(help="Two or more, separated by commas; all without it.")] = None,
    replicates: Annotated[int, typer.Option(min=100, help="Resampled sets of images.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the resampling.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Folder of the files; RUN/report without it.")] = None,
    quiet: Quiet = False,
) -> None:
    """Intervals and paired tests of pixel metrics over images, and rank tests over categories."""
    from aseg_bench.methods import find_methods
    from aseg_bench.report import compare_run, write_comparison
    from aseg_bench.results import read_results
    from aseg_bench.runner import REPORT, dataset_labels

    (results,) = read_results([run])
    comparison = compare_run(results, _names(methods), n_replicates=replicates, seed=seed, quiet=quiet)
    tables, paths = write_comparison(out or run / REPORT, comparison, find_methods(), dataset_labels())
    if not quiet:
        _print_report(tables, (), paths)


@app.command("published", epilog="Example: `aseg-bench published --method uniad --dataset mvtec --metric pixel_ap`")
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
    from aseg_bench.reporting import terminal
    from aseg_bench.reporting.published import published, published_table, write_published

    found = published(method, dataset, None if category == "all" else category, metric, setting, source)
    if out:
        write_published(out, found)
    else:
        console.print(terminal(published_table(found)))


@app.command("ablate", epilog="Example: `aseg-bench ablate levels --dataset mvtec_ad --data-root ~/mvtec`")
def ablate_command(
    what: Annotated[
        str, typer.Argument(help="components: train the lines of Table 4; levels: combine one model's levels, Table 5.")
    ],
    method: Annotated[str, typer.Option(help="The method to take apart.")] = "uni_as",
    dataset: Annotated[str, typer.Option(help="Key from `aseg-bench datasets`.")] = "demo",
    data_root: DataRoot = None,
    categories: Categories = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of all runs and tables; runs/ablation_WHAT without it.")
    ] = None,
    preset: Preset = "cpu",
    settings: Settings = None,
    seeds: Annotated[str, typer.Option(help="One or several, separated by commas.")] = "0",
    levels: Annotated[
        str | None, typer.Option(help="Sets of levels, like 4;4,3;4,3,2,1; the paper's without it.")
    ] = None,
    max_minutes: MaxMinutes = None,
    backbone: BackboneName = None,
    backbone_weights: BackboneWeights = None,
    device: Device = "auto",
    precision: Precision = "auto",
    devices: Devices = 1,
    protocol: ProtocolKey = "exact",
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Take a method apart: Table 4 (components) or Table 5 (levels) beside the paper's numbers."""
    from aseg_bench.ablation import PAPER_LEVELS, ablate_components, ablate_levels, parse_levels, parse_seeds
    from aseg_bench.methods import MethodOptions
    from aseg_bench.runner import RunPlan

    if what not in {"components", "levels"}:
        raise InputError(f"ablate {what}: choose components or levels")
    if levels and what == "components":
        raise InputError("--levels belongs to `aseg-bench ablate levels`")
    plan = RunPlan(
        methods=[method],
        dataset=dataset,
        out=out or Path("runs") / f"ablation_{what}",
        data_root=data_root,
        categories=_names(categories),
        options=MethodOptions(
            device=device,
            precision=precision,
            n_devices=devices,
            backbone=backbone,
            backbone_weights=backbone_weights,
            max_minutes=max_minutes,
            preset=preset,
            quiet=quiet,
        ),
        settings=_settings(settings or ()),
        protocol=protocol,
        overwrite=overwrite,
    )
    if what == "components":
        tables = ablate_components(plan, parse_seeds(seeds))
    else:
        tables = ablate_levels(plan, parse_seeds(seeds), parse_levels(levels) if levels else PAPER_LEVELS)
    if not quiet:
        _print_report(tables, (), [plan.out / "tables.md"])


@app.command("predict", epilog="Example: `aseg-bench predict photos/ --checkpoint checkpoint.pt --out maps`")
def predict_command(
    images: Annotated[list[Path], typer.Argument(help="Pictures, or folders of them.")],
    checkpoint: Checkpoint,
    out: Annotated[Path, typer.Option(help="Folder of maps and overlays.")],
    levels: Annotated[bool, typer.Option("--levels", help="Keep the maps of the single levels, too.")] = False,
    method: Annotated[str, typer.Option(help="The method that was trained.")] = "uni_as",
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Map any pictures with a trained model: TIFF maps in the pictures' sizes, and overlays."""
    from aseg_bench.methods import load_trained
    from aseg_bench.pictures import picture_maps

    count = picture_maps(load_trained(method, checkpoint, device), images, out, levels, quiet)
    if not quiet:
        console.print(f"maps and overlays of {count} pictures: {out}", highlight=False)


@app.command("export", epilog="Example: `aseg-bench export --checkpoint checkpoint.pt --out model.onnx`")
def export_command(
    checkpoint: Checkpoint,
    out: Annotated[Path, typer.Option(help="The ONNX file.")],
    method: Annotated[str, typer.Option(help="The method that was trained.")] = "uni_as",
) -> None:
    """Write a trained model as ONNX: RGB images (batch, 3, S, S) in [0, 255] to maps (batch, S, S)."""
    from aseg_bench.methods import load_trained

    load_trained(method, checkpoint, "cpu").export(out)
    console.print(f"written: {out}", highlight=False)


@app.command("methods", epilog="Example: `aseg-bench methods --show uni_as`")
def methods_command(
    show: Annotated[str | None, typer.Option(help="Print all that is known of one method.")] = None,
) -> None:
    """List the methods: live models, and those whose maps can be read."""
    from tabulate import tabulate

    from aseg_bench.methods import find_method, find_methods

    if show:
        facts = find_method(show)
        print(tabulate([(item.name, getattr(facts, item.name)) for item in fields(facts)[:-5]], tablefmt="plain"))
        if facts.dump:
            print(f"\n{facts.dump.strip()}")
        for name, preset in facts.presets().items() if facts.presets else ():
            print(f"\npreset {name}")
            print(tabulate(asdict(preset).items(), tablefmt="plain"))
        return
    rows = [
        (
            *(facts.name, facts.label, facts.venue, "live" if facts.build else "maps"),
            *(facts.reader, facts.protocol, facts.published),
        )
        for facts in find_methods().values()
    ]
    headers = ["name", "method", "venue", "live or maps", "reader", "protocol", "published as"]
    print(tabulate(rows, headers=headers, missingval="-"))


@app.command("datasets")
def datasets_command() -> None:
    """List the data sets."""
    from tabulate import tabulate

    from aseg_bench.datasets import DATASETS

    rows = [
        (data.key, data.label, "--data-root" if data.needs_root else "-", data.summary) for data in DATASETS.values()
    ]
    print(tabulate(rows, headers=["key", "data set", "needs", "what it is"], maxcolwidths=[None, None, None, 72]))


@app.command("readers")
def readers_command() -> None:
    """List the layouts of anomaly maps that can be read."""
    from tabulate import tabulate

    from aseg_bench.predictions.readers import find_readers

    rows = [(reader.key, reader.summary) for reader in find_readers().values()]
    print(tabulate(rows, headers=["reader", "what it reads"]))


@app.command("protocols")
def protocols_command() -> None:
    """List the named protocols: how each system of the field compares maps with the truth."""
    from tabulate import tabulate

    from aseg_bench.protocols import PROTOCOLS

    rows = [(protocol.name, protocol.summary) for protocol in PROTOCOLS.values()]
    print(tabulate(rows, headers=["protocol", "what it does"], maxcolwidths=[None, 100]))


def _names(text: str | None) -> tuple[str, ...] | None:
    return tuple(name.strip() for name in text.split(",") if name.strip()) if text is not None else None


def _methods(text: str) -> tuple[list[str], dict[str, Path]]:
    """Names in order, and the paths of those whose maps are read: ``uni_as,patchcore=maps:dump``."""
    names, maps = [], {}
    for item in _names(text) or ():
        name, equals, source = item.partition("=")
        if equals:
            kind, _, path = source.partition(":")
            if kind != "maps" or not path:
                raise InputError(f"--methods {item} is not NAME or NAME=maps:PATH, for instance patchcore=maps:dump/")
            maps[name] = Path(path)
        names.append(name)
    return names, maps


def _print_tables(scores: "Sequence[Score]", out: Path, mixed: bool = False) -> None:
    from aseg_bench.methods import find_methods
    from aseg_bench.reporting import report_tables, terminal
    from aseg_bench.runner import REPORT, SCORES, dataset_labels

    tables = report_tables([scores], methods=find_methods(), datasets=dataset_labels(), mixed=mixed)
    for table in tables:
        if table.key.startswith("table"):  # the paper's; the categories are in the report
            console.print(terminal(table))
    console.print(f"scores: {out / SCORES}   report: {out / REPORT}", highlight=False)


def _print_report(tables: "Sequence[Table]", findings: Sequence[str], paths: Sequence[Path]) -> None:
    from aseg_bench.reporting import terminal

    for table in tables:
        console.print(terminal(table))
    for text in findings:
        console.print(text, markup=False, highlight=False)
    for path in paths:
        console.print(path, highlight=False)


def _test_samples(dataset: str | None, root: Path | None) -> "list[Sample] | None":
    from aseg_bench.runner import find_samples

    if dataset is None:
        if root is not None:
            raise InputError("--data-root needs --dataset")
        return None
    return [sample for sample in find_samples(dataset, root) if sample.split == "test"]


def _settings(texts: Sequence[str]) -> dict[str, dict[str, str]]:
    settings: dict[str, dict[str, str]] = {}
    for text in texts:
        place, equals, value = text.partition("=")
        method, dot, name = place.partition(".")
        if not (equals and dot and method and name):
            raise InputError(f"--set {text} is not METHOD.FIELD=VALUE, for instance uni_as.n_steps=1000")
        settings.setdefault(method, {})[name] = value
    return settings
