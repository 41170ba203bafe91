"""A trained model as an ONNX file that tells how to use it."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from unittest.mock import patch

import torch

from aseg_bench.errors import InputError
from aseg_bench.files import written_whole
from aseg_bench.training.network import Network
from aseg_bench.training.tiles import Tiling

_OPSET = 17


def write_onnx(model: Network, tiling: Tiling, file: Path) -> None:
    """Write a model as ONNX: ``images`` (batch, 3, height, width) to ``maps`` (batch, height, width) of the same size.

    The file's ``metadata_props`` say what the numbers are and how pictures become them.

    Args:
        model: in evaluation mode, on the CPU.
        tiling: what the model takes is one of its tiles.
        file: where to write it; an older one is replaced.

    Raises:
        InputError: the exporter cannot translate what the model computes.
        ModuleNotFoundError: the package ``onnx`` is not installed.
    """
    import onnx

    example = torch.zeros(2, 3, tiling.height, tiling.width)
    with written_whole(file) as temporary:
        try:
            with _silent_exporter():
                torch.onnx.export(
                    model,
                    (example,),
                    str(temporary),
                    dynamo=False,
                    opset_version=_OPSET,
                    input_names=["images"],
                    output_names=["maps"],
                    dynamic_axes={"images": {0: "batch"}, "maps": {0: "batch", 1: "height", 2: "width"}},
                )
            made = onnx.load(str(temporary))
            onnx.helper.set_model_props(made, metadata(tiling))
            onnx.checker.check_model(made)
            onnx.save(made, str(temporary))
        except OSError:  # the disk's fault
            raise
        except Exception as error:  # the exporter and the checker raise many kinds
            reason = next(iter(str(error).splitlines()), "")[:200] or type(error).__name__
            raise InputError(
                f"this model cannot be written as ONNX ({reason}); use the checkpoint with `aseg-bench predict`, or "
                "train with the preset cpu or paper"
            ) from error


def metadata(tiling: Tiling) -> dict[str, str]:
    """What an ONNX file says of itself, in the words of its ``metadata_props``."""
    (height, width), (below, right) = tiling.size, tiling.overlap
    cut = (
        f"resize a picture to {height} x {width} and cut {tiling.rows} x {tiling.columns} tiles, which share {below} "
        f"rows and {right} columns with their neighbours; where maps overlap, their weights pass linearly from one to "
        "the next"
    )
    return {
        "aseg_bench": version("aseg-bench"),
        "input": "images: float32 (batch, 3, height, width), RGB",
        "input_range": "0 to 255; the model normalises by itself",
        "input_size": f"{tiling.height} x {tiling.width}",
        "input_resampling": "bilinear with antialiasing, as Pillow's BILINEAR, aspect ratio not kept",
        "output": "maps: float32 (batch, height, width) in the size of the input, higher is more anomalous",
        "output_resampling": "bilinear with half-pixel centres, to the picture's own size",
    } | ({"tiles": cut} if tiling.n_tiles > 1 else {})


@contextmanager
def _silent_exporter() -> Iterator[None]:
    """Silence the exporter's warnings, of its successor and of sizes that are fixed here, and its graphs on stdout."""
    # torch prints the graph of a failed export, however its log is set
    with patch("torch._C._jit_onnx_log", create=True), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
