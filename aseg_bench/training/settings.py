"""Settings of a live method: a frozen dataclass, presets by name, single fields replaced by the user's words."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any, Literal, TypeVar, get_type_hints

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PlainValidator,
    PositiveFloat,
    PositiveInt,
    TypeAdapter,
    ValidationError,
)

from aseg_bench.errors import InputError, near_matches
from aseg_bench.methods import MethodOptions
from aseg_bench.training.tiles import Tiling

OFFLINE_BACKBONE = "tf_efficientnet_lite0"  # its weights come with the package
Share = Annotated[float, Field(ge=0, le=1)]


def _sides(given: Any) -> tuple[int, int]:
    """Height and width from one number or from ``256x384``.

    Raises:
        ValueError: it is neither.
    """
    found = re.fullmatch(r"([1-9]\d*)(?:x([1-9]\d*))?", str(given).strip().lower())
    if found is None:
        raise ValueError("give one side in pixels, 224, or HEIGHTxWIDTH, 256x384")
    return int(found[1]), int(found[2] or found[1])


def _tiles(given: Any) -> str:
    try:
        rows, columns = _sides(given)
    except ValueError:
        raise ValueError("give ROWSxCOLUMNS, 2x2") from None
    return f"{rows}x{columns}"


def _image_size(given: Any) -> int | str:
    height, width = _sides(given)
    return height if height == width else f"{height}x{width}"


ImageSize = Annotated[int | str, PlainValidator(_image_size)]  # 64x64 is 64, as older checkpoints have it
Tiles = Annotated[str, PlainValidator(_tiles)]


@dataclass(frozen=True)
class FeatureSettings:
    """What every method on frozen features can be told: its input.

    Attributes:
        image_size: pixels to which images are resized: the side of a square, or height x width, ``256x384``.
        tiles: rows x columns of overlapping tiles, each of ``image_size``, into which images are cut, so that small
            defects stay large enough to be seen; not in the papers.
        backbone: timm name of the frozen feature extractor.
        feature_scaling: ``z_score`` standardises each feature channel with training statistics; not in the papers.
    """

    image_size: ImageSize = 224
    tiles: Tiles = "1x1"
    backbone: str = "tf_efficientnet_b4.aa_in1k"  # of AutoAugment, as in the port that UniAD and its kin load
    feature_scaling: Literal["none", "z_score"] = "none"

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels of what the model takes: an image, or a tile of one."""
        return _sides(self.image_size)

    @property
    def tiling(self) -> Tiling:
        """How images are cut."""
        return Tiling(*self.size, *_sides(self.tiles))

    def grid(self, strides: Sequence[int]) -> tuple[int, int]:
        """Rows and columns of cells at the coarsest stride.

        Raises:
            InputError: height or width is not a multiple of that stride.
        """
        coarsest = max(strides)
        height, width = self.size
        if height % coarsest or width % coarsest:
            near = _image_size("x".join(str(max(1, round(side / coarsest)) * coarsest) for side in self.size))
            raise InputError(
                f"image_size {self.image_size} is not a multiple of the coarsest stride {coarsest}; try {near}"
            )
        return height // coarsest, width // coarsest


@dataclass(frozen=True)
class TrainingSettings(FeatureSettings):
    """What every trained method can be told besides: length and rates of the training.

    Attributes:
        sampling: ``balanced`` shows every category equally often, however many images it has; not in the papers.
        n_steps: gradient steps; 0 takes ``n_epochs``.
        n_epochs: passes over the training images, used where ``n_steps`` is 0.
        batch_size: images per step and process.
        optimiser: ``adamw``, or ``sgd`` with momentum.
        learning_rate: of the optimiser.
        weight_decay: of the optimiser.
        beta_1: decay of AdamW's mean of gradients; the momentum of SGD.
        schedule: ``step`` multiplies the rate by 0.1 after each ``step_share`` of the training;
            ``one_cycle`` warms up over 30 % of it and falls to zero along a cosine.
        step_share: share of the training after which the rate falls; 0.4 in UniAS (400 of 1000 epochs).
        clip_norm: largest norm of the gradient; 0 does not limit it.
        compile: let torch.compile translate what learns; worth its minutes on accelerators and long trainings.
    """

    sampling: Literal["uniform", "balanced"] = "uniform"
    n_steps: NonNegativeInt = 0
    n_epochs: PositiveInt = 1000
    batch_size: PositiveInt = 64
    optimiser: Literal["adamw", "sgd"] = "adamw"
    learning_rate: PositiveFloat = 1e-4
    weight_decay: NonNegativeFloat = 1e-4
    beta_1: Share = 0.9
    schedule: Literal["step", "one_cycle"] = "step"
    step_share: PositiveFloat = 0.4
    clip_norm: NonNegativeFloat = 0.1
    compile: bool = False

    def steps(self, n_images: int, n_processes: int = 1) -> int:
        """Gradient steps on this many training images."""
        return self.n_steps or math.ceil(self.n_epochs * n_images / (self.batch_size * n_processes))

    def rate(self, progress: float) -> float:
        """Learning rate after a share of the training in [0, 1]."""
        if self.schedule == "step":
            return self.learning_rate * 0.1 ** math.floor(progress / self.step_share + 1e-9)
        warm, low = 0.3, 1 / 25  # Smith & Topin (2019), in the shape of PyTorch's OneCycleLR
        if progress < warm:
            return self.learning_rate * (1 - (1 - low) * (1 + math.cos(math.pi * progress / warm)) / 2)
        return self.learning_rate * (1 + math.cos(math.pi * (progress - warm) / (1 - warm))) / 2


Settings = TypeVar("Settings", bound=FeatureSettings)


def choose_settings(presets: Mapping[str, Settings], preset: str, changes: Mapping[str, str]) -> Settings:
    """The preset of that name with single fields replaced.

    Args:
        presets: settings by name.
        preset: a key of ``presets``.
        changes: field name to its new value as typed; sequences are separated by commas.

    Raises:
        InputError: a preset or field is unknown (the message names near ones), or a field cannot take its value.
    """
    if preset not in presets:
        raise InputError(f"no preset {preset}; {near_matches(preset, list(presets))}")
    settings = presets[preset]
    types = get_type_hints(type(settings), include_extras=True)
    values: dict[str, Any] = {}
    for name, text in changes.items():
        if name not in types:
            raise InputError(f"no setting {name}; {near_matches(name, [item.name for item in fields(settings)])}")
        adapter: TypeAdapter[Any] = TypeAdapter(types[name])
        is_sequence = isinstance(getattr(settings, name), tuple | frozenset)
        try:
            values[name] = (
                adapter.validate_python([part.strip() for part in text.split(",") if part.strip()])
                if is_sequence
                else adapter.validate_strings(text)
            )
        except ValidationError as error:
            raise InputError(f"setting {name} = {text}: {error.errors()[0]['msg']}") from error
    return replace(settings, **values)


def settings_for(presets: Mapping[str, Settings], options: MethodOptions) -> Settings:
    """What the user's options make of the presets: as ``choose_settings``, with the backbone that they name."""
    changes = dict(options.settings) | ({"backbone": options.backbone} if options.backbone else {})
    return choose_settings(presets, options.preset, changes)


def plain(settings: FeatureSettings) -> dict[str, Any]:
    """The settings by name in plain types, as JSON has them: tuples become lists, sets sorted lists."""
    values: dict[str, Any] = TypeAdapter(type(settings)).dump_python(settings, mode="json")
    sets = [name for name in values if isinstance(getattr(settings, name), frozenset)]
    return values | {name: sorted(values[name]) for name in sets}
