"""MPDD, metal parts; in the MVTec-AD layout."""

from functools import partial

from aseg_bench.datasets.layout import MVTEC_LAYOUT, find_in_layout
from aseg_bench.datasets.records import CategoryCounts, Dataset

MPDD = Dataset(
    key="mpdd",
    label="MPDD",
    summary="Metal parts of six kinds, seen from several sides; the split is its authors'.",
    needs_root=True,
    find=partial(find_in_layout, "mpdd"),
    homepage="https://github.com/stepanje/MPDD",
    licence="CC BY-NC-SA 4.0",
    citation="Jezek et al., Deep learning-based defect detection of metal parts: evaluating current methods in complex "
    "conditions, ICUMT 2021, https://doi.org/10.1109/ICUMT54235.2021.9631567",
    layout=MVTEC_LAYOUT,
    marks=("bracket_black/train/good",),
    counts={
        "bracket_black": CategoryCounts(289, 32, 47),
        "bracket_brown": CategoryCounts(185, 26, 51),
        "bracket_white": CategoryCounts(110, 30, 30),
        "connector": CategoryCounts(128, 30, 14),
        "metal_plate": CategoryCounts(54, 26, 71),
        "tubes": CategoryCounts(122, 32, 69),
    },
)
