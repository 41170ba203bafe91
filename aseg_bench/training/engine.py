"""The training loop of every trained method, on Lightning Fabric, with checkpoints that resume to the same bits.

Every random draw of a step comes from (seed, step, process), and the order of the images from (seed, epoch): the step
number is all that a checkpoint needs to know of either.
"""

import csv
import math
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from aseg_bench.errors import TrainingError
from aseg_bench.files import written_whole
from aseg_bench.methods import MethodOptions
from aseg_bench.progress import progress_bar
from aseg_bench.training.data import FeatureSource
from aseg_bench.training.reconstruction import FeatureReconstruction
from aseg_bench.training.settings import TrainingSettings

CHECKPOINT = "checkpoint.pt"
CHECKPOINT_FORMAT = 1
_SECONDS_BETWEEN_CHECKPOINTS = 300.0
_STEPS_PER_LOG_ROW = 10


@dataclass
class TrainingState:
    """Where a training stands; what a checkpoint holds beside the weights."""

    step: int = 0
    seconds: float = 0.0
    log: list[dict[str, float]] = field(default_factory=list)
    finished: bool = False


def make_fabric(options: MethodOptions) -> Fabric:
    """Lightning Fabric on the device, in the precision and with the processes that the user asked for."""
    try:
        fabric = Fabric(
            accelerator=options.device,
            devices=options.n_devices,
            precision=cast(Any, options.precision),
            strategy="auto",
        )
    except Exception as error:  # Fabric raises many kinds, each with a clear text
        raise TrainingError(f"cannot train on {options.n_devices} x {options.device}: {error}") from error
    if options.n_devices > 1:
        fabric.launch()
    return fabric


def train(
    model: FeatureReconstruction,
    source: FeatureSource,
    settings: TrainingSettings,
    options: MethodOptions,
    fabric: Fabric,
) -> TrainingState:
    """Train to the last step or of ``options.max_minutes``, going on from the checkpoint in ``options.folder``.

    Args:
        model: on the device of ``fabric``; trained in place.
        source: features of the training images.
        settings: of the method; a checkpoint of other settings is refused.
        options: seed, budget, folder.
        fabric: devices and precision.

    Raises:
        TrainingError: a loss is not finite, memory runs out, or the checkpoint is of another model or setting.
    """
    optimiser = torch.optim.AdamW(
        [parameter for parameter in model.parameters() if parameter.requires_grad],
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        fused=True,
    )
    state = TrainingState()
    file = options.folder / CHECKPOINT if options.folder else None
    if file and file.exists() and options.resume:
        state = _restore(file, model, optimiser, settings)
    if state.finished:
        return state
    wrapped, optimiser = fabric.setup(model, optimiser)
    wrapped.mark_forward_method("losses")
    wrapped.train()
    n_steps = settings.steps(len(source), fabric.world_size)
    budget = options.max_minutes * 60 if options.max_minutes else math.inf
    started, saved = time.monotonic() - state.seconds, time.monotonic()
    try:
        with progress_bar(options.quiet or fabric.global_rank > 0) as bar, torch.random.fork_rng():
            task = bar.add_task("training", total=n_steps, completed=state.step, note="")
            while state.step < n_steps and state.seconds < budget:
                rate = settings.rate(max(state.step / n_steps, state.seconds / budget))
                terms = _take_step(wrapped, optimiser, source, settings, options.seed, fabric, state.step, rate)
                state.step += 1
                state.seconds = time.monotonic() - started
                if state.step % _STEPS_PER_LOG_ROW == 0:
                    row = {name: float(value.detach()) for name, value in terms.items()}
                    state.log.append({"step": state.step, "seconds": state.seconds, "learning_rate": rate, **row})
                    bar.update(task, note=f"loss {sum(row.values()):.4f}")
                bar.advance(task)
                if file and time.monotonic() - saved > _SECONDS_BETWEEN_CHECKPOINTS:
                    _save(file, fabric, model, optimiser, state, settings)
                    saved = time.monotonic()
        state.finished = True
    except torch.OutOfMemoryError as error:
        raise TrainingError(
            f"out of memory at step {state.step} with batch_size {settings.batch_size}; "
            f"try --set METHOD.batch_size={max(1, settings.batch_size // 2)}"
        ) from error
    finally:
        # also after Ctrl-C; a step that raised has left the weights of the step before
        if file and all(bool(parameter.isfinite().all()) for parameter in model.parameters()):
            _save(file, fabric, model, optimiser, state, settings)
    return state


def _take_step(
    model: Any,
    optimiser: torch.optim.Optimizer,
    source: FeatureSource,
    settings: TrainingSettings,
    seed: int,
    fabric: Fabric,
    step: int,
    rate: float,
) -> dict[str, Tensor]:
    draws = int(np.random.SeedSequence([seed, step, fabric.global_rank]).generate_state(1)[0])
    torch.manual_seed(draws)
    size = settings.batch_size * fabric.world_size
    own = slice(fabric.global_rank * settings.batch_size, (fabric.global_rank + 1) * settings.batch_size)
    features = source.batch(image_order(len(source), seed, step * size, size)[own], draws)
    for group in optimiser.param_groups:
        group["lr"] = rate
    terms: dict[str, Tensor] = model.losses(features)
    loss = torch.stack(list(terms.values())).sum()
    if not bool(loss.isfinite()):
        named = ", ".join(f"{name} {float(value):.3g}" for name, value in terms.items())
        raise TrainingError(f"the loss is not finite at step {step} ({named}); lower the learning rate and resume")
    optimiser.zero_grad()
    fabric.backward(loss)
    fabric.clip_gradients(model, optimiser, max_norm=settings.clip_norm, error_if_nonfinite=False)
    optimiser.step()
    return terms


def image_order(n_images: int, seed: int, start: int, count: int) -> list[int]:
    """Images number ``start`` to ``start + count`` of an endless row of shuffled epochs."""
    chosen: list[int] = []
    while len(chosen) < count:
        epoch, offset = divmod(start + len(chosen), n_images)
        order = np.random.default_rng([seed, epoch]).permutation(n_images)
        chosen += order[offset : offset + count - len(chosen)].tolist()
    return chosen


def write_log(state: TrainingState, file: Path) -> None:
    """Write losses and learning rate per logged step as CSV."""
    if not state.log:
        return
    with written_whole(file) as temporary, temporary.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(state.log[0]))
        writer.writeheader()
        writer.writerows(state.log)


def _save(
    file: Path,
    fabric: Fabric,
    model: nn.Module,
    optimiser: Any,
    state: TrainingState,
    settings: TrainingSettings,
) -> None:
    if fabric.global_rank > 0:
        return
    content = {
        "format": CHECKPOINT_FORMAT,
        "settings": asdict(settings),
        "model": model.state_dict(),
        "optimiser": optimiser.state_dict(),
        "state": asdict(state),
    }
    try:
        with written_whole(file) as temporary:
            torch.save(content, temporary)
    except (OSError, RuntimeError) as error:
        raise TrainingError(f"cannot write {file} ({error}); the last whole checkpoint is kept") from error


def read_checkpoint(file: Path) -> dict[str, Any]:
    """Read a checkpoint of ``train`` without running any code that it may carry.

    Raises:
        TrainingError: it is missing, truncated, or no checkpoint of this toolkit.
    """
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises many kinds for a broken or unsafe file
        raise TrainingError(f"cannot read the checkpoint {file} ({type(error).__name__}: {error})") from error
    if not isinstance(content, dict) or content.get("format") != CHECKPOINT_FORMAT:
        raise TrainingError(f"{file} is no checkpoint of this version of aseg-bench; train anew")
    return content


def _restore(file: Path, model: nn.Module, optimiser: Any, settings: TrainingSettings) -> TrainingState:
    content = read_checkpoint(file)
    for name, value in asdict(settings).items():
        if content["settings"].get(name) != value:
            raise TrainingError(
                f"{file} was trained with {name} = {content['settings'].get(name)}, not {value}; "
                "give --overwrite to train anew, or another --out"
            )
    try:
        model.load_state_dict(content["model"])
        optimiser.load_state_dict(content["optimiser"])
    except (RuntimeError, ValueError) as error:
        raise TrainingError(f"{file} does not fit this model: {str(error).splitlines()[0]}") from error
    return TrainingState(**content["state"])
