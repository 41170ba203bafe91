"""Commands that score maps of other code: eval and audit."""

import sys
from pathlib import Path
from typing import Annotated

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
    names_in,
    reading_in,
)
from aseg_bench.cli.printing import finish


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
    quiet: Quiet = False,
) -> None:
    """Score maps that other code wrote, and write the same tables as `run`."""
    from aseg_bench.predictions.records import Limits
    from aseg_bench.reporting.report import PAGE
    from aseg_bench.runs.evaluation import evaluate

    keys = names_in("--metrics", metrics)
    evaluated = evaluate(
        maps,
        out=out,
        name=name,
        seed=seed,
        dataset=dataset,
        data_root=data_root,
        categories=names_in("--categories", categories),
        reader=reader,
        protocol=protocol,
        mask_rule=mask_rule,
        metrics=keys,
        limits=Limits(max_bytes=int(max_gib * 2**30), allow_pickle=allow_pickle),
        allow_clamped=allow_clamped,
        reading=reading_in(normal_folder, bit_depth, image_level, max_pixels),
        keep_going=keep_going,
        mixed=mixed,
        quiet=quiet,
    )
    for text in evaluated.failures:
        print(f"warning: {text}", file=sys.stderr)
    has_page = (evaluated.results.folder.report / PAGE).is_file()  # of a run, which its maps and figures go into again
    finish(evaluated.results, page=has_page, mixed=mixed, quiet=quiet, methods=[name], metrics=keys)


def audit_command(
    maps: Annotated[list[Path], typer.Argument(help="Files or folders of maps, one per method.")],
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
    from aseg_bench.predictions.records import Limits
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
        limits=Limits(max_bytes=int(max_gib * 2**30), allow_pickle=allow_pickle),
        allow_clamped=allow_clamped,
        reading=reading_in(normal_folder, bit_depth, image_level, max_pixels),
        quiet=quiet,
    )
    if not quiet:
        print(made.to_markdown())
        for text in made.findings:
            print(text)
        print("written: " + "   ".join(map(str, made.paths)))
