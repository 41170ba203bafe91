"""What a method is, and how the toolkit finds it; live models and saved maps look the same to the runner."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from aseg_bench.errors import InputError, near_matches
from aseg_bench.records import AnomalyMap, Sample

NOT_LEARNED, MEAN_PICTURE = "not_learned", "mean_picture"  # findings on categories that a training has hardly learned
CUT_SHORT = "cut_short"  # finding on a training that --max-minutes has ended
DISQUALIFYING = frozenset({NOT_LEARNED, CUT_SHORT})  # what is so found is neither best nor ranked
ENTRY_POINTS = "aseg_bench.methods"


class Logger(Protocol):
    """Takes numbers while they are made, as the loggers of Lightning Fabric and of Lightning do."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Take the numbers of a step."""

    def finalize(self, status: str) -> None:
        """Write what is left: all is done (``success``), or has failed (``failed``)."""


class Estimate(NamedTuple):
    """About how many seconds a method will take for ``fit`` and ``predict``, and from what that is known."""

    seconds: float
    basis: str


class Method(Protocol):
    """A method to benchmark. ``fit`` gets the normal training images of all categories at once (one-for-all).

    A method may also have ``about``, a mapping of plain values that the record of a run keeps after ``predict``; the
    README lists the keys that Table "cost" shows (``aseg_bench.training.costs`` finds those of a torch module);
    ``moments``, which yields step, seconds and maps of some samples at earlier moments of its training; and
    ``estimate``, which takes the samples of ``fit`` and those of ``predict`` in the place of both, times a little of
    the work, and gives an ``Estimate``.
    """

    name: str

    def fit(self, train: Sequence[Sample]) -> None:
        """Learn what is normal. A method that needs no training returns at once."""

    def predict(self, samples: Sequence[Sample]) -> Iterator[AnomalyMap]:
        """Yield one map per sample, in order."""


class Segmenter(Protocol):
    """A trained model: pictures in, maps out; ``size`` is the height and width in pixels at which it works."""

    size: tuple[int, int]

    def predict(self, images: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
        """Maps (height, width) of RGB images (height, width, 3), each in its image's own size."""

    def level_maps(self, images: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
        """Maps of the single levels, (levels, height, width) per image."""

    def export(self, file: Path) -> None:
        """Write the model as ONNX."""


@dataclass(frozen=True)
class MethodOptions:
    """Options that every live method gets. A method ignores none: one that it cannot follow is an InputError.

    Attributes:
        seed: seed of every random draw.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        precision: ``32-true``, ``bf16-mixed``, or ``auto``: bfloat16 where a CUDA device computes in it.
        n_devices: processes of distributed training.
        backbone: name of a timm feature extractor; None takes the preset's.
        backbone_weights: file with its weights; None takes the installed or downloaded ones.
        checkpoint: file whose weights are taken in the place of a training; None trains.
        max_minutes: stop training after this many minutes and use the model as it is then; None trains all steps.
        preset: name of the method's preset of settings.
        settings: single settings that replace the preset's, as the user typed them.
        folder: where checkpoints and training logs go, and from where a stopped training continues; None keeps nothing.
        loggers: take the losses of a training, where it has any.
        learning_curve: keep the weights of some moments of the training in ``folder``, for ``moments``.
        quiet: no progress bars.
    """

    seed: int = 0
    device: str = "auto"
    precision: str = "auto"
    n_devices: int = 1
    backbone: str | None = None
    backbone_weights: Path | None = None
    checkpoint: Path | None = None
    max_minutes: float | None = None
    preset: str = "cpu"
    settings: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None
    loggers: Sequence[Logger] = ()
    learning_curve: bool = False
    quiet: bool = False


@dataclass(frozen=True)
class MethodFacts:
    """A method as the tables and the command line know it. Loading it imports no torch.

    Attributes:
        name: key on the command line and in ``scores.csv``, for instance ``uni_as``.
        label: name in print, for instance ``UniAS``.
        venue: where it was published, for instance ``WACV 2025``.
        summary: what it does, in one line.
        paper: address of the paper.
        licence: licence of the official code, or ``no licence file``.
        bibtex: BibTeX entry of the paper; empty where there is none.
        protocol: preset in ``PROTOCOLS`` that restates the official evaluation, or None.
        reader: key of the reader for the official code's dumps, or None.
        published: the method's name in the published numbers, or None.
        dump: how to get the maps of the official code, in a few lines.
        presets: settings of the live model by preset, frozen dataclasses; None without a live model.
        build: makes the live model; None where only saved maps can be scored.
        ablation: settings of the lines of the method's component study, the full model last.
        model: makes the live model's network from its settings, for a checkpoint that brings the weights; None where
            checkpoints cannot be used.
        official: gives the live model's network the weights that the official code saved, from what ``torch.load``
            made of the file; None where only this toolkit's own checkpoints are taken.
        official_file: what that file is, in a few words.
        live_as: the method that stands in for a live model of its own, for instance ``anomalib:Draem``.
        members: of a family of methods, the name of each and what it needs; loading them imports no torch. None for a
            single method.
        member: of a family, the facts of ``family:Name`` from ``Name``; an unknown one is an InputError.
    """

    name: str
    label: str
    venue: str
    summary: str
    paper: str
    licence: str
    bibtex: str = ""
    protocol: str | None = None
    reader: str | None = None
    published: str | None = None
    dump: str = ""
    presets: Callable[[], Mapping[str, Any]] | None = None
    build: Callable[[MethodOptions], Method] | None = None
    ablation: Sequence[Mapping[str, str]] = ()
    model: Callable[[Any], Any] | None = None
    official: Callable[[Any, Any], None] | None = None
    official_file: str = ""
    live_as: str = ""
    members: Callable[[], Mapping[str, str]] | None = None
    member: Callable[[str], "MethodFacts"] | None = None


def call(name: str, *arguments: Any, **options: Any) -> Any:
    """Import the function ``module:name`` and call it: with ``partial``, a method's facts name it and load no torch."""
    return resolve_name(name)(*arguments, **options)


def find_methods() -> dict[str, MethodFacts]:
    """All methods installed on this machine, by name, in alphabetical order.

    A package adds a method with an entry point in the group ``aseg_bench.methods`` that names a MethodFacts.

    Raises:
        InputError: an entry point is not a MethodFacts, or two packages define the same method.
    """
    methods: dict[str, MethodFacts] = {}
    for point in sorted(entry_points(group=ENTRY_POINTS), key=lambda point: point.name):
        facts = point.load()
        if not isinstance(facts, MethodFacts):
            raise InputError(f"entry point {point.name} = {point.value} is not a MethodFacts; name one there")
        if facts.name in methods:
            raise InputError(f"two installed packages define the method {facts.name}; uninstall one ({point.value})")
        methods[facts.name] = facts
    return methods


def find_method(name: str) -> MethodFacts:
    """The facts of an installed method, or of a member of an installed family: ``family:Name``.

    Raises:
        InputError: no installed method has this name; the message lists those nearest to it.
    """
    methods = find_methods()
    key, colon, member = name.partition(":")
    if key not in methods:
        raise InputError(f"no method {key}; {near_matches(key, list(methods))}")
    facts = methods[key]
    if not colon:
        return facts
    if facts.member is None:
        raise InputError(f"{key} is a single method; name it without :{member}")
    return facts.member(member)
