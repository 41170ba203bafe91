"""METRICS, the one table of metric facts."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from aseg_bench.metrics import image, pixel


@dataclass(frozen=True, slots=True)
class Metric:
    """What the toolkit knows of a metric.

    Attributes:
        key: name in ``scores.csv`` and on the command line.
        label: name in print.
        level: what it counts: ``pixel``, ``region``, ``image``, or ``data`` where it says nothing of the method.
        higher_is_better: None where neither is.
        function: computes it from a finished sweep.
        summary: what it measures, in one line.
        source: where it was defined.
        unit: ``fraction`` is printed in per cent, ``ratio`` and ``pixels`` as they are.
    """

    key: str
    label: str
    level: Literal["pixel", "region", "image", "data"]
    higher_is_better: bool | None
    function: Callable[[Any], float]
    summary: str
    source: str
    unit: Literal["fraction", "ratio", "pixels"] = "fraction"


FAWCETT = "Fawcett (2006), https://doi.org/10.1016/j.patrec.2005.10.010"
UNIAS = "Ma et al., UniAS (WACV 2025), section 4.2"

METRICS: dict[str, Metric] = {
    metric.key: metric
    for metric in (
        Metric(
            "pixel_auroc", "Pixel AUROC", "pixel", True, pixel.auroc,
            "chance that an anomalous pixel outscores a normal one; a tie counts one half", FAWCETT,
        ),
        Metric(
            "pixel_ap", "Pixel AP", "pixel", True, pixel.ap,
            "mean precision over the anomalous pixels, by steps", "scikit-learn, average_precision_score",
        ),
        Metric("pixel_f1_max", "Best F1", "pixel", True, pixel.f1_max, "F1 at the best threshold", FAWCETT),
        Metric(
            "dsc", "DSC", "pixel", True, pixel.dsc,
            "Dice per image at the threshold that maximises precision + recall, mean over all images", UNIAS,
        ),
        Metric(
            "iou", "IoU", "pixel", True, pixel.iou,
            "intersection over union per image at that threshold, mean over all images", UNIAS,
        ),
        Metric(
            "anomaly_rate", "Anomaly Rate", "data", None, pixel.anomaly_rate,
            "share of anomalous pixels over all images", UNIAS,
        ),
        Metric(
            "anomaly_rate_anomalous", "Anomaly Rate (anomalous images)", "data", None, pixel.anomaly_rate_anomalous,
            "share of anomalous pixels over the images that have any", UNIAS,
        ),
        Metric("image_auroc", "Image AUROC", "image", True, image.auroc,
               "chance that an anomalous image outscores a normal one; a tie counts one half", FAWCETT),
        Metric("image_ap", "Image AP", "image", True, image.ap, "step AP over images",
               "scikit-learn, average_precision_score"),
    )
}  # fmt: skip

DEFAULT_METRICS: tuple[str, ...] = (
    "pixel_auroc",
    "pixel_ap",
    "pixel_f1_max",
    "dsc",
    "iou",
    "anomaly_rate",
    "anomaly_rate_anomalous",
    "image_auroc",
    "image_ap",
)
