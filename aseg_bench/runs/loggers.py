"""Trackers of experiments that take the losses of trainings and the scores: by name, or by a function of the user's."""

import re
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from aseg_bench.errors import InputError, near_matches
from aseg_bench.methods import Logger
from aseg_bench.records import MEAN, Score
from aseg_bench.runs.scores import frame_of

PROJECT = "aseg-bench"
_ODD = re.compile(r"[^\w. /:-]")  # MLflow takes no others in a name


def make_logger(key: str, folder: Path, name: str) -> Logger:
    """The logger of one method on one data set.

    Args:
        key: of ``LOGGERS``, or ``module:function``, whose function gets folder and name and returns a `Logger`.
        folder: of the training; only what keeps files writes there, and not before the first numbers.
        name: of the method and the data set, ``uni_as/demo``.

    Raises:
        InputError: there is no such logger or function.
        ModuleNotFoundError: its package is not installed.
    """
    if key in LOGGERS:
        import_module(key)  # before any work
        return LOGGERS[key](folder, name)
    if ":" not in key:
        raise InputError(f"no logger {key}; {near_matches(key, list(LOGGERS))}; or name your own as module:function")
    try:
        make = resolve_name(key)
    except (AttributeError, ValueError) as error:
        raise InputError(f"--logger {key} names no function: {error}") from error
    if not callable(make):
        raise InputError(f"--logger {key} names no function, but a {type(make).__name__}")
    logger: Logger = make(folder, name)
    return logger


def log_scores(logger: Logger, scores: Iterable[Score], step: int) -> None:
    """Hand over the scores of a method: the mean as ``pixel_ap``, those of categories as ``pixel_ap/bottle``."""
    rows = frame_of(scores).dropna(subset="value")
    values = {}
    for metric, category, value in zip(rows["metric"], rows["category"], rows["value"], strict=True):
        values[_ODD.sub("_", metric if category == MEAN else f"{metric}/{category}")] = float(value)
    logger.log_metrics(metrics=values, step=step)


class _Tracker:
    """A tracker whose run begins with the first numbers, in the process that has them."""

    def __init__(self, begin: Callable[[Path, str], tuple[Any, Any]], folder: Path, name: str) -> None:
        self._begin, self._folder, self._name = begin, folder, name
        self._log: Any = None

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        if self._log is None:
            self._log, self._end = self._begin(self._folder, self._name)
        self._log(dict(metrics), step=step)

    def finalize(self, status: str) -> None:
        if self._log is not None:
            self._end(status == "success")
        self._log = None


def _tensorboard(folder: Path, name: str) -> Logger:
    del name
    logger: Logger = resolve_name("lightning_fabric.loggers:TensorBoardLogger")(folder, name="", version="tensorboard")
    return logger


def _wandb(folder: Path, name: str) -> tuple[Any, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    run = import_module("wandb").init(project=PROJECT, name=name, dir=folder, reinit="create_new")
    return run.log, lambda is_well: run.finish(exit_code=0 if is_well else 1)


def _trackio(folder: Path, name: str) -> tuple[Any, Any]:
    del folder  # it keeps all runs in one place
    run = import_module("trackio").init(project=PROJECT, name=name)
    return run.log, lambda is_well: run.finish()  # it keeps no outcome


def _mlflow(folder: Path, name: str) -> tuple[Any, Any]:
    del folder  # MLFLOW_TRACKING_URI says where its runs go
    mlflow = import_module("mlflow")
    mlflow.set_experiment(PROJECT)
    mlflow.start_run(run_name=name)
    return mlflow.log_metrics, lambda is_well: mlflow.end_run("FINISHED" if is_well else "FAILED")


LOGGERS: Mapping[str, Callable[[Path, str], Logger]] = {
    "tensorboard": _tensorboard,
    "wandb": lambda folder, name: _Tracker(_wandb, folder, name),
    "mlflow": lambda folder, name: _Tracker(_mlflow, folder, name),
    "trackio": lambda folder, name: _Tracker(_trackio, folder, name),
}
"""By the name of their package; each is made from a folder and a name."""
