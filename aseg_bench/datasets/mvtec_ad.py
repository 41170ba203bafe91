"""MVTec-AD and every custom set in its layout; the categories are those found on disk."""

from functools import partial

from aseg_bench.datasets.layout import MVTEC_LAYOUT, find_in_layout
from aseg_bench.datasets.records import CategoryCounts, Dataset

MVTEC_AD = Dataset(
    key="mvtec_ad",
    label="MVTec-AD",
    summary="MVTec-AD, or any set of your own in its layout: <category>/{train,test,ground_truth}.",
    needs_root=True,
    find=partial(find_in_layout, "mvtec_ad"),
    homepage="https://www.mvtec.com/company/research/datasets/mvtec-ad",
    licence="CC BY-NC-SA 4.0",
    citation="Bergmann et al., The MVTec Anomaly Detection Dataset, IJCV 2021, "
    "https://doi.org/10.1007/s11263-020-01400-4",
    layout=MVTEC_LAYOUT,
    marks=("*/train/good", "*/ground_truth"),
    counts={
        "bottle": CategoryCounts(209, 20, 63),
        "cable": CategoryCounts(224, 58, 92),
        "capsule": CategoryCounts(219, 23, 109),
        "carpet": CategoryCounts(280, 28, 89),
        "grid": CategoryCounts(264, 21, 57),
        "hazelnut": CategoryCounts(391, 40, 70),
        "leather": CategoryCounts(245, 32, 92),
        "metal_nut": CategoryCounts(220, 22, 93),
        "pill": CategoryCounts(267, 26, 141),
        "screw": CategoryCounts(320, 41, 119),
        "tile": CategoryCounts(230, 33, 84),
        "toothbrush": CategoryCounts(60, 12, 30),
        "transistor": CategoryCounts(213, 60, 40),
        "wood": CategoryCounts(247, 19, 60),
        "zipper": CategoryCounts(240, 32, 119),
    },
)
