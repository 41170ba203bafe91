"""Commands that train: run and ablate."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from aseg_bench.cli.config import Config, config_text
from aseg_bench.cli.options import (
    AllowClamped,
    AllowPickle,
    BackboneName,
    BackboneWeights,
    BitDepth,
    Categories,
    DataRoot,
    DatasetKey,
    Device,
    Devices,
    ImageLevel,
    LearningCurve,
    LoggerKey,
    MaskRuleText,
    MaxGib,
    MaxMinutes,
    MaxPixels,
    MetricKeys,
    Mixed,
    NormalFolder,
    Overwrite,
    Page,
    Precision,
    Preset,
    ProtocolKey,
    Quiet,
    Settings,
    limits_in,
    methods_in,
    names_in,
    reading_in,
    settings_in,
)
from aseg_bench.cli.printing import finish, print_report
from aseg_bench.cli.stopping import resumable
from aseg_bench.errors import InputError


def run_command(
    context: typer.Context,
    methods: Annotated[
        str,
        typer.Option(
            help="Names from `aseg-bench methods`, separated by commas; NAME=maps:PATH reads maps, "
            "NAME=checkpoint:FILE takes weights in the place of a training."
        ),
    ],
    dataset: DatasetKey = "demo",
    data_root: DataRoot = None,
    categories: Categories = None,
    normal_folder: NormalFolder = "good",
    bit_depth: BitDepth = 16,
    image_level: ImageLevel = False,
    max_pixels: MaxPixels = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the run; runs/DATASET by default. An interrupted run goes on there."),
    ] = None,
    preset: Preset = "cpu",
    settings: Settings = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of every random draw.")] = 0,
    max_minutes: MaxMinutes = None,
    backbone: BackboneName = None,
    backbone_weights: BackboneWeights = None,
    device: Device = "auto",
    precision: Precision = "auto",
    n_devices: Devices = 1,
    protocol: ProtocolKey = "exact",
    mask_rule: MaskRuleText = ">0",
    metrics: MetricKeys = None,
    threshold: Annotated[
        str | None,
        typer.Option(
            help="Rule from `aseg-bench thresholds`: finds on normal images not trained on the threshold of SegF1."
        ),
    ] = None,
    half: Annotated[bool, typer.Option("--half", help="Keep maps as float16.")] = False,
    map_size: Annotated[
        str, typer.Option(help="Size of the maps: the model's, or the image's, as MVTec's evaluation code needs it.")
    ] = "model",
    train_only: Annotated[
        bool, typer.Option("--train-only", help="Stop when the methods are trained; no test images are needed.")
    ] = False,
    logger: LoggerKey = None,
    learning_curve: LearningCurve = False,
    allow_pickle: AllowPickle = False,
    allow_clamped: AllowClamped = False,
    max_gib: MaxGib = 8,
    overwrite: Overwrite = False,
    page: Page = True,
    mixed: Mixed = False,
    keep_going: Annotated[
        bool, typer.Option("--keep-going", help="Note why a method failed, go on with the others, and exit with 2.")
    ] = False,
    quiet: Quiet = False,
    config: Config = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Check everything, say what was found, what would be done and how long it takes."
        ),
    ] = False,
) -> None:
    """Train methods, map the test images, score every pixel; print the tables and write the report."""
    from aseg_bench.methods import MethodOptions
    from aseg_bench.runs.lock import is_helper
    from aseg_bench.runs.plan import RunPlan
    from aseg_bench.runs.readiness import preview
    from aseg_bench.runs.runner import run

    del config  # its callback has read it
    names, maps, checkpoints = methods_in(methods)
    out = out or Path("runs") / dataset
    plan = RunPlan(
        methods=names,
        dataset=dataset,
        out=out,
        config=config_text(context, out),
        data_root=data_root,
        categories=names_in("--categories", categories),
        options=MethodOptions(
            seed=seed,
            device=device,
            precision=precision,
            n_devices=n_devices,
            backbone=backbone,
            backbone_weights=backbone_weights,
            max_minutes=max_minutes,
            preset=preset,
            learning_curve=learning_curve,
            quiet=quiet or is_helper(),
        ),
        settings=settings_in(settings or ()),
        logger=logger,
        protocol=protocol,
        reading=reading_in(normal_folder, bit_depth, image_level, max_pixels),
        train_only=train_only,
        metrics=names_in("--metrics", metrics),
        mask_rule=mask_rule,
        half=half,
        map_size=map_size,
        overwrite=overwrite,
        mixed=mixed,
        maps=maps,
        checkpoints=checkpoints,
        limits=limits_in(max_gib, allow_pickle),
        allow_clamped=allow_clamped,
        keep_going=keep_going,
        threshold=threshold,
    )
    if dry_run:
        texts = preview(plan)
        if not is_helper():
            print("\n".join(texts))
        return
    with resumable(plan.out, overwrite):
        results = run(plan)
        if train_only and not quiet and not is_helper():
            for name in names:
                if not results.folder.record.cases[name, dataset].failed:
                    print(f"trained: {results.folder.training(name, dataset)}")
        elif results.scores:
            scored = [name for name in names if name in results.methods]
            finish(results, page=page, mixed=mixed, quiet=quiet, methods=scored, metrics=plan.metrics)
    if is_helper():
        return
    failed = {name: case.failed for name in names if (case := results.folder.record.cases.get((name, dataset)))}
    for name, reason in failed.items():
        if reason:
            print(f"error: {name} failed: {reason}", file=sys.stderr)
    if any(failed.values()):
        raise typer.Exit(2)


def ablate_command(
    what: Annotated[
        str, typer.Argument(help="components: train the lines of Table 4; levels: combine one model's levels, Table 5.")
    ],
    method: Annotated[str, typer.Option(help="The method to take apart.")] = "uni_as",
    dataset: DatasetKey = "demo",
    data_root: DataRoot = None,
    categories: Categories = None,
    normal_folder: NormalFolder = "good",
    bit_depth: BitDepth = 16,
    image_level: ImageLevel = False,
    max_pixels: MaxPixels = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of all runs and tables; runs/ablation_WHAT by default.")
    ] = None,
    preset: Preset = "cpu",
    settings: Settings = None,
    seeds: Annotated[str, typer.Option(help="One or several, separated by commas.")] = "0",
    levels: Annotated[
        str | None, typer.Option(help="Sets of levels, like 4;4,3;4,3,2,1; the paper's by default.")
    ] = None,
    max_minutes: MaxMinutes = None,
    backbone: BackboneName = None,
    backbone_weights: BackboneWeights = None,
    device: Device = "auto",
    precision: Precision = "auto",
    n_devices: Devices = 1,
    protocol: ProtocolKey = "exact",
    mask_rule: MaskRuleText = ">0",
    logger: LoggerKey = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Take a method apart: Table 4 (components) or Table 5 (levels) beside the paper's numbers."""
    from aseg_bench.methods import MethodOptions
    from aseg_bench.reporting.ablation import ablation_report, write_level_pictures
    from aseg_bench.runs.ablation import PAPER_LEVELS, ablate_components, ablate_levels, parse_levels, parse_seeds
    from aseg_bench.runs.lock import is_helper
    from aseg_bench.runs.plan import RunPlan

    if what not in {"components", "levels"}:
        raise InputError(f"ablate {what}: choose components or levels")
    if levels is not None and what == "components":
        raise InputError("--levels belongs to `aseg-bench ablate levels`")
    sets = PAPER_LEVELS if levels is None else parse_levels(levels)
    plan = RunPlan(
        methods=[method],
        dataset=dataset,
        out=out or Path("runs") / f"ablation_{what}",
        data_root=data_root,
        categories=names_in("--categories", categories),
        options=MethodOptions(
            device=device,
            precision=precision,
            n_devices=n_devices,
            backbone=backbone,
            backbone_weights=backbone_weights,
            max_minutes=max_minutes,
            preset=preset,
            quiet=quiet or is_helper(),
        ),
        settings=settings_in(settings or ()),
        logger=logger,
        protocol=protocol,
        reading=reading_in(normal_folder, bit_depth, image_level, max_pixels),
        mask_rule=mask_rule,
        overwrite=overwrite,
    )
    with resumable(plan.out, overwrite):
        if what == "components":
            ablation = ablate_components(plan, parse_seeds(seeds))
        else:
            ablation = ablate_levels(plan, parse_seeds(seeds), sets)
        if ablation is None:
            return
        if what == "levels":
            write_level_pictures(plan, ablation.seeds)
        made = ablation_report(plan.out)
    if not quiet:
        print_report(made.tables, (), [plan.out / "tables.md"])
