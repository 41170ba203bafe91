"""BMAD, medical images of six kinds; three of them have masks, and the others enter image metrics only."""

from functools import partial

from aseg_bench.datasets.layout import find_in_layout
from aseg_bench.datasets.records import Dataset, Layout

_LAYOUT = Layout(
    images={"train": "train/{defect}/img", "test": "test/{defect}/img"},
    masks=("test/{defect}/label", "test/{defect}/anomaly_mask"),
    suffixes=("",),
    beside=frozenset({"valid"}),
)

BMAD = Dataset(
    key="bmad",
    label="BMAD",
    summary="Medical images of six kinds, with masks of brain, liver and RESC; --image-level takes the others. "
    "The images in valid, to choose settings with, are left out.",
    needs_root=True,
    find=partial(find_in_layout, "bmad", layout=_LAYOUT),
    homepage="https://github.com/DorisBao/BMAD",
    citation="Bao et al., BMAD: Benchmarks for Medical Anomaly Detection, 2023, https://arxiv.org/abs/2306.11876",
    layout=_LAYOUT,
    marks=("*/test/Ungood",),
)
