r"""Tables as LaTeX for ``\input`` into a document that loads booktabs."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import groupby, zip_longest
from typing import NamedTuple
from unicodedata import category as unicode_category

import numpy as np

from aseg_bench.reporting.cells import Cell, Table

_N_LINES, _NOTE_LINES = 48, 2  # of a page, and of a footnote
N_FLOATS = 16  # LaTeX holds 18 floats in older releases, 52 in newer ones, before it must print a page
_ACROSS = {"table": 235, "table*": 495}  # points in a paper of two columns, the narrowest of the common ones
_ASIDE = 0.75  # size of what stands in parentheses or raised, in that of the text


class _Layout(NamedTuple):
    """How a table is set: the first of the layouts into which it fits."""

    environment: str
    size: str
    points: float  # of a digit
    gap: float  # points between two columns
    is_stacked: bool = False  # what stands in parentheses has a line of its own


_SMALL = r"\footnotesize\setlength{\tabcolsep}{3pt}"
_LAYOUTS = (
    _Layout("table", "", 5, 12),
    _Layout("table", _SMALL, 4.3, 6),
    _Layout("table*", "", 5, 12),
    _Layout("table*", _SMALL, 4.3, 6),
    _Layout("table*", _SMALL, 4.3, 6, is_stacked=True),
)
_FOREIGN = "ÐÞðþĄąĐđĘęĦħĮįĸĿŀŉŊŋŦŧŲųſ"  # letters that the default fonts lack
_SPECIAL = {
    **{character: rf"\{character}" for character in "&%$#_{}"},
    **{character: rf"{{{character}}}" for character in "[*"},  # else the end of the row before takes an argument
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedblright{}",
    "±": r"$\pm$",
    "–": r"\textendash{}",
    "×": r"$\times$",
    "✓": r"$\surd$",
    "−": r"$-$",
}


def latex(tables: Iterable[Table]) -> str:
    r"""All tables as ``table`` environments with caption and label, to be read with ``\input``."""
    parts = ["% Needs \\usepackage{booktabs} in the preamble.\n"]
    for number, page in enumerate(page for table in tables for page in _pages(table)):
        if number and number % N_FLOATS == 0:
            parts.append("\\clearpage\n")
        parts.append(_table(page))
    return "\n".join(parts)


def _pages(table: Table) -> list[Table]:
    """The table, or where it is longer than a page its rows in several tables, each with its own footnotes."""
    rows = [(title, row) for title, some in table.blocks for row in some]
    if len(rows) + _NOTE_LINES * len(table.notes) <= _N_LINES:
        return [table]
    pages: list[list[tuple[str, Sequence[Cell]]]] = [[]]
    for title, row in rows:
        used = {letter for _, other in [*pages[-1], (title, row)] for cell in other for letter in cell.notes.split(",")}
        if pages[-1] and len(pages[-1]) + 1 + _NOTE_LINES * len(used & table.notes.keys()) > _N_LINES:
            pages.append([])
        pages[-1].append((title, row))
    return [_page(table, page, number) for number, page in enumerate(pages)]


def _page(table: Table, page: Sequence[tuple[str, Sequence[Cell]]], number: int) -> Table:
    blocks = [(title, [row for _, row in group]) for title, group in groupby(page, key=lambda item: item[0])]
    used = {
        letter for row in (table.header, *(row for _, row in page)) for cell in row for letter in cell.notes.split(",")
    }
    notes = {letter: text for letter, text in table.notes.items() if letter in used or len(letter) > 2}
    key, caption = (
        (f"{table.key}_{number + 1}", f"{table.caption} (Continued.)") if number else (table.key, table.caption)
    )
    return replace(table, key=key, caption=caption, blocks=blocks, notes=notes)


def escape(text: str) -> str:
    """Text that pdflatex prints as it is; a character its default fonts lack is named by its code point."""
    text = re.sub(r"(?<!\S)-(?=\d)", "−", " ".join(text.split()))  # the sign of a number, not a hyphen
    text = "".join(_character(character) for character in text)
    return re.sub(r"(?<=[-'`,?!])(?=[-'`,])", "{}", text)  # no ligatures


def _character(character: str) -> str:
    if character in _SPECIAL:
        return _SPECIAL[character]
    is_letter = character <= "\u017f" and unicode_category(character)[0] == "L" and character not in _FOREIGN
    printable = character.isascii() or is_letter
    return character if printable and character.isprintable() else f"(U+{ord(character):04X})"


def _table(table: Table) -> str:
    layout = next((layout for layout in _LAYOUTS if _fits(table, layout)), _LAYOUTS[-1])
    label = re.sub(r"[^A-Za-z0-9]+", "-", table.key)
    tabulars = [_tabular(part, layout) for part in _parts(table, layout)]
    notes = [rf"$^{{{letter}}}$ {escape(text)}" for letter, text in table.notes.items()]
    return "\n".join(
        [
            rf"\begin{{{layout.environment}}}[tbp]",
            r"  \centering",
            rf"  \caption{{{escape(table.caption)}}}",
            rf"  \label{{tab:{label}}}\par\smallskip",
            *([f"  {layout.size}"] if layout.size else []),
            "\n  \\par\\smallskip\n".join(tabulars),
            *([r"  \par\smallskip", rf"  {{\footnotesize {'; '.join(notes)}\par}}"] if notes else []),
            rf"\end{{{layout.environment}}}",
            "",
        ]
    )


def _tabular(table: Table, layout: _Layout) -> str:
    n_columns = len(table.header)
    columns = "".join("r" if right else "l" for right in table.right_aligned)
    lines = _rows(table.header, layout)
    for title, rows in table.blocks:
        lines.append(r"\midrule")
        if title:
            lines.append(rf"\multicolumn{{{n_columns}}}{{l}}{{\emph{{{escape(title)}}}}} \\")
        for row in rows:
            lines += _rows(row, layout)
    begin = rf"  \begin{{tabular}}{{{columns}}}"
    return "\n".join([begin, *(f"    {line}" for line in (r"\toprule", *lines, r"\bottomrule")), r"  \end{tabular}"])


def _parts(table: Table, layout: _Layout) -> list[Table]:
    """The table, or where it is too wide its columns in as few parts as fit, each with the first column."""
    n_columns = len(table.header)
    for n_parts in range(1, n_columns):
        groups = [[0, *map(int, group)] for group in np.array_split(np.arange(1, n_columns), n_parts)]
        parts = [_columns(table, group) for group in groups]
        if all(_fits(part, layout) for part in parts):
            return parts
    return [table]


def _columns(table: Table, places: Sequence[int]) -> Table:
    blocks = [(title, [[row[place] for place in places] for row in rows]) for title, rows in table.blocks]
    return replace(table, header=[table.header[place] for place in places], blocks=blocks)


def _fits(table: Table, layout: _Layout) -> bool:
    return _width(table, layout) <= _ACROSS[layout.environment]


def _width(table: Table, layout: _Layout) -> float:
    """About how wide a table is in a layout, in points."""

    def digits(cell: Cell) -> float:
        aside = _ASIDE * (len(cell.aside) + 3) if cell.aside else 0.0
        text = len(cell.text) + _ASIDE * len(cell.notes)
        return max(text, aside) if layout.is_stacked else text + aside

    rows = [table.header, *(row for _, rows in table.blocks for row in rows)]
    return sum(
        layout.points * max(map(digits, column)) + layout.gap for column in zip_longest(*rows, fillvalue=Cell(""))
    )


def _rows(cells: Sequence[Cell], layout: _Layout) -> list[str]:
    """A row as one line, or as two where what stands in parentheses goes below."""
    texts, asides = [_text(cell) for cell in cells], [_aside(cell) for cell in cells]
    if not layout.is_stacked or not any(asides):
        texts = [f"{text} {aside}".rstrip() for text, aside in zip(texts, asides, strict=True)]
        return [" & ".join(texts) + r" \\"]
    return [" & ".join(texts) + r" \\[-2pt]", " & ".join(asides) + r" \\"]


def _text(cell: Cell) -> str:
    text = escape(cell.text)
    text = {"best": rf"\textbf{{{text}}}", "second": rf"\underline{{{text}}}", "": text}[cell.rank]
    return text + (rf"$^{{{cell.notes}}}$" if cell.notes else "")


def _aside(cell: Cell) -> str:
    return rf"{{\scriptsize ({escape(cell.aside)})}}" if cell.aside else ""
