"""Tables in the terminal."""

from rich import box
from rich.console import Group
from rich.table import Table as RichTable
from rich.text import Text

from aseg_bench.reporting.cells import Cell, Table

_STYLES = {"best": "bold", "second": "underline", "": ""}


def terminal(table: Table) -> Group:
    """A table for ``rich.print``. Names are shown as they are, never read as markup."""
    grid = RichTable(box=box.SIMPLE_HEAD)
    for cell, right in zip(table.header, table.right_aligned, strict=True):
        grid.add_column(_cell(cell), justify="right" if right else "left", overflow="fold")  # nothing is cut off
    for title, rows in table.blocks:
        grid.add_section()
        if title:
            grid.add_row(Text(title, style="italic"))
        for row in rows:
            grid.add_row(*(_cell(cell) for cell in row))
    notes = (Text(f" {letter}  {text}", style="dim") for letter, text in table.notes.items())
    return Group(Text(table.caption, style="bold"), grid, *notes)


def _cell(cell: Cell) -> Text:
    text = Text(cell.text, style=_STYLES[cell.rank])
    if cell.notes:
        text.append(f" {cell.notes}", style="dim not bold not underline")
    if cell.aside:
        text.append(f" ({cell.aside})", style="dim not bold not underline")
    return text
