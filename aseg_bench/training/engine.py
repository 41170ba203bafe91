"""The training loop of every trained method, on Lightning Fabric, with checkpoints that resume to the same bits.

Every random draw of a step comes from (seed, step, process), and the order of the images from (seed, epoch): the step
number is all that a checkpoint needs to know of either.
"""

import logging
import math
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import Tensor

from aseg_bench.errors import InputError, TrainingError, near_matches
from aseg_bench.methods import MethodOptions
from aseg_bench.progress import progress_bar
from aseg_bench.training.checkpoints import MOMENTS, TrainingJob, TrainingState, restore, write_checkpoint
from aseg_bench.training.data import Source
from aseg_bench.training.network import Network

DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "32-true", "bf16-mixed")
_TALKERS = ("lightning_fabric", "lightning.pytorch")  # the latter where anomalib was used before in this process
_SECONDS_BETWEEN_CHECKPOINTS = 300.0
_STEPS_PER_LOG_ROW = 10
_NO_MEMORY = ("out of memory", "allocate memory", "not enough memory")  # of CUDA and MPS, Linux, Windows


def make_fabric(options: MethodOptions, learns_in_turns: bool = False) -> Fabric:
    """Lightning Fabric on the device, in the precision and with the processes that the user asked for.

    Under ``torchrun`` its processes are joined; else ``n_devices`` above 1 start processes of their own when
    ``launch`` is called. Precision ``auto`` is bfloat16 where a CUDA device computes in it, else single. Processes
    wait for the gradients of all parts, unless they are told that a model ``learns_in_turns``.

    Raises:
        InputError: an unknown device or precision.
        TrainingError: there is no such device, or there are too few.
    """
    for name in _TALKERS:
        logging.getLogger(name).setLevel(logging.WARNING)  # they tell processes and precisions, unasked
    if options.device not in DEVICES:
        raise InputError(f"there is no device {options.device}; {near_matches(options.device, DEVICES)}")
    if options.precision not in PRECISIONS:
        raise InputError(f"there is no precision {options.precision}; {near_matches(options.precision, PRECISIONS)}")
    precision = options.precision
    if precision == "auto":
        on_cuda = options.device in {"auto", "cuda"} and torch.cuda.is_available()
        is_native = on_cuda and torch.cuda.is_bf16_supported(including_emulation=False)  # older cards emulate, slowly
        precision = "bf16-mixed" if is_native else "32-true"
    joins = torch.distributed.is_torchelastic_launched()
    try:
        return Fabric(
            accelerator=options.device,
            devices=int(os.environ["LOCAL_WORLD_SIZE"]) if joins else options.n_devices,
            num_nodes=int(os.environ["GROUP_WORLD_SIZE"]) if joins else 1,
            strategy=DDPStrategy(start_method="popen" if joins else "spawn", find_unused_parameters=learns_in_turns)
            if joins or options.n_devices > 1
            else "auto",
            precision=cast(Any, precision),
            loggers=cast(Any, list(options.loggers)),
        )
    except Exception as error:  # Fabric raises many kinds, each with a clear text
        raise TrainingError(f"cannot use {options.n_devices} x {options.device}: {error}") from error


def train(model: Network, source: Source, job: TrainingJob, fabric: Fabric) -> TrainingState:
    """Train to the last step or of the job's ``max_minutes``, going on from its checkpoint if there is one.

    Args:
        model: on the device of ``fabric``; trained in place.
        source: features of the training images, or the images.
        job: settings, seed, budget and folder; a checkpoint of another job is refused.
        fabric: devices and precision, launched.

    Raises:
        TrainingError: a loss is not finite, memory runs out, or a checkpoint does not fit or cannot be written. The
            last whole checkpoint is kept.
    """
    settings, options, n_processes = job.settings, job.options, fabric.world_size
    numbers: dict[str, Any] = {"lr": settings.learning_rate, "weight_decay": settings.weight_decay, "fused": True}
    optimiser: Any = (
        torch.optim.SGD(model.parameter_groups(), momentum=settings.beta_1, **numbers)
        if settings.optimiser == "sgd"
        else torch.optim.AdamW(model.parameter_groups(), betas=(settings.beta_1, 0.999), **numbers)
    )
    state = TrainingState()
    fabric.barrier()  # --overwrite removes an older checkpoint in the first process
    if job.file and job.file.exists():
        state = restore(job, n_processes, model, optimiser)
    if state.finished:
        return state
    wrapped: Any
    wrapped, optimiser = fabric.setup(model, optimiser)
    wrapped.mark_forward_method("losses")
    wrapped.train()
    n_steps = settings.steps(len(source), n_processes)
    budget = options.max_minutes * 60 if options.max_minutes else math.inf
    source.prepare()  # before the clock starts
    started, saved = time.monotonic() - state.seconds, time.monotonic()

    def save() -> None:
        if fabric.global_rank == 0:
            write_checkpoint(job, n_processes, model, optimiser, state)

    with (
        _memory_explained(job),
        torch.random.fork_rng([fabric.device] if fabric.device.type == "cuda" else []),
        progress_bar(options.quiet or fabric.global_rank > 0) as bar,
    ):
        task = bar.add_task("training", total=n_steps, completed=state.step, note="")
        is_whole = True
        try:
            while state.step < n_steps and state.seconds < budget:
                progress = max(state.step / n_steps, state.seconds / budget)
                rate = settings.rate(progress)
                terms = _take_gradients(wrapped, optimiser, source, job, fabric, state.step, progress)
                for group in optimiser.param_groups:
                    group["lr"] = rate * group.get("rate_share", 1.0)  # checkpoints of 0.1 have none
                is_whole = False
                optimiser.step()
                state.step += 1
                is_whole = True
                state.seconds = time.monotonic() - started
                if n_processes > 1 and options.max_minutes:
                    state.seconds = fabric.broadcast(state.seconds)  # all processes must stop at the same step
                passed = max(state.step / n_steps, state.seconds / budget)
                for share in MOMENTS if options.learning_curve and fabric.global_rank == 0 else ():
                    if progress < share <= passed:
                        write_checkpoint(job, n_processes, model, None, state, job.moment_file(share))
                is_last = state.step == n_steps or state.seconds >= budget
                if is_last or state.step % _STEPS_PER_LOG_ROW == 0:
                    row = {name: float(cast(Tensor, fabric.all_reduce(value))) for name, value in terms.items()}
                    state.log.append({"step": state.step, "seconds": state.seconds, "learning_rate": rate, **row})
                    if fabric.global_rank == 0:
                        fabric.log_dict({"learning_rate": rate, **row}, state.step)
                    bar.update(task, note=_note(row))
                bar.advance(task)
                if time.monotonic() - saved > _SECONDS_BETWEEN_CHECKPOINTS:
                    save()
                    saved = time.monotonic()
            state.finished = True
            save()
        except KeyboardInterrupt:
            if is_whole:  # else the weights may be ahead of the step
                save()
            raise
    return state


def _take_gradients(
    model: Any,
    optimiser: torch.optim.Optimizer,
    source: Source,
    job: TrainingJob,
    fabric: Fabric,
    step: int,
    progress: float,
) -> dict[str, Tensor]:
    settings, seed = job.settings, job.options.seed
    draws = int(np.random.SeedSequence([seed, step, fabric.global_rank]).generate_state(1)[0])
    torch.manual_seed(draws)
    size = settings.batch_size * fabric.world_size
    own = slice(fabric.global_rank * settings.batch_size, (fabric.global_rank + 1) * settings.batch_size)
    with fabric.autocast():
        order = image_order(source.categories, seed, step * size, size, settings.sampling == "balanced")[own]
        batch = source.batch(order, draws)
    told = model.told([source.categories[index] for index in order])
    terms: dict[str, Tensor] = model.losses(batch, progress, **told)
    loss = torch.stack(list(terms.values())).sum()
    optimiser.zero_grad()
    fabric.backward(loss)
    norm = fabric.clip_gradients(model, optimiser, max_norm=settings.clip_norm or math.inf, error_if_nonfinite=False)
    if not bool(loss.isfinite()) or (norm is not None and not bool(norm.isfinite())):
        what = "loss" if not bool(loss.isfinite()) else "gradient"
        named = ", ".join(f"{name} {float(value.detach()):.3g}" for name, value in terms.items())
        kept = f"; {job.file} keeps the last good state" if job.file and job.file.exists() else ""
        raise TrainingError(
            f"the {what} is not finite at step {step} ({named}){kept}; train again with --overwrite "
            f"--set {job.method}.learning_rate={settings.learning_rate / 10:g}"
        )
    return {name: value.detach() for name, value in terms.items()}


def image_order(categories: Sequence[str], seed: int, start: int, count: int, balanced: bool = False) -> list[int]:
    """Images number ``start`` to ``start + count`` of an endless row of shuffled epochs.

    Args:
        categories: of the images, one each.
        seed: of the shuffling.
        start: place in the row.
        count: how many images.
        balanced: an epoch draws its images with replacement, each category with the same chance.
    """
    n_images, chances = len(categories), None
    if balanced:
        sizes = Counter(categories)
        chances = [1 / (len(sizes) * sizes[category]) for category in categories]
    chosen: list[int] = []
    while len(chosen) < count:
        epoch, offset = divmod(start + len(chosen), n_images)
        random = np.random.default_rng([seed, epoch])
        order = random.permutation(n_images) if chances is None else random.choice(n_images, n_images, p=chances)
        chosen += order[offset : offset + count - len(chosen)].tolist()
    return chosen


@contextmanager
def _memory_explained(job: TrainingJob) -> Iterator[None]:
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        # on the CPU torch raises a plain RuntimeError; torch.OutOfMemoryError is one as well
        if not isinstance(error, MemoryError) and not any(words in str(error) for words in _NO_MEMORY):
            raise
        size = job.settings.batch_size
        advice = (
            f"try --set {job.method}.batch_size={size // 2}" if size > 1 else "try a smaller image_size or backbone"
        )
        raise TrainingError(f"out of memory with batch_size {size}; {advice}") from error


def _note(row: dict[str, float]) -> str:
    terms = " ".join(f"{value:.3f}" for value in row.values())
    return f"loss {sum(row.values()):.3f} ({terms})" if len(row) > 1 else f"loss {terms}"
