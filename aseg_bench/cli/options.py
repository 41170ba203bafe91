"""Options that several commands share, and the texts that some of them take."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aseg_bench.errors import InputError

if TYPE_CHECKING:
    from aseg_bench.datasets import Reading
    from aseg_bench.predictions.records import Limits

Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bars, no tables; files and errors only.")]
Mixed = Annotated[bool, typer.Option("--mixed", help="Tables may mix protocols; their rows are marked.")]
Page = Annotated[bool, typer.Option(help="Draw figures and build report.html.")]
DataRoot = Annotated[Path | None, typer.Option(help="Where the data set lies: a folder, or a URL as s3://bucket/data.")]
Categories = Annotated[
    str | None, typer.Option(help="Take only these, separated by commas; one with a comma in quotes: '\"a,b\",c'.")
]
NormalFolder = Annotated[
    str, typer.Option(help="Name of the folders of normal images in your data, besides good: OK, normal, ...")
]
BitDepth = Annotated[
    int, typer.Option(min=9, max=16, help="Bits of the camera, where images of 16 bits per channel hold fewer.")
]
MaxPixels = Annotated[int | None, typer.Option(min=1, help="Read images of up to so many pixels, above 178956970.")]
ImageLevel = Annotated[
    bool,
    typer.Option("--image-level", help="Take images that show a defect but have no mask, for image metrics only."),
]

Maps = Annotated[Path, typer.Argument(help="File or folder of anomaly maps, or its URL.")]
MapsDataset = Annotated[
    str | None,
    typer.Option("--dataset", help="Key from `aseg-bench datasets`; not needed where masks travel with maps."),
]
ReaderKey = Annotated[str, typer.Option("--reader", help="auto, or a key from `aseg-bench readers`.")]
DatasetKey = Annotated[str, typer.Option(help="Key from `aseg-bench datasets`.")]
ProtocolKey = Annotated[str, typer.Option(help="Key from `aseg-bench protocols`: how maps and truth are compared.")]
MaskRuleText = Annotated[
    str,
    typer.Option(
        "--mask-rule",
        help="Values of a mask that mean anomalous, as >127 or =1,2; with ignore=255 behind it also void.",
    ),
]
MetricKeys = Annotated[
    str | None, typer.Option("--metrics", help="Keys from `aseg-bench metrics`, in place of the usual ones.")
]
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
BackboneWeights = Annotated[Path | None, typer.Option(help="State dict of the backbone, torch's or safetensors.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
Precision = Annotated[str, typer.Option(help="auto (bf16-mixed where CUDA has it), 32-true or bf16-mixed.")]
Devices = Annotated[int, typer.Option("--devices", min=1, help="Processes of distributed training.")]
LoggerKey = Annotated[
    str | None,
    typer.Option(
        "--logger", help="Losses and scores also go to tensorboard, wandb, mlflow, trackio or module:function."
    ),
]
LearningCurve = Annotated[
    bool, typer.Option("--learning-curve", help="Also score a part of the test images at moments of each training.")
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite/--resume", help="Compute finished methods again, or go on where a run stopped.")
]
Checkpoint = Annotated[Path, typer.Option(help="Checkpoint of a training: RUN/training/METHOD/DATASET/checkpoint.pt.")]


def names_in(option: str, text: str | None) -> tuple[str, ...] | None:
    """The names in the text of an option, separated by commas as in a CSV file; None where there is no text.

    Raises:
        InputError: the text holds no name, or one twice.
    """
    if text is None:
        return None
    names = tuple(name.strip() for row in csv.reader([text], skipinitialspace=True) for name in row if name.strip())
    if not names:
        raise InputError(f"{option} names nothing; give names separated by commas")
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise InputError(f"{option} names {twice[0]} twice; name each once")
    return names


def methods_in(text: str) -> tuple[list[str], dict[str, Path], dict[str, Path]]:
    """Names in order, and the paths of those whose maps are read or whose weights are loaded.

    For instance ``uni_as,patchcore=maps:dump,uniad=checkpoint:ckpt.pth.tar``.
    """
    names: list[str] = []
    paths: dict[str, dict[str, Path]] = {"maps": {}, "checkpoint": {}}
    for item in names_in("--methods", text) or ():
        name, equals, source = item.partition("=")
        if equals:
            kind, _, path = source.partition(":")
            if kind not in paths or not path:
                raise InputError(
                    f"--methods {item} is not NAME, NAME=maps:PATH or NAME=checkpoint:FILE, for instance "
                    "patchcore=maps:dump/"
                )
            paths[kind][name] = Path(path).expanduser()
        names.append(name)
    return names, paths["maps"], paths["checkpoint"]


def reading_in(normal_folder: str, bit_depth: int, image_level: bool, max_pixels: int | None) -> "Reading":
    """How a command reads images; the limit on their pixels holds for the whole process."""
    from aseg_bench.datasets import Reading

    allow_max_pixels(max_pixels)
    return Reading(normal_folder, bit_depth, image_level)


def allow_max_pixels(max_pixels: int | None) -> None:
    """Raise the limit on the pixels of an image for the whole process, where one is given."""
    if max_pixels is not None:
        from aseg_bench.images import allow_pixels

        allow_pixels(max_pixels)


def limits_in(max_gib: float, allow_pickle: bool) -> "Limits":
    """How much a file of maps may ask for, and whether pickles are read."""
    from aseg_bench.predictions.records import Limits

    return Limits(max_bytes=int(max_gib * 2**30), allow_pickle=allow_pickle)


def settings_in(texts: Sequence[str]) -> dict[str, dict[str, str]]:
    """Settings by method and field: ``uni_as.n_steps=1000``."""
    settings: dict[str, dict[str, str]] = {}
    for text in texts:
        place, equals, value = text.partition("=")
        method, dot, name = place.partition(".")
        if not (equals and dot and method and name):
            raise InputError(f"--set {text} is not METHOD.FIELD=VALUE, for instance uni_as.n_steps=1000")
        settings.setdefault(method, {})[name] = value
    return settings
