r"""Tables as LaTeX for ``\input`` into a document that loads booktabs."""

import re
from collections.abc import Iterable, Sequence
from unicodedata import category as unicode_category

from aseg_bench.reporting.tables import Cell, Table

N_COLUMNS_ACROSS = 7  # a wider table spans both columns of a paper, in small print
N_FLOATS = 16  # LaTeX holds 18 floats in older releases, 52 in newer ones, before it must print a page
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
    for number, table in enumerate(tables):
        if number and number % N_FLOATS == 0:
            parts.append("\\clearpage\n")
        parts.append(_table(table))
    return "\n".join(parts)


def escape(text: str) -> str:
    """Text that pdflatex prints as it is; a character its default fonts lack is named by its code point."""
    text = re.sub(r"(?<!\S)-(?=\d)", "−", " ".join(text.split()))  # the sign of a number, no hyphen
    text = "".join(_character(character) for character in text)
    return re.sub(r"(?<=[-'`,?!])(?=[-'`,])", "{}", text)  # no ligatures


def _character(character: str) -> str:
    if character in _SPECIAL:
        return _SPECIAL[character]
    printable = character.isascii() or (character <= "\u017f" and unicode_category(character)[0] == "L")
    return character if printable and character.isprintable() else f"(U+{ord(character):04X})"


def _table(table: Table) -> str:
    n_columns = len(table.header)
    is_wide = n_columns > N_COLUMNS_ACROSS
    environment = "table*" if is_wide else "table"
    label = re.sub(r"[^A-Za-z0-9]+", "-", table.key)
    columns = "".join("r" if right else "l" for right in table.right_aligned)
    lines = [_row(table.header)]
    for title, rows in table.blocks:
        lines.append(r"\midrule")
        if title:
            lines.append(rf"\multicolumn{{{n_columns}}}{{l}}{{\emph{{{escape(title)}}}}} \\")
        lines += [_row(row) for row in rows]
    notes = [rf"$^{{{letter}}}$ {escape(text)}" for letter, text in table.notes.items()]
    return "\n".join(
        [
            rf"\begin{{{environment}}}[tbp]",
            r"  \centering",
            rf"  \caption{{{escape(table.caption)}}}",
            rf"  \label{{tab:{label}}}\par\smallskip",
            *([r"  \footnotesize\setlength{\tabcolsep}{3pt}"] if is_wide else []),
            rf"  \begin{{tabular}}{{{columns}}}",
            r"    \toprule",
            *(f"    {line}" for line in lines),
            r"    \bottomrule",
            r"  \end{tabular}",
            *([r"  \par\smallskip", rf"  {{\footnotesize {'; '.join(notes)}\par}}"] if notes else []),
            rf"\end{{{environment}}}",
            "",
        ]
    )


def _row(cells: Sequence[Cell]) -> str:
    return " & ".join(_cell(cell) for cell in cells) + r" \\"


def _cell(cell: Cell) -> str:
    text = escape(cell.text)
    text = {"best": rf"\textbf{{{text}}}", "second": rf"\underline{{{text}}}", "": text}[cell.rank]
    notes = rf"$^{{{cell.notes}}}$" if cell.notes else ""
    aside = rf" {{\scriptsize ({escape(cell.aside)})}}" if cell.aside else ""
    return f"{text}{notes}{aside}"
