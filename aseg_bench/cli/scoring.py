"""Commands that score maps of other code: eval and audit."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aseg_bench.cli.options import (
    AllowClamped,
    AllowPickle,
    Categories,
    DataRoot,
    Maps,
    MapsDataset,
    MaxGib,
    Mixed,
    ProtocolKey,
    Quiet,
    ReaderKey,
    names_in,
)
from aseg_bench.cli.printing import finish
from aseg_bench.errors import InputError

if TYPE_CHECKING:
    from aseg_bench.records import Sample


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
    out: Annotated[Path, typer.Option(help="Folder of scores and tables; a run's adds to it.")] = Path("runs/eval"),
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
    from aseg_bench.files import make_folder
    from aseg_bench.predictions.imported import OWN_DATASET, import_maps
    from aseg_bench.predictions.records import Limits
    from aseg_bench.progress import progress_bar, working
    from aseg_bench.protocols import find_protocol
    from aseg_bench.records import Case
    from aseg_bench.runs.runner import check_data, check_name, check_tables, data_facts, keep_scores
    from aseg_bench.scoring.dumps import score_dump

    rules = find_protocol(protocol)
    chosen, measured = names_in("--categories", categories), names_in("--metrics", metrics)
    check_name(out, name)
    samples = _samples(dataset, data_root)
    imported = import_maps(
        maps,
        _of_test(samples),
        categories=chosen,
        reader=reader,
        limits=Limits(max_bytes=int(max_gib * 2**30), allow_pickle=allow_pickle),
        allow_clamped=allow_clamped,
    )
    planned = {Case(name, dataset or OWN_DATASET, key): len(found) for key, found in imported.found.items()}
    check_tables(out, planned, rules, mixed=mixed)
    data = {}
    if dataset and samples:
        with working("checking images", quiet):
            data[dataset] = data_facts(data_root, [s for s in samples if chosen is None or s.category in chosen])
        check_data(out, dataset, data[dataset], [name], overwrite=True)
    make_folder(out)
    with progress_bar(quiet) as bar:
        task = bar.add_task("scoring", total=len(imported.found), note="")
        scored = score_dump(
            imported,
            name,
            protocols=[rules],
            metrics=measured,
            keep_going=keep_going,
            tell=lambda note: bar.update(task, advance=1, note=note),
        )
    for text in (*scored.warnings, *scored.failures):
        print(f"warning: {text}", file=sys.stderr)
    keep_scores(out, scored.scores, mixed=mixed, data=data)
    finish(out, page=False, mixed=mixed, quiet=quiet)


def audit_command(
    maps: Annotated[list[Path], typer.Argument(help="Files or folders of maps, one per method.")],
    dataset: MapsDataset = None,
    data_root: DataRoot = None,
    categories: Categories = None,
    reader: ReaderKey = "auto",
    protocols: Annotated[
        str, typer.Option(help="Presets to compare with `exact`, separated by commas, or all.")
    ] = "all",
    out: Annotated[Path, typer.Option(help="Folder of the audit.")] = Path("runs/audit"),
    allow_pickle: AllowPickle = False,
    allow_clamped: AllowClamped = False,
    max_gib: MaxGib = 8,
    quiet: Quiet = False,
) -> None:
    """Score the same maps under many protocols, and say which setting moves each number."""
    from aseg_bench.audit import as_markdown, audit, write_audit
    from aseg_bench.files import make_folder
    from aseg_bench.predictions.imported import import_maps
    from aseg_bench.predictions.records import Limits
    from aseg_bench.progress import progress_bar
    from aseg_bench.protocols import PROTOCOLS, find_protocol

    names = list(PROTOCOLS) if protocols == "all" else list(names_in("--protocols", protocols) or ())
    rules = [find_protocol(key) for key in names]
    chosen = names_in("--categories", categories)
    samples = _of_test(_samples(dataset, data_root))
    limits = Limits(max_bytes=int(max_gib * 2**30), allow_pickle=allow_pickle)
    dumps = [
        import_maps(
            path,
            samples,
            categories=chosen,
            reader=reader,
            limits=limits,
            allow_clamped=allow_clamped,
        )
        for path in maps
    ]
    labels = [path.stem for path in maps]
    if len(set(labels)) < len(labels):
        labels = [str(path) for path in maps]
    make_folder(out)
    deviations = []
    with progress_bar(quiet) as bar:
        task = bar.add_task("auditing", total=sum(len(dump.found) for dump in dumps), note="")
        for label, dump in zip(labels, dumps, strict=True):
            deviations += audit(dump, label, protocols=rules, tell=lambda note: bar.update(task, advance=1, note=note))
    paths = write_audit(out, deviations)
    if not quiet:
        print(as_markdown(deviations))
        print("written: " + "   ".join(map(str, paths)))


def _samples(dataset: str | None, root: Path | None) -> "list[Sample] | None":
    from aseg_bench.runs.runner import find_samples

    if dataset is None:
        if root is not None:
            raise InputError(
                "--data-root needs --dataset KEY, which says what lies there; `aseg-bench datasets` lists them"
            )
        return None
    return find_samples(dataset, root)


def _of_test(samples: "list[Sample] | None") -> "list[Sample] | None":
    return samples and [sample for sample in samples if sample.split == "test"]
