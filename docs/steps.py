"""What a protocol does, step by step, in words: one sentence for each value of each setting."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from aseg_bench.protocols import EXACT, Protocol

WORDS: dict[str, dict[Any, str]] = {
    "truth_resize": {
        "nearest": "by nearest neighbour, as Pillow does, from the pixel's centre",
        "opencv_nearest": "by nearest neighbour, as OpenCV and torch do, from the pixel's corner",
        "pillow_bilinear": "by Pillow's bilinear filter, which averages and so blurs borders",
        "opencv_linear": "by OpenCV's linear interpolation, which looks at four stored pixels however many there are",
        "torch_antialias": "by torchvision's antialiased bilinear filter, without rounding to 8 bits",
    },
    "truth_rule": {
        "above_zero": "A pixel is anomalous where the result is above 0.",
        "above_half": "A pixel is anomalous where more than half of it is.",
        "at_least_half": "A pixel is anomalous where at least half of it is.",
        "above_127": "A pixel is anomalous where the result is above 127 of 255.",
        "only_full": "A pixel is anomalous only where the result is full: defects lose their border, and small ones "
        "may vanish.",
    },
    "truth_binarised_first": {True: "The mask becomes 0 or 255 by > 0 before that."},
    "map_scale": {
        "none": "Scores stay as they are.",
        "category_min_max": "Scores are rescaled from the lowest to the highest of the category, to [0, 1]; no exact "
        "metric changes by it.",
        "image_min_max": "Each map is rescaled to [0, 1] by itself, so that a normal image reaches as high as any.",
        "anomalib": "Scores are shifted so that the category's threshold of best F1 lies at one half, divided by their "
        "range, and clamped to [0, 1]: what lies beyond an end becomes one tie. Image scores are rescaled in the same "
        "way by a threshold of their own.",
    },
    "binning": {
        "exact": "Pixel AUROC and AP look at every distinct score.",
        "histogram_50": "Pixel AUROC and AP look at 50 bins of equal width, with straight lines between them.",
        "histogram_50_cuda": "Pixel AUROC and AP look at 50 bins of equal width, with straight lines between them, as "
        "the GPU code counts: the highest score lies in the last bin and above it, so it counts twice.",
        "histogram_1000": "Pixel AUROC and AP look at 1000 bins of equal width, with straight lines between them.",
        "percentiles_202": "Pixel AUROC and AP look at 202 thresholds (100 percentiles and 100 equal steps of the "
        "anomalous scores, and both ends), with straight lines between them.",
    },
    "ap_rule": {
        "steps": "AP is a sum of steps.",
        "trapezoids": "AP is an area by trapezoids, as if precision ran along a straight line between thresholds.",
        "trapezoids_resorted": "AP is an area by trapezoids between points that are sorted by recall again, which "
        "turns around those of equal recall.",
    },
    "auroc_flip": {
        False: "An AUROC below one half stays.",
        True: "An AUROC below one half is replaced by one minus itself: a map upside down scores as a good one.",
    },
    "f1_rule": {
        "exact": "Best F1 and IoU take the best of all thresholds.",
        "grid_21": "Best F1 and IoU take the best of 21 equal steps of the range of the scores; means of F1, IoU and "
        "the found share over the steps from 0.2 to 0.8 are metrics of their own.",
    },
    "dsc_rule": {
        "paper": "DSC and IoU are means over all images; a normal image counts one where nothing is marked, else zero.",
        "anomalous_only": "DSC and IoU are means over the images with a defect.",
        "pooled": "DSC and IoU are of all pixels together.",
    },
    "aupro_rule": {
        "exact": "AUPRO looks at every score, and cuts the curve at the limit by interpolation.",
        "histogram_50": "AUPRO looks at 50 bins of equal width.",
        "histogram_50_cuda": "AUPRO looks at 50 bins of equal width, counted in the same way.",
        "histogram_1000": "AUPRO looks at 1000 bins of equal width.",
        "grid_200": "AUPRO looks at 200 equal steps of the range; the false-positive rates below the limit are "
        "stretched so that the last of them becomes one.",
        "grid_200_dilated": "AUPRO looks at 200 equal steps of the range, with stretched rates; for the overlap, and "
        "not for false positives, each prediction grows by a 5 x 5 square.",
        "grid_200_per_image": "AUPRO is the mean of a value per anomalous image: at 200 equal steps of its own range, "
        "over its own normal pixels.",
        "grid_100_min_max": "AUPRO looks at 100 equal steps of the range; the false-positive rates below the limit are "
        "stretched so that the first becomes zero and the last one.",
        "resampled_regions": "AUPRO is the mean of a curve per region, each resampled by index to the length of the "
        "pooled one; with ties it can exceed 1.",
    },
    "image_score": {
        "max": "An image's score is the highest of its map.",
        "std": "An image's score is the standard deviation of its map.",
        "top_100_mean": "An image's score is the mean of its 100 highest pixels.",
        "pool_8_eight_times_max": "An image's score is the highest after eight means over 8 x 8 pixels.",
        "pool_16_max": "An image's score is the highest mean of 16 x 16 pixels.",
        "pool_21_max": "An image's score is the highest mean of 21 x 21 pixels, with zeros beyond the border.",
    },
    "image_label": {
        "folder": "Its folder says whether it is anomalous.",
        "mask": "The evaluated mask says whether it is anomalous: a defect that vanished makes it normal.",
    },
    "image_binning": {
        "exact": "",
        "histogram_1000": "Image AUROC and AP look at 1000 bins of equal width.",
    },
}


class Step(NamedTuple):
    """One step, the settings that make it, and whether it is another than `exact` has."""

    text: str
    settings: tuple[str, ...]
    differs: bool


def steps(protocol: Protocol) -> Iterator[Step]:
    """What a protocol does, in order."""

    def said(field: str) -> str:
        return WORDS[field].get(getattr(protocol, field), "")

    for text, *settings in (
        (_frame(protocol), "size", "keep_aspect", "crop"),
        (
            f"{_mask(protocol)} {said('truth_binarised_first')} {said('truth_rule')}",
            "truth_resize",
            "truth_binarised_first",
            "truth_rule",
        ),
        (
            f"The map is smoothed by a Gaussian of {protocol.smoothing:g} pixels." if protocol.smoothing else
            "The map is not smoothed; maps of official code are smoothed already where it does that.",
            "smoothing",
        ),
        (said("map_scale"), "map_scale"),
        (f"{said('binning')} {_ap(protocol)} {said('auroc_flip')}", "binning", "ap_rule", "auroc_flip"),
        (said("f1_rule"), "f1_rule"),
        (f"The threshold of the DSC maximises precision + recall. {said('dsc_rule')}", "dsc_rule"),
        (said("aupro_rule"), "aupro_rule"),
        (
            f"{said('image_score')} {said('image_label')} {said('image_binning')}",
            "image_score",
            "image_label",
            "image_binning",
        ),
    ):  # fmt: skip
        differs = any(getattr(protocol, field) != getattr(EXACT, field) for field in settings)
        yield Step(" ".join(text.split()), tuple(settings), differs)


def _frame(protocol: Protocol) -> str:
    if protocol.size == "map":
        return "Map and truth meet at the size of the map, which stays as it is."
    if protocol.size == "image":
        return (
            "Map and truth meet at the size of the original image: the map is resized bilinearly with half-pixel "
            "centres and without antialiasing, and the truth stays as it is."
        )
    edge = (
        f"the shorter edge is {protocol.size} pixels"
        if protocol.keep_aspect
        else f"both edges are {protocol.size} pixels"
    )
    crop = (
        f", and the centre square of {protocol.crop} pixels is kept: what lies outside counts nowhere"
        if protocol.crop
        else ""
    )
    return (
        f"Map and truth are both resized so that {edge}, the map bilinearly{crop}. Where masks travel with the maps at "
        "their size, neither is resized nor cropped."
    )


def _mask(protocol: Protocol) -> str:
    if protocol.size == "image":
        return "The mask has its size already."
    grown = " Since the next rule takes what is above 0, defects grow."
    resized = f"The mask is resized {WORDS['truth_resize'][protocol.truth_resize]}."
    return resized + grown * ("nearest" not in protocol.truth_resize and protocol.truth_rule == "above_zero")


def _ap(protocol: Protocol) -> str:
    return "" if protocol.binning != "exact" else WORDS["ap_rule"][protocol.ap_rule]
