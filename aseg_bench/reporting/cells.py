"""What tables are made of: cells, footnotes, and numbers and headings as they are printed."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from string import ascii_lowercase
from typing import Literal

from aseg_bench.metrics import METRICS
from aseg_bench.runs.scores import Result

DASH = "–"


@dataclass(frozen=True)
class Note:
    """A sentence at the top of the page, plain text.

    Attributes:
        text: what to say.
        kind: a ``warning`` is marked as one.
    """

    text: str
    kind: Literal["finding", "warning"] = "finding"


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell in print.

    Attributes:
        text: the number or name, unescaped.
        rank: ``best`` is set in bold, ``second`` underlined.
        notes: letters of the footnotes.
        aside: smaller text behind it, such as a venue or a gap.
    """

    text: str
    rank: Literal["", "best", "second"] = ""
    notes: str = ""
    aside: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A table ready for any renderer.

    Attributes:
        key: name of the table in files and LaTeX labels, for instance ``table2``.
        caption: one or two sentences.
        header: one cell per column.
        blocks: title and rows of each block; the title of the first block is usually empty.
        notes: footnotes by letter.
    """

    key: str
    caption: str
    header: Sequence[Cell]
    blocks: Sequence[tuple[str, Sequence[Sequence[Cell]]]]
    notes: Mapping[str, str] = field(default_factory=dict)

    @property
    def right_aligned(self) -> list[bool]:
        """Whether each column holds numbers, or dashes in their place."""
        rows = [row for _, rows in self.blocks for row in rows]
        return [all(row[i].text[:1] in "0123456789+-–" for row in rows) for i in range(len(self.header))]


class Footnotes:
    """Hands out one letter per text, in order of first use."""

    def __init__(self) -> None:
        self._letters: dict[str, str] = {}

    def letter(self, text: str) -> str:
        """The letter of a footnote; the empty text has none."""
        if not text:
            return ""
        number = len(self._letters)
        letter = ascii_lowercase[number % 26] * (1 + number // 26)
        return self._letters.setdefault(text, letter)

    def letters(self, result: Result) -> str:
        """The letters of a result's note and marks, separated by commas."""
        found = filter(None, map(self.letter, (result.note, *result.marks)))
        return ",".join(sorted(found, key=lambda letter: (len(letter), letter)))

    def by_letter(self) -> dict[str, str]:
        """Texts by letter, for ``Table.notes``."""
        return {letter: text for text, letter in self._letters.items()}


def result_text(result: Result | None, metric: str) -> str:
    """A result in print, ``±`` its standard deviation over runs: fractions in percent; a dash where undefined."""
    if result is None or result.value is None:
        return DASH
    scale = 100 if metric not in METRICS or METRICS[metric].unit == "fraction" else 1
    spread = "" if result.deviation is None else f" ± {scale * result.deviation:.2f}"
    return f"{scale * result.value:.2f}{spread}"


def told_seeds(caption: str, results: Iterable[Result]) -> str:
    """A caption with the meaning of ``±`` behind it, where a result has a deviation."""
    counts = sorted({len(result.by_run) for result in results if result.deviation is not None})
    if not counts:
        return caption
    n_seeds = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else f"{counts[0]}"
    return f"{caption} Numbers with ± are mean ± standard deviation of {n_seeds} seeds.".lstrip()


def heading(metric: str) -> str:
    """A metric's label with its unit in print; a metric that is not installed prints as its key."""
    if metric not in METRICS:
        return metric
    unit = {"fraction": " (%)", "ratio": "", "pixels": " (pixels)"}[METRICS[metric].unit]
    return f"{METRICS[metric].label}{unit}"


def ranks(texts: Sequence[str], higher_is_better: bool | None) -> list[Literal["", "best", "second"]]:
    """Best and second best by the printed value, ties included; nothing is best without a rival.

    Args:
        texts: printed numbers; what does not start with a number takes no part.
        higher_is_better: None ranks nothing.
    """
    values = [leading_number(text) for text in texts]
    rivals = [value for value in values if value is not None]
    if higher_is_better is None or len(rivals) < 2:
        return ["" for _ in texts]
    podium = sorted(set(rivals), reverse=higher_is_better)[:2]
    names: tuple[Literal["best"], Literal["second"]] = ("best", "second")
    return [names[podium.index(value)] if value in podium else "" for value in values]


def leading_number(text: str) -> float | None:
    """The number with which a printed one begins, ``12.3 ± 0.4``; None where it does not begin with one."""
    try:
        return float(text.split(" ")[0])
    except ValueError:
        return None
