"""MVTec AD 2: the public test images are ``test``; those whose truth only the server has are splits of their own."""

from functools import partial

from aseg_bench.corruptions import clean_of
from aseg_bench.datasets.layout import find_in_layout
from aseg_bench.datasets.records import Dataset, Layout
from aseg_bench.records import Sample

_KEY = "mvtec_ad_2"

_LAYOUT = Layout(
    images={
        "train": "train/{defect}",
        "validation": "validation/{defect}",
        "test": "test_public/{defect}",
        "test_private": "test_private",
        "test_private_mixed": "test_private_mixed",
    },
    masks=("test_public/ground_truth/{defect}",),
    suffixes=("_mask",),
)

MVTEC_AD_2 = Dataset(
    key=_KEY,
    label="MVTec AD 2",
    summary="Eight objects under several lights. Scored are the 1,084 public test images; validation, test_private and "
    "test_private_mixed, whose truth only the server has, are splits of their own.",
    needs_root=True,
    find=partial(find_in_layout, _KEY, layout=_LAYOUT),
    homepage="https://www.mvtec.com/company/research/datasets/mvtec-ad-2",
    licence="CC BY-NC-SA 4.0",
    citation="Heckler-Kram et al., The MVTec AD 2 Dataset: Advanced Scenarios for Unsupervised Anomaly Detection, "
    "2025, https://arxiv.org/abs/2503.21622",
    layout=_LAYOUT,
    marks=("*/test_public",),
)


def light_of(sample: Sample) -> str:
    """The light of an image of MVTec AD 2, ``overexposed`` of ``012_overexposed``; empty for other data sets."""
    return sample.stem.partition("_")[2] if clean_of(sample.dataset) == _KEY else ""
