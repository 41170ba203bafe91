"""Tables as Markdown (pipe tables, as GitHub reads them)."""

import re
from collections.abc import Iterable

from tabulate import tabulate

from aseg_bench.reporting.cells import Cell, Table


def markdown(tables: Iterable[Table]) -> str:
    """All tables as one Markdown text: caption, table, footnotes."""
    return "\n".join(_table(table) for table in tables)


def escape_markdown(text: str) -> str:
    """Text that Markdown and the HTML inside it print as it is."""
    text = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|~$#])", r"\\\1", text)


def _table(table: Table) -> str:
    rows = []
    for title, block in table.blocks:
        if title:
            rows.append([f"*{escape_markdown(title)}*"])
        rows += [[_cell(cell) for cell in row] for row in block]
    alignment = ["right" if right else "left" for right in table.right_aligned]
    grid = tabulate(
        rows,
        headers=[_cell(cell) for cell in table.header],
        tablefmt="pipe",
        colalign=alignment,
        disable_numparse=True,
    )
    notes = "".join(f"\n<sup>{letter}</sup> {escape_markdown(text)}  " for letter, text in table.notes.items())
    return f"**{escape_markdown(table.caption)}**\n\n{grid}\n{notes}\n"


def _cell(cell: Cell) -> str:
    text = escape_markdown(cell.text)
    text = {"best": f"**{text}**", "second": f"<u>{text}</u>", "": text}[cell.rank]
    aside = f" ({escape_markdown(cell.aside)})" if cell.aside else ""
    notes = f"<sup>{cell.notes}</sup>" if cell.notes else ""
    return f"{text}{notes}{aside}"
