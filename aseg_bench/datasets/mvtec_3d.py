"""MVTec 3D-AD: its colour images alone. Images and masks of a kind of defect lie in folders side by side."""

from functools import partial

from aseg_bench.datasets.layout import find_in_layout
from aseg_bench.datasets.records import CategoryCounts, Dataset, Layout

_LAYOUT = Layout(
    images={"train": "train/{defect}/rgb", "test": "test/{defect}/rgb", "validation": "validation/{defect}/rgb"},
    masks=("test/{defect}/gt",),
    suffixes=("",),
    beside=frozenset({"xyz"}),  # the depth, as TIFFs of positions
)

MVTEC_3D = Dataset(
    key="mvtec_3d",
    label="MVTec 3D-AD",
    summary="Ten objects; of pictures and depth the pictures are read. 294 more normal ones are its split validation.",
    needs_root=True,
    find=partial(find_in_layout, "mvtec_3d", layout=_LAYOUT),
    homepage="https://www.mvtec.com/company/research/datasets/mvtec-3d-ad",
    licence="CC BY-NC-SA 4.0",
    citation="Bergmann et al., The MVTec 3D-AD Dataset for Unsupervised 3D Anomaly Detection and Localization, "
    "VISAPP 2022, https://arxiv.org/abs/2112.09045",
    layout=_LAYOUT,
    marks=("*/train/good/rgb",),
    counts={
        "bagel": CategoryCounts(244, 22, 88),
        "cable_gland": CategoryCounts(223, 21, 87),
        "carrot": CategoryCounts(286, 27, 132),
        "cookie": CategoryCounts(210, 28, 103),
        "dowel": CategoryCounts(288, 26, 104),
        "foam": CategoryCounts(236, 20, 80),
        "peach": CategoryCounts(361, 26, 106),
        "potato": CategoryCounts(300, 22, 92),
        "rope": CategoryCounts(298, 32, 69),
        "tire": CategoryCounts(210, 25, 87),
    },
)
