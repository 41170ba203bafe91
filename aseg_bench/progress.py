"""Progress bars with time left, for everything that may take longer than two seconds; lines where no terminal is."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column

Item = TypeVar("Item")
_SECONDS_BETWEEN_LINES = 60.0


class _Lines(Progress):
    """Where no terminal shows the bar, a line per minute: how much is done, the note, and the time left."""

    _told: float | None = None

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        """Advance, and say so once a minute."""
        super().advance(task_id, advance)
        self._tell(task_id)

    def update(self, task_id: TaskID, **changes: Any) -> None:
        """Update, and say so once a minute."""
        super().update(task_id, **changes)
        self._tell(task_id)

    def _tell(self, task_id: TaskID) -> None:
        now, task = time.monotonic(), self._tasks[task_id]
        if self._told is None:
            self._told = now
        if now - self._told < _SECONDS_BETWEEN_LINES or self.disable or task.finished:
            return
        self._told = now
        left = "" if task.time_remaining is None else f"{round(task.time_remaining / 60)} min left"
        texts = (f"{task.description}: {task.percentage:.0f} %", f"{task.completed:g} of {task.total:g}",
                 str(task.fields.get("note", "")), left)  # fmt: skip
        self.console.print(", ".join(filter(None, texts)), markup=False, highlight=False, soft_wrap=True)


def progress_bar(quiet: bool = False) -> Progress:
    """A bar on standard error with count, elapsed time, time left and a free text field ``note``."""
    console = _console()
    return (Progress if console.is_terminal else _Lines)(
        TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
        BarColumn(bar_width=16),
        MofNCompleteColumn(table_column=Column(no_wrap=True)),
        TimeElapsedColumn(table_column=Column(no_wrap=True)),
        TextColumn("left", table_column=Column(no_wrap=True)),
        TimeRemainingColumn(table_column=Column(no_wrap=True)),
        TextColumn(  # gives way on narrow screens
            "{task.fields[note]}", markup=False, table_column=Column(ratio=1, no_wrap=True)
        ),
        console=console,
        disable=quiet,
    )


def _console() -> Console:
    """Standard error; of a notebook too, whose widgets are a package of their own."""
    return Console(stderr=True, force_jupyter=False)


def duration(seconds: float) -> str:
    """Seconds as a reader takes them in: ``40 s``, ``12 min`` or ``3.5 h``."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


@contextmanager
def working(description: str, quiet: bool = False) -> Iterator[None]:
    """Show that something is under way whose length is unknown."""
    if quiet:
        yield
        return
    with _console().status(description):
        yield


def track(items: Iterable[Item], description: str, total: int, quiet: bool = False) -> Iterator[Item]:
    """Yield the items under a progress bar."""
    with progress_bar(quiet) as bar:
        task = bar.add_task(description, total=total, note="")
        for item in items:
            yield item
            bar.advance(task)
