"""Progress bars with time left, for everything that may take longer than two seconds."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Column

Item = TypeVar("Item")


def progress_bar(quiet: bool = False) -> Progress:
    """A bar on standard error with count, elapsed time, time left and a free text field ``note``."""
    return Progress(
        TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
        BarColumn(bar_width=16),
        MofNCompleteColumn(table_column=Column(no_wrap=True)),
        TimeElapsedColumn(table_column=Column(no_wrap=True)),
        TextColumn("left", table_column=Column(no_wrap=True)),
        TimeRemainingColumn(table_column=Column(no_wrap=True)),
        TextColumn(  # gives way on narrow screens
            "{task.fields[note]}", markup=False, table_column=Column(ratio=1, no_wrap=True)
        ),
        console=Console(stderr=True),
        disable=quiet,
    )


@contextmanager
def working(description: str, quiet: bool = False) -> Iterator[None]:
    """Show that something is under way whose length is unknown."""
    if quiet:
        yield
        return
    with Console(stderr=True).status(description):
        yield


def track(items: Iterable[Item], description: str, total: int, quiet: bool = False) -> Iterator[Item]:
    """Yield the items under a progress bar."""
    with progress_bar(quiet) as bar:
        task = bar.add_task(description, total=total, note="")
        for item in items:
            yield item
            bar.advance(task)
