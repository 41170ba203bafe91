"""Which image models the installed anomalib has, read from its source: importing it takes ten seconds."""

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from aseg_bench.errors import InputError, near_matches

INSTALL = "pip install '.[anomalib]' in the folder of aseg-bench's sources"
OURS = ("pre_processor", "post_processor", "evaluator", "visualizer")  # arguments that the bridge sets
PRETRAINED = "pre_trained"  # argument; --set anomalib:NAME.weights=random says so in the record
BACKBONES = ("backbone", "encoder_name", "rgb_backbone", "student_backbone", "teacher_backbone")  # arguments
_NO_MAPS = "it gives a score per image and no anomaly map"


@dataclass(frozen=True)
class Traits:
    """What its constructor does not say of a model.

    Attributes:
        size: side of the images on which anomalib trains it by default, after its crop.
        n_steps: gradient steps that its file states; 0 where it states epochs or nothing.
        n_epochs: passes that its file states, or Lightning's default, which anomalib then takes.
        batch_size: anomalib's default, or the only one that the model takes.
        is_fixed: it takes images of ``size`` only.
        minimum: smallest side of its images.
        pictures: argument that must name a folder of pictures.
        archive: place below anomalib's cache of weights, and address, of weights that come by neither timm nor
            torchvision.
        validates: it finishes in a validation; the training images take the part of validation images.
        weights: networks whose weights it loads, where no argument names them.
        needs: what else the user must know.
        refused: why it cannot be run here.
    """

    size: int = 256
    n_steps: int = 0
    n_epochs: int = 1000
    batch_size: int = 32
    is_fixed: bool = False
    minimum: int = 1
    pictures: str = ""
    archive: tuple[str, str] | None = None
    validates: bool = False
    weights: str = ""
    needs: str = ""
    refused: str = ""


_RELEASES = "https://github.com/open-edge-platform/anomalib/releases/download"
TRAITS: Mapping[str, Traits] = {  # source: the files of anomalib 2.7.0
    "AnomalyDINO": Traits(size=252),
    "AnomalyVFM": Traits(size=768, weights="its own, from the Hugging Face hub"),
    "CFM": Traits(refused="it needs point clouds beside the pictures"),
    "Cfa": Traits(weights="torchvision's"),
    "Cflow": Traits(needs="batches of several images"),
    "Csflow": Traits(minimum=128, weights="efficientnet_b5 (torchvision)"),
    "Dfkde": Traits(refused=_NO_MAPS),
    "Dinomaly": Traits(size=392, n_steps=5000),
    "Draem": Traits(pictures="dtd_dir"),
    "Dsr": Traits(
        archive=("dsr/vq_model_pretrained_128_4096.pckl", f"{_RELEASES}/dsr_pretrained_weights/"),
    ),
    "EfficientAd": Traits(
        batch_size=1,
        pictures="imagenet_dir",
        archive=("efficientad_pretrained_weights", f"{_RELEASES}/efficientad_pretrained_weights/"),
        validates=True,
    ),
    "FoundAD": Traits(size=518, needs="anomalib's own names in --backbone"),
    "Fre": Traits(needs="input_dim to fit image_size, 50176 for 224"),
    "Ganomaly": Traits(refused=_NO_MAPS),
    "GeneralAD": Traits(size=518, n_epochs=160),
    "Glass": Traits(size=288, pictures="anomaly_source_path"),
    "InpFormer": Traits(size=392, n_epochs=200),
    "L2BT": Traits(size=224, weights="vit_base_patch14_reg4_dinov2"),
    "MHPatchcore": Traits(size=224),
    "Patchflow": Traits(size=768),
    "Rad": Traits(size=448),
    "SuperADD": Traits(size=448, minimum=448),
    "Supersimplenet": Traits(minimum=128),  # its noise has up to 32 cells on a grid of a quarter of the side
    "Uflow": Traits(size=448, is_fixed=True, weights="cait_m48_448, cait_s24_224"),
    "VlmAd": Traits(refused="it answers in words and gives no anomaly map"),
    "WinClip": Traits(refused="its text prompts are of one category, and a run is of all"),
}


def traits(name: str) -> Traits:
    """What is known of a model; of one that is not in the table, what holds for most."""
    return TRAITS.get(name, Traits())


def constructor(name: str) -> dict[str, str]:
    """Arguments of a model's constructor and their defaults as written, empty for none; without those set here.

    Raises:
        InputError: anomalib is not installed, or has no such image model.
    """
    made = next(
        (node for node in _class(name).body if isinstance(node, ast.FunctionDef) and node.name == "__init__"), None
    )
    if made is None:
        return {}
    given = made.args.args[1:]
    defaults = ["", *[""] * (len(given) - len(made.args.defaults)), *map(ast.unparse, made.args.defaults)][1:]
    named = dict(zip((argument.arg for argument in given), defaults, strict=True))
    return {key: default for key, default in named.items() if key not in (*OURS, PRETRAINED)}


def summary(name: str) -> str:
    """What a model is, in the first line of its documentation."""
    return (ast.get_docstring(_class(name)) or name).splitlines()[0]


def needs(name: str) -> str:
    """What the user must bring to run a model, in one line; empty for nothing."""
    known, arguments = traits(name), constructor(name)
    if known.refused:
        return f"cannot be run: {known.refused}"
    networks = known.weights or ", ".join(
        dict.fromkeys(arguments[key].strip("'") for key in BACKBONES if key in arguments)
    )
    patch = re.search(r"(?:patch|_)(14|16)\b|patch(14|16)", networks)
    parts = [
        f"weights: {networks}" if networks else "",
        f"pictures: {known.pictures}=FOLDER" if known.pictures else "",
        f"weights: {known.archive[1]}" if known.archive else "",
        f"image_size={known.size}" if known.is_fixed else "",
        f"image_size of at least {known.minimum}" if known.minimum > 1 else "",
        f"image_size a multiple of {patch[1] or patch[2]}" if patch else "",
        known.needs,
    ]
    return "; ".join(filter(None, parts))


def needs_of_all() -> dict[str, str]:
    """What each image model of the installed anomalib needs, by class name.

    Raises:
        InputError: anomalib is not installed.
    """
    return {name: needs(name) for name in sorted(_modules(), key=str.lower)}


def _folder() -> Path:
    spec = find_spec("anomalib")
    if spec is None or not spec.submodule_search_locations:
        raise InputError(f"anomalib is not installed; {INSTALL}")
    return Path(spec.submodule_search_locations[0]) / "models" / "image"


@cache
def _tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def _modules() -> dict[str, str]:
    """The folder of each image model by class name."""
    imported = [node for node in _tree(_folder() / "__init__.py").body if isinstance(node, ast.ImportFrom)]
    return {name.name: node.module or "" for node in imported if node.level == 1 for name in node.names}


def _class(name: str) -> ast.ClassDef:
    modules = _modules()
    if name not in modules:
        raise InputError(f"anomalib has no image model {name}; {near_matches(name, sorted(modules, key=str.lower))}")
    for file in sorted((_folder() / modules[name]).glob("*.py")):
        for node in _tree(file).body:
            if isinstance(node, ast.ClassDef) and node.name == name:
                return node
    raise InputError(f"the installed anomalib does not define {name} where it is expected; {INSTALL}, with --upgrade")
