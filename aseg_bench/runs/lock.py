"""One writer at a time: the lock on a folder of results, under which what killed processes have left is removed."""

import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from datetime import UTC, datetime
from functools import wraps
from inspect import signature
from pathlib import Path
from typing import IO, ParamSpec, TypeVar

from aseg_bench.errors import InputError
from aseg_bench.files import make_folder, remove_left_overs, took_lock
from aseg_bench.runs.provenance import command_line

LOCK = ".lock"
_WRITTEN_BELOW = ("maps", "training", "report", "figures", "by_seed", "level_maps")  # folders of files written whole
_SECONDS = 1.0  # of trying, as `aseg-bench status` holds a lock for a moment to see whether it is free

P = ParamSpec("P")
R = TypeVar("R")


def is_helper() -> bool:
    """Whether this is a process of ``torchrun`` other than the first: it helps to train, and writes nothing."""
    return os.environ.get("RANK", "0") not in {"", "0"}


@contextmanager
def held(out: Path) -> Iterator[None]:
    """Hold a folder of results while it is written into. The system lets it go when the process ends, however it does.

    What killed processes have left half-written there is removed first. Where nothing came into a folder that was not
    there before, none is left. A process of ``torchrun`` that only helps holds nothing.

    Args:
        out: the folder; it is made.

    Raises:
        InputError: it cannot be made or written into, or another process holds it; the text says which.
    """
    if is_helper():
        yield
        return
    made = [folder for folder in (out, *out.parents) if not folder.exists()]
    make_folder(out)
    with _locked(out) as file:
        file.write(json.dumps(_this_process()))
        file.flush()
        remove_left_overs(out, _WRITTEN_BELOW)
        try:
            yield
        finally:
            with suppress(OSError):  # Windows removes no open file, and a folder that is not empty stays
                (out / LOCK).unlink()
                for folder in made:
                    folder.rmdir()


def holding(work: Callable[P, R]) -> Callable[P, R]:
    """A function that holds the folder that its argument ``out`` names, unless that is None."""

    @wraps(work)
    def working(*given: P.args, **named: P.kwargs) -> R:
        out = signature(work).bind(*given, **named).arguments.get("out")
        with nullcontext() if out is None else held(out):
            return work(*given, **named)

    return working


def holder(out: Path) -> str | None:
    """Who holds a folder: process, host, time and command; None where nobody does. Nothing is written."""
    try:
        with (out / LOCK).open("r+", encoding="utf-8") as file:
            return None if took_lock(file) else _told(file)
    except OSError:  # nobody has held it, or it is another user's, whom this one cannot ask
        return None


@contextmanager
def _locked(out: Path) -> Iterator[IO[str]]:
    started = time.monotonic()
    while True:
        with (out / LOCK).open("a+", encoding="utf-8") as file:
            is_free = took_lock(file)
            if is_free and _is_there(file):
                file.truncate(0)
                yield file
                return
            if not is_free and time.monotonic() - started > _SECONDS:
                raise InputError(f"{out} is in use by {_told(file)}; wait until it is done, or choose another --out")
        time.sleep(_SECONDS / 20)


def _is_there(file: IO[str]) -> bool:
    """Whether an open file still has its name; the process that held it may have just removed it."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(file.name))  # noqa: PTH116 - of a name, not a path
    except FileNotFoundError:
        return False


def _this_process() -> dict[str, str]:
    since = datetime.now(UTC).isoformat(timespec="seconds")
    return {"process": str(os.getpid()), "host": platform.node(), "since": since, "command": command_line()}


def _told(file: IO[str]) -> str:
    try:
        file.seek(0)
        told = json.loads(file.read())
        return f"process {told['process']} on {told['host']} since {told['since']}: {told['command']}"
    except (ValueError, KeyError, TypeError):  # it has just begun
        return "another process"
