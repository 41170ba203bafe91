"""What Ctrl-C does: one line instead of a traceback, and exit code 130."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path

import typer


def stoppable(command: Callable[..., None]) -> Callable[..., None]:
    """A command that Ctrl-C ends with one line, and whose paths may begin with ``~`` where no shell expands it."""

    @wraps(command)
    def stopping(**given: object) -> None:
        with _saying("stopped"):
            command(**{name: _at_home(value) for name, value in given.items()})

    return stopping


def _at_home(value: object) -> object:
    if isinstance(value, list):
        return [_at_home(one) for one in value]
    return value.expanduser() if isinstance(value, Path) else value


@contextmanager
def resumable(out: Path, overwrite: bool) -> Iterator[None]:
    """Ctrl-C ends the command and says that nothing finished is lost."""
    once = ", without --overwrite if the work had begun" if overwrite else ""
    with _saying(f"stopped; {out} keeps what is finished, and the same command goes on from there{once}"):
        yield


@contextmanager
def _saying(word: str) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        print(word, file=sys.stderr)
        raise typer.Exit(130) from None
