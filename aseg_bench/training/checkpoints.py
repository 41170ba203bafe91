"""Checkpoints: written whole, read without running any code they may carry, and refused where they do not fit."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Generic, cast

import torch
from torch import Tensor, nn
from typing_extensions import TypeVar

from aseg_bench.errors import InputError, TrainingError
from aseg_bench.files import to_disk, written_whole
from aseg_bench.methods import MethodOptions
from aseg_bench.pickles import load_torch
from aseg_bench.training.settings import FeatureSettings, TrainingSettings, plain

CHECKPOINT = "checkpoint.pt"
MOMENTS = (1 / 8, 1 / 4, 1 / 2)  # shares of a training at which a learning curve looks
FORMAT = 2
Settings = TypeVar("Settings", bound=FeatureSettings, default=TrainingSettings)


@dataclass
class TrainingState:
    """Where a training stands; what a checkpoint holds beside weights and settings.

    The step is all that the order of images, the random draws and the learning rate depend on.
    """

    step: int = 0
    seconds: float = 0.0
    log: list[dict[str, float]] = field(default_factory=list)
    finished: bool = False


@dataclass(frozen=True)
class TrainingJob(Generic[Settings]):
    """What is trained, or put into a bank, and how.

    Attributes:
        method: key of the method.
        settings: of the method.
        options: what the user asked for.
        images: digest that tells one set of training images from another.
    """

    method: str
    settings: Settings
    options: MethodOptions
    images: str = ""

    @property
    def file(self) -> Path | None:
        """Where the checkpoint lies; None where nothing is kept."""
        return self.options.folder / CHECKPOINT if self.options.folder else None

    def moment_file(self, share: float) -> Path | None:
        """Where the weights after a share of the training lie; None where nothing is kept."""
        return self.options.folder / f"after_{share:g}.pt" if self.options.folder else None

    def conditions(self, n_processes: int) -> dict[str, Any]:
        """Everything else that must be the same for a training to go on to the same end."""
        return {
            "method": self.method,
            "seed": self.options.seed,
            "precision": self.options.precision,
            "processes": n_processes,
            "training images": self.images,
        }


def write_checkpoint(
    job: TrainingJob[Settings],
    n_processes: int,
    model: nn.Module,
    optimiser: torch.optim.Optimizer | None,
    state: TrainingState,
    file: Path | None = None,
) -> None:
    """Replace the job's checkpoint or another file, if it keeps any. Without a training there is no optimiser.

    Raises:
        TrainingError: the checkpoint cannot be written; the older one is kept.
    """
    file = file or job.file
    if file is None:
        return
    content = {
        "format": FORMAT,
        "conditions": job.conditions(n_processes),
        "settings": plain(job.settings),
        "model": model.state_dict(),
        "optimiser": optimiser.state_dict() if optimiser else None,
        "state": asdict(state),
    }
    try:
        with written_whole(file) as temporary:
            torch.save(content, temporary)
            to_disk(temporary)
    except (OSError, RuntimeError) as error:  # torch's writer turns a full disk into a RuntimeError
        reason = str(error).splitlines()[0]
        kept = "the last whole checkpoint is kept; " if file.exists() else ""
        raise TrainingError(
            f"cannot write {file} at step {state.step} ({reason}); {kept}make room and run the same command again"
        ) from error


def read_checkpoint(file: Path) -> dict[str, Any]:
    """The content of a checkpoint: conditions, settings, model, optimiser and state.

    Raises:
        TrainingError: the file is missing, truncated, or not a checkpoint of this toolkit.
    """
    try:
        content = load_torch(file)
    except FileNotFoundError as error:
        raise TrainingError(f"there is no checkpoint {file}") from error
    except Exception as error:  # torch.load raises many kinds for a broken or unsafe file
        reason = " ".join(str(error).split())[:160]
        raise TrainingError(
            f"{file} is not a whole checkpoint ({type(error).__name__}: {reason}); remove it and train again"
        ) from error
    parts = ("conditions", "settings", "model", "state")
    is_own = isinstance(content, dict) and content.get("format") == FORMAT
    if not is_own or not all(isinstance(content.get(part), dict) for part in parts):
        raise TrainingError(f"{file} is not a checkpoint of this version of aseg-bench; remove it and train again")
    return cast(dict[str, Any], content)


def restore(
    job: TrainingJob[Settings], n_processes: int, model: nn.Module, optimiser: torch.optim.Optimizer | None
) -> TrainingState:
    """Load the job's checkpoint into model and optimiser.

    Raises:
        TrainingError: the checkpoint cannot be read, or is of another method, setting, seed or set of images.
    """
    assert job.file is not None
    content = read_checkpoint(job.file)
    defaults = plain(type(job.settings)())  # of settings that are younger than the checkpoint
    found = defaults | content["conditions"] | content["settings"]
    is_finished = content["state"].get("finished")  # whoever only maps needs no second process
    for name, value in (job.conditions(n_processes) | plain(job.settings)).items():
        if found.get(name) != value and not (is_finished and name == "processes"):
            raise TrainingError(
                f"{job.file} was trained with {name} {found.get(name)}, not {value}; "
                "give --overwrite to train again, or another --out"
            )
    load_weights_into(model, content, job.file)
    if optimiser:
        optimiser.load_state_dict(content["optimiser"])
    return TrainingState(**content["state"])


def load_weights_into(model: nn.Module, content: Mapping[str, Any], file: Path) -> None:
    """Load the weights of a checkpoint's content.

    Raises:
        TrainingError: the weights are of another architecture.
    """
    try:
        model.load_state_dict(content["model"])
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip()  # the line before says only that there was an error
        raise TrainingError(f"{file} holds another architecture than this model: {first}") from error


def load_renamed(
    module: nn.Module, state: Mapping[str, Mapping[str, Tensor]], names: Mapping[str, str], unused: Sequence[str] = ()
) -> None:
    """Load weights that another code saved, every entry accounted for.

    Args:
        module: gets the weights.
        state: state dicts by part; an entry's name is ``part.name``.
        names: pieces of their names and what stands for them in ours, replaced in this order.
        unused: what names of entries begin with that the other code keeps and never uses.

    Raises:
        InputError: an entry has no place here, has another shape, or is missing.
    """
    found = {}
    for part, entries in state.items():
        for name, values in entries.items():
            ours = f"{part}.{name}"
            if not ours.startswith(tuple(unused)):
                for old, new in names.items():
                    ours = ours.replace(old, new)
                found[ours] = values
    whole = module.state_dict()
    wanted = {name: values for name, values in whole.items() if isinstance(values, Tensor)}
    faults = [f"{name} is missing" for name in wanted if name not in found]
    faults += [f"{name} has no place" for name in found if name not in wanted]
    faults += [
        f"{name} is {list(found[name].shape)}, not {list(own.shape)}"
        for name, own in wanted.items()
        if name in found and found[name].shape != own.shape
    ]
    if faults:
        raise InputError(
            f"the official weights do not fit in {len(faults)} entries, first {faults[0]} (by our names); they go with "
            "the preset paper and its backbone"
        )
    module.load_state_dict(whole | found)
