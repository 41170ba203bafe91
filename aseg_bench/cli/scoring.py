"""Commands that score maps of other code: eval, merge and audit."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aseg_bench.cli.options import (
    AllowClamped,
    AllowPickle,
    BitDepth,
    Categories,
    DataRoot,
    ImageLevel,
    Maps,
    MapsDataset,
    MaskRuleText,
    MaxGib,
    MaxPixels,
    MetricKeys,
    Mixed,
    NormalFolder,
    ProtocolKey,
    Quiet,
    ReaderKey,
    limits_in,
    names_in,
    reading_in,
)
from aseg_bench.cli.printing import finish
from aseg_bench.errors import InputError, first_few

if TYPE_CHECKING:
    from aseg_bench.runs.evaluation import Evaluation
    from aseg_bench.runs.shard_files import Tallied


def eval_command(
    maps: Maps,
    dataset: MapsDataset = None,
    data_root: DataRoot = None,
    categories: Categories = None,
    normal_folder: NormalFolder = "good",
    bit_depth: BitDepth = 16,
    image_level: ImageLevel = False,
    max_pixels: MaxPixels = None,
    reader: ReaderKey = "auto",
    name: Annotated[str, typer.Option(help="Name of the method in the tables.")] = "maps",
    seed: Annotated[
        int, typer.Option(min=0, help="Seed of the training that made the maps, where reports merge several.")
    ] = 0,
    protocol: ProtocolKey = "exact",
    mask_rule: MaskRuleText = ">0",
    metrics: MetricKeys = None,
    out: Annotated[Path, typer.Option(help="Folder of scores and tables; may be a run's.")] = Path("runs/eval"),
    allow_pickle: AllowPickle = False,
    allow_clamped: AllowClamped = False,
    max_gib: MaxGib = 8,
    keep_going: Annotated[
        bool, typer.Option("--keep-going", help="Score the sound categories, list the others.")
    ] = False,
    mixed: Mixed = False,
    shard: Annotated[
        str | None,
        typer.Option(help="Score a part of all images, as 3/16, into files in --out that `aseg-bench merge` adds up."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Score in so many processes; with --dask, wait for so many workers.")
    ] = None,
    dask: Annotated[
        str | None, typer.Option(help="Score on a Dask cluster: address of its scheduler, or the scheduler's file.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Score maps that other code wrote, and write the same tables as `run`."""
    from aseg_bench.runs.evaluation import evaluate, evaluate_shard
    from aseg_bench.runs.sources import Source

    keys = names_in("--metrics", metrics)
    if shard and (workers or dask or keep_going or mixed):
        raise InputError("--shard does not go together with --workers, --dask, --keep-going or --mixed")
    source = Source(
        maps=maps,
        dataset=dataset,
        data_root=data_root,
        categories=names_in("--categories", categories),
        reader=reader,
        mask_rule=mask_rule,
        limits=limits_in(max_gib, allow_pickle),
        allow_clamped=allow_clamped,
        reading=reading_in(normal_folder, bit_depth, image_level, max_pixels),
    )
    if shard is not None:
        done = evaluate_shard(
            source, shard, out=out, name=name, seed=seed, protocol=protocol, metrics=keys, quiet=quiet
        )
        if not quiet:
            print(f"written: {done.path}\n{_what_next(done, out)}")
        return
    evaluated = evaluate(
        source.maps,
        out=out,
        name=name,
        seed=seed,
        dataset=source.dataset,
        data_root=source.data_root,
        categories=source.categories,
        reader=source.reader,
        protocol=protocol,
        mask_rule=source.mask_rule,
        metrics=keys,
        limits=source.limits,
        allow_clamped=source.allow_clamped,
        reading=source.reading,
        keep_going=keep_going,
        mixed=mixed,
        workers=workers,
        dask=dask,
        quiet=quiet,
    )
    _show(evaluated, name, keys, mixed, quiet)


def merge_command(
    parts: Annotated[list[Path], typer.Argument(help="Files of shards, or folders of them, in any order.")],
    out: Annotated[Path, typer.Option(help="Folder of scores and tables; may be a run's.")] = Path("runs/eval"),
    mixed: Mixed = False,
    quiet: Quiet = False,
) -> None:
    """Add up what all shards of an `eval` have left: the scores of one process, to the last bit."""
    from aseg_bench.runs.evaluation import merge

    plan, evaluated = merge(parts, out=out, mixed=mixed)
    _show(evaluated, plan.method, plan.metrics, mixed, quiet)


def _what_next(done: "Tallied", out: Path) -> str:
    if not done.missing:
        return f"all shards are done; next: aseg-bench merge {out}"
    what = f"aseg-bench merge {out}" if done.is_last_round else "the same command once more"
    return f"next, when the other shards have left {first_few(done.missing)}: {what}"


def _show(evaluated: "Evaluation", name: str, keys: Sequence[str] | None, mixed: bool, quiet: bool) -> None:
    from aseg_bench.reporting.report import PAGE

    for text in evaluated.failures:
        print(f"warning: {text}", file=sys.stderr)
    has_page = (evaluated.results.folder.report / PAGE).is_file()  # of a run, which its maps and figures go into again
    finish(evaluated.results, page=has_page, mixed=mixed, quiet=quiet, methods=[name], metrics=keys)


def audit_command(
    maps: Annotated[list[Path], typer.Argument(help="Files or folders of maps, or their URLs, one per method.")],
    dataset: MapsDataset = None,
    data_root: DataRoot = None,
    categories: Categories = None,
    normal_folder: NormalFolder = "good",
    bit_depth: BitDepth = 16,
    image_level: ImageLevel = False,
    max_pixels: MaxPixels = None,
    reader: ReaderKey = "auto",
    protocols: Annotated[
        str, typer.Option(help="Presets to compare with `exact`, separated by commas, or all.")
    ] = "all",
    mask_rule: MaskRuleText = ">0",
    out: Annotated[Path, typer.Option(help="Folder of the audit.")] = Path("runs/audit"),
    allow_pickle: AllowPickle = False,
    allow_clamped: AllowClamped = False,
    max_gib: MaxGib = 8,
    quiet: Quiet = False,
) -> None:
    """Score the same maps under many protocols, and say which setting moves each number."""
    from aseg_bench.reporting.audit import audit

    made = audit(
        maps,
        out=out,
        dataset=dataset,
        data_root=data_root,
        categories=names_in("--categories", categories),
        reader=reader,
        protocols=None if protocols == "all" else names_in("--protocols", protocols),
        mask_rule=mask_rule,
        limits=limits_in(max_gib, allow_pickle),
        allow_clamped=allow_clamped,
        reading=reading_in(normal_folder, bit_depth, image_level, max_pixels),
        quiet=quiet,
    )
    if not quiet:
        print(made.to_markdown())
        for text in made.findings:
            print(text)
        print("written: " + "   ".join(map(str, made.paths)))
