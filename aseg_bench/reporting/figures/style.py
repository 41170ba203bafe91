"""How every figure looks: colours and marks that survive colour blindness and a grey printer, and files that repeat."""

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import matplotlib.style
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from aseg_bench.files import written_whole

COLUMN, PAGE = 3.4, 7.0  # widths in inches: one column and both columns of a paper
TRUTH, NORMAL, ANOMALOUS = "#D55E00", "#0072B2", "#D55E00"
GREY = "#767676"

# Okabe and Ito (2008), https://jfly.uni-koeln.de/color/ ; the yellow is left out: it vanishes on white
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
_MARKERS = "osD^vPX*<>p"
_DASHES = ("-", (0, (5, 2)), (0, (1, 1.2)), (0, (4, 1.5, 1, 1.5)), (0, (8, 2)))
_SETTINGS = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.labelsize": 8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 8,
    "figure.dpi": 200,
    "figure.titlesize": 9,
    "font.size": 8,
    "grid.alpha": 0.3,
    "grid.linewidth": 0.5,
    "legend.borderpad": 0.3,
    "legend.edgecolor": "none",
    "legend.fontsize": 7,
    "legend.framealpha": 0.8,  # what lies below a legend stays visible
    "lines.linewidth": 1.3,
    "pdf.fonttype": 42,
    "svg.hashsalt": "aseg-bench",
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
}


_N_NAME = 60  # characters of a name that enter a file's name
_CANVASES: dict[str, tuple[type[Any], str]] = {  # and the key of what would differ each time
    "png": (FigureCanvasAgg, "Software"),
    "svg": (FigureCanvasSVG, "Date"),
    "pdf": (FigureCanvasPdf, "CreationDate"),
}
FORMATS = tuple(_CANVASES)
_PNG_LEVEL = 4  # of compression: two thirds of the time that the default takes, and files 3 % larger


@dataclass(frozen=True, slots=True)
class Look:
    """Colour, marker and dashes of one method, the same in every figure of a report."""

    colour: str
    marker: str
    dashes: Any


def looks(names: Sequence[str]) -> dict[str, Look]:
    """A look per name, in order; no two of the first 77 share colour and marker."""
    return {
        name: Look(_COLOURS[i % len(_COLOURS)], _MARKERS[i % len(_MARKERS)], _DASHES[i % len(_DASHES)])
        for i, name in enumerate(dict.fromkeys(names))
    }


@contextmanager
def style() -> Iterator[None]:
    """The settings of all figures, for as long as the block lasts; a sign that the font lacks is drawn as a box."""
    with matplotlib.style.context(["default", _SETTINGS]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def new_figure(width: float, height: float) -> Figure:
    """A figure of its own: no pyplot, so nothing stays behind. Width and height in inches."""
    figure = Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=0.03, h_pad=0.03, wspace=0, hspace=0))
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, folder: Path, name: str, formats: Sequence[str] = FORMATS) -> list[Path]:
    """Write a figure in all formats, the same bytes each time; returns the files. The layout is settled once."""
    if (layout := figure.get_layout_engine()) is not None:
        with style():
            layout.execute(figure)
    figure.set_layout_engine("none")
    paths = [folder / f"{name}.{ending}" for ending in formats]
    for path in paths:
        with style(), written_whole(path) as temporary:
            kind, undated = _CANVASES[path.suffix[1:]]
            # savefig would draw everything twice, to settle a layout that is settled
            extra = {"pil_kwargs": {"compress_level": _PNG_LEVEL}} if path.suffix == ".png" else {}
            getattr(kind(figure), f"print_{path.suffix[1:]}")(temporary, metadata={undated: None}, **extra)
    return paths


def file_name(*parts: str) -> str:
    """A file name from names that a user chose: letters, digits, ``-`` and ``_`` only, and different for each."""
    return "_".join(_plain(part) for part in parts)


def _plain(name: str) -> str:
    plain = re.sub(r"[^A-Za-z0-9_-]+", "_", name)[:_N_NAME]
    return plain if plain == name else f"{plain}-{sha256(name.encode()).hexdigest()[:6]}"


def printed(text: str, length: int = 24) -> str:
    """A name as matplotlib must get it: short, its dollar signs not read as formulas, and never hidden in legends."""
    text = text if len(text) <= length else f"{text[: length - 1]}…"
    text = text.replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text
