"""About how long a training and its maps will take, from a few of its own steps and maps that are timed here."""

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from aseg_bench.records import Sample
from aseg_bench.training.checkpoints import TrainingState

TIMED_SECONDS = 4.0  # of training steps
N_TIMED = 8  # images that are read, and maps that are made
Result = TypeVar("Result")


def spread(samples: Sequence[Sample]) -> list[Sample]:
    """A few of the samples, evenly over all, the first among them."""
    places = np.unique(np.linspace(0, len(samples) - 1, min(N_TIMED, len(samples))).astype(int))
    return [samples[place] for place in places]


def timed(work: Callable[[], Result]) -> tuple[Result, float]:
    """What comes of some work, and its seconds."""
    started = time.monotonic()
    return work(), time.monotonic() - started


def seconds_per_step(state: TrainingState) -> float:
    """Seconds of a step in a short training; its first ones, which warm up, are left out where there are enough."""
    first, last = state.log[0], state.log[-1]
    if last["step"] > first["step"]:
        return (last["seconds"] - first["seconds"]) / (last["step"] - first["step"])
    return state.seconds / state.step
