"""BTAD of beanTech: the MVTec-AD layout with folders ``ok`` and ``ko``, and masks of their images' names."""

from functools import partial

from aseg_bench.datasets.layout import find_in_layout
from aseg_bench.datasets.records import Dataset, Layout

_LAYOUT = Layout(normal="ok", suffixes=("", "_mask"))

BTAD = Dataset(
    key="btad",
    label="BTAD",
    summary="Three industrial products, 1,799 training and 741 test images; the split is its authors'.",
    needs_root=True,
    find=partial(find_in_layout, "btad", layout=_LAYOUT),
    homepage="https://avires.dimi.uniud.it/papers/btad/btad.zip",
    licence="CC BY-SA, by the README of its archive",
    citation="Mishra et al., VT-ADL: A Vision Transformer Network for Image Anomaly Detection and Localization, ISIE "
    "2021, https://arxiv.org/abs/2104.10036",
    layout=_LAYOUT,
    marks=("*/train/ok", "*/test/ko"),
)
