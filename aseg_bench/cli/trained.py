"""Commands that use a trained model: predict and export."""

from pathlib import Path
from typing import Annotated

import typer

from aseg_bench.cli.options import Checkpoint, Device, MaxPixels, Quiet
from aseg_bench.errors import first_few


def predict_command(
    images: Annotated[list[Path], typer.Argument(help="Pictures, or folders of them, or their URLs.")],
    checkpoint: Checkpoint,
    out: Annotated[Path, typer.Option(help="Folder of maps, overlays and tables.")],
    threshold: Annotated[
        float | None, typer.Option(help="Write masks and regions of the pixels that score above this.")
    ] = None,
    threshold_from: Annotated[
        str | None,
        typer.Option(
            help="run or run:CATEGORY, what the run has found (the default where it has); normal:RULE or normal:0.999, "
            "a rule or quantile of the scores of normal pictures."
        ),
    ] = None,
    normal: Annotated[
        list[Path] | None,
        typer.Option(help="These normal pictures, or a folder of them; by default the normal test images of the run."),
    ] = None,
    bit_depth: Annotated[
        int | None,
        typer.Option(
            min=9,
            max=16,
            help="Bits of the camera; by default as the run of the checkpoint read its images.",
        ),
    ] = None,
    max_pixels: MaxPixels = None,
    levels: Annotated[bool, typer.Option("--levels", help="Keep the maps of the single levels, too.")] = False,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Map any pictures with a trained model: maps in the pictures' sizes, overlays, and masks at a threshold."""
    from aseg_bench.images import allow_pixels
    from aseg_bench.runs.pictures import PASSED_OVER, predict

    if max_pixels is not None:
        allow_pixels(max_pixels)
    made = predict(
        checkpoint,
        images,
        out,
        threshold=threshold,
        threshold_from=threshold_from,
        normal=normal or (),
        bit_depth=bit_depth,
        levels=levels,
        device=device,
        quiet=quiet,
    )
    if quiet:
        return
    others = made.attrs[PASSED_OVER]
    if others:
        print(f"passed over, as they are not pictures: {len(others)} files, {first_few(others)}")
    if made["threshold"].notna().any():
        n_anomalous = sum(made["anomalous_pixels"] > 0)
        print(f"above {made['threshold'].iloc[0]:.6g}: pixels of {n_anomalous} of {len(made)} pictures")
    print(f"maps and overlays of {len(made)} pictures: {out}")


def export_command(
    checkpoint: Checkpoint,
    out: Annotated[Path, typer.Option(help="The ONNX file.")],
) -> None:
    """Write a trained model as ONNX: RGB images (B, 3, H, W) in [0, 255] to maps (B, H, W), for any B.

    A model with tiles is written for one tile; the file says how to cut pictures and join maps.
    """
    from aseg_bench.files import make_place
    from aseg_bench.training.trained import TrainedModel

    make_place(out)
    model = TrainedModel.from_checkpoint(checkpoint, "cpu")
    model.export(out)
    tiles = f" (one of {model.tiling.n_tiles} tiles; its metadata say how to cut and join)"
    print(f"written: {out}{tiles if model.tiling.n_tiles > 1 else ''}")
