"""Commands that use a trained model: predict and export."""

from pathlib import Path
from typing import Annotated

import typer

from aseg_bench.cli.options import Checkpoint, Device, Quiet


def predict_command(
    images: Annotated[list[Path], typer.Argument(help="Pictures, or folders of them.")],
    checkpoint: Checkpoint,
    out: Annotated[Path, typer.Option(help="Folder of maps and overlays.")],
    levels: Annotated[bool, typer.Option("--levels", help="Keep the maps of the single levels, too.")] = False,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Map any pictures with a trained model: TIFF maps in the pictures' sizes, and overlays."""
    from aseg_bench.training.pictures import predict

    made = predict(checkpoint, images, out, levels=levels, device=device, quiet=quiet)
    if not quiet:
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
