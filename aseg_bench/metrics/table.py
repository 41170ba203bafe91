"""METRICS, the one table of metric facts: tables, command line, laws and the sweep all read it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from numpy.typing import ArrayLike

from aseg_bench.metrics import measures
from aseg_bench.metrics.checks import Masks, ScoreMaps
from aseg_bench.metrics.first_pass import CURVE_ONLY, Needs
from aseg_bench.metrics.passes import sweep_maps
from aseg_bench.metrics.second_pass import ImageScore
from aseg_bench.metrics.sweep import Sweep

Level = Literal["pixel", "region", "image", "data"]
Unit = Literal["fraction", "ratio", "pixels"]


@dataclass(frozen=True, slots=True)
class Metric:
    """What the toolkit knows of a metric; called with maps, it measures them: ``METRICS["pixel_ap"](scores, masks)``.

    Attributes:
        key: name in ``scores.csv`` and on the command line.
        label: name in print.
        level: what it is about; ``data`` says nothing of the method.
        higher_is_better: None where neither direction is better.
        function: computes it from a finished sweep; raises UndefinedMetricError where it has no value.
        summary: what it measures, in one line.
        source: where it is defined.
        needs: what it needs of the sweep.
        unit: ``fraction`` is printed in per cent, ``ratio`` and ``pixels`` as they are.
        is_of_protocols: a sweep never has a value, as its thresholds follow the range of the scores; the protocols
            that define it do.
        needs_threshold: it is taken at a threshold that was found on normal images, and undefined without one.
        needs_saturation: it is about defects with saturation areas, and undefined without these.
    """

    key: str
    label: str
    level: Level
    higher_is_better: bool | None
    function: Callable[[Sweep], float]
    summary: str
    source: str
    needs: Needs = CURVE_ONLY
    unit: Unit = "fraction"
    is_of_protocols: bool = False
    needs_threshold: bool = False
    needs_saturation: bool = False

    def __call__(
        self,
        scores: ScoreMaps,
        masks: Masks,
        *,
        image_scores: ArrayLike | ImageScore | None = None,
        threshold: float | None = None,
    ) -> float:
        """The metric of the maps of one category; arguments and errors are those of `evaluate_maps`."""
        needs = replace(self.needs, threshold=threshold)
        return float(self.function(sweep_maps(scores, masks, needs, image_scores=image_scores)))


AUPIMO_RANGE = (1e-5, 1e-4)

_FAWCETT = "Fawcett (2006), https://doi.org/10.1016/j.patrec.2005.10.010"
_DAVIS = "Davis and Goadrich (2006), https://doi.org/10.1145/1143844.1143874"
_STEP_AP = "step sum without interpolation, as scikit-learn's average_precision_score"
_VAN_RIJSBERGEN = "van Rijsbergen, Information Retrieval (1979), chapter 7"
_UNIAS = "Ma et al., UniAS (WACV 2025), section 4.1"
_MVTEC = "Bergmann et al. (2021), https://doi.org/10.1007/s11263-020-01400-4"
_LOCO = "Bergmann et al. (2022), https://doi.org/10.1007/s11263-022-01578-9"
_AUPIMO = "Bertoldo et al. (2024), https://arxiv.org/abs/2401.01984"
_PATCHCORE = "Roth et al. (2022), https://doi.org/10.1109/CVPR52688.2022.01392, by its code, bin/run_patchcore.py"
_DESTSEG = "Zhang et al. (2023), https://arxiv.org/abs/2211.11317"
_ADER = "zhangzjn/ADer, util/metric.py"
_AT = "at the threshold that maximises precision + recall"
_BOUNDARY = "Cheng et al., Boundary IoU (CVPR 2021), https://arxiv.org/abs/2103.16562; of all images together is ours"
_FROC = "free-response ROC: Chakraborty (2013), https://doi.org/10.1016/j.acra.2013.03.001"
_AD_2 = "Heckler-Kram et al., MVTec AD 2 (2025), https://arxiv.org/abs/2503.21622"

_OVERLAPS = Needs(overlaps=True)
_REGIONS = Needs(regions=True)
_IMAGES = Needs(curve=False, images=True)
_OF_ANOMALOUS = Needs(curve=False, anomalous_images=True)
_TOPS = Needs(curve=False, regions=True, normal_fpr=AUPIMO_RANGE[1])  # regions: the same bits as beside AUPRO

_BY_ADER = partial(measures.of_protocols, names="ader and ader_adeval50")


def _above(
    key: str,
    label: str,
    higher_is_better: bool | None,
    function: Callable[[Sweep], float],
    words: str,
    source: str,
    unit: Unit = "fraction",
    *,
    level: Level = "pixel",
    shapes: bool = False,
) -> Metric:
    """A metric at the threshold that was found on normal images."""
    summary = f"{words} above the threshold found on normal images"
    needs = Needs(curve=False, shapes=shapes)
    return Metric(key, label, level, higher_is_better, function, summary, source, needs, unit, needs_threshold=True)


METRICS: dict[str, Metric] = {
    metric.key: metric
    for metric in (
        Metric("pixel_auroc", "Pixel AUROC", "pixel", True, measures.pixel_auroc,
               "chance that an anomalous pixel outscores a normal one; a tie counts one half", _FAWCETT),
        Metric("pixel_auroc_anomalous", "Pixel AUROC (anomalous images)", "pixel", True, measures.pixel_auroc_anomalous,
               "pixel AUROC over the images with an anomalous pixel", _PATCHCORE, _OF_ANOMALOUS),
        Metric("pixel_ap", "Pixel AP", "pixel", True, measures.pixel_ap,
               "area under precision over recall, by steps", _STEP_AP),
        Metric("pixel_ap_lift", "AP lift", "pixel", True, measures.pixel_ap_lift,
               "pixel AP over the share of anomalous pixels, which chance reaches", _DAVIS, unit="ratio"),
        Metric("pixel_f1_max", "Best F1", "pixel", True, measures.pixel_f1_max,
               "F1 of all pixels at the best threshold", _VAN_RIJSBERGEN),
        Metric("pixel_iou_max", "Best IoU", "pixel", True, measures.pixel_iou_max,
               "intersection over union of all pixels at the best threshold", _VAN_RIJSBERGEN),
        Metric("pixel_fpr_at_95_tpr", "FPR at 95 % TPR", "pixel", False, measures.pixel_fpr_at_95_tpr,
               "share of normal pixels called anomalous where 95 % of the anomalous ones are found", _FAWCETT),
        *(
            Metric(f"pixel_{key}_0.2_0.8", f"{label} (0.2 to 0.8)", "pixel", True, _BY_ADER,
                   f"mean {words} of all pixels at seven thresholds from 0.2 to 0.8 of the range of the scores", _ADER,
                   is_of_protocols=True)
            for key, label, words in (("f1", "F1", "F1"), ("iou", "Pixel IoU", "intersection over union"),
                                      ("recall", "Pixel recall", "found share (which ADer calls accuracy)"))
        ),
        Metric("dsc", "DSC", "pixel", True, measures.dsc,
               f"Dice {_AT}, mean over all images", _UNIAS, _OVERLAPS),
        Metric("iou", "IoU", "pixel", True, measures.iou,
               f"intersection over union {_AT}, mean over all images", _UNIAS, _OVERLAPS),
        Metric("dsc_anomalous", "DSC (anomalous images)", "pixel", True, measures.dsc_anomalous,
               f"Dice {_AT}, mean over anomalous images", _UNIAS, _OVERLAPS),
        Metric("iou_anomalous", "IoU (anomalous images)", "pixel", True, measures.iou_anomalous,
               f"intersection over union {_AT}, mean over anomalous images", _UNIAS, _OVERLAPS),
        Metric("dsc_pooled", "DSC (pooled)", "pixel", True, measures.dsc_pooled,
               f"Dice (F1) of all pixels together {_AT}", _UNIAS),
        Metric("iou_pooled", "IoU (pooled)", "pixel", True, measures.iou_pooled,
               f"intersection over union of all pixels together {_AT}", _UNIAS),
        Metric("precision", "Precision at DSC", "pixel", None, measures.precision,
               f"precision of all pixels {_AT}", _UNIAS),
        Metric("recall", "Recall at DSC", "pixel", None, measures.recall,
               f"recall of all pixels {_AT}", _UNIAS),
        Metric("fp_pixels", "False-positive pixels", "pixel", False, measures.fp_pixels,
               f"false-positive pixels per normal image {_AT}", _UNIAS, _OVERLAPS, "pixels"),
        _above("seg_f1", "SegF1", True, measures.seg_f1, "F1 of all pixels", _AD_2),
        _above("iou_at_threshold", "IoU at threshold", True, measures.iou_at_threshold,
               "intersection over union of all pixels", _VAN_RIJSBERGEN),
        _above("dsc_at_threshold", "DSC at threshold", True, measures.dsc_at_threshold,
               "Dice, mean over all images,", _UNIAS),
        _above("precision_at_threshold", "Precision at threshold", None, measures.precision_at_threshold,
               "precision of all pixels", _VAN_RIJSBERGEN),
        _above("recall_at_threshold", "Recall at threshold", None, measures.recall_at_threshold,
               "recall of all pixels", _VAN_RIJSBERGEN),
        _above("fpr_at_threshold", "FPR at threshold", False, measures.fpr_at_threshold,
               "share of normal pixels", _FAWCETT),
        _above("fp_pixels_at_threshold", "False-positive pixels at threshold", False, measures.fp_pixels_at_threshold,
               "pixels per normal image", _FAWCETT, "pixels"),
        _above("boundary_iou_at_threshold", "Boundary IoU at threshold", True, measures.boundary_iou_at_threshold,
               "intersection over union of the boundaries, 2 % of the diagonal wide, of the truth and of what lies",
               _BOUNDARY, shapes=True),
        _above("missed_regions_at_threshold", "Missed defects at threshold", False,
               measures.missed_regions_at_threshold,
               "share of the 8-connected regions of the truth of which no pixel scores", _FROC, level="region",
               shapes=True),
        _above("false_regions_at_threshold", "False regions per image at threshold", False,
               measures.false_regions_at_threshold,
               "8-connected regions without an anomalous pixel per image", _FROC, "ratio", level="region",
               shapes=True),
        Metric("aupro_0.3", "AUPRO", "region", True, partial(measures.aupro, limit=0.3),
               "mean found share of the 8-connected regions, up to 30 % false positives", _MVTEC, _REGIONS),
        Metric("aupro_0.05", "AUPRO (5 %)", "region", True, partial(measures.aupro, limit=0.05),
               "mean found share of the 8-connected regions, up to 5 % false positives", _MVTEC, _REGIONS),
        Metric("spro_0.05", "sPRO (5 %)", "region", True, partial(measures.spro, limit=0.05),
               "mean saturated found share of the given regions, up to 5 % false positives", _LOCO,
               needs_saturation=True),
        Metric("iap", "IAP", "region", True, measures.iap,
               "mean over the 8-connected regions of the precision where half of each is found", _DESTSEG, _REGIONS),
        Metric("iap_90", "IAP@90", "region", True, partial(measures.iap_at, recall=0.9),
               "precision where half of each of 90 % of the 8-connected regions is found", _DESTSEG, _REGIONS),
        Metric("aupimo", "AUPIMO", "region", True,
               partial(measures.aupimo, lower=AUPIMO_RANGE[0], upper=AUPIMO_RANGE[1]),
               "mean found share of each anomalous image, over the log of 1e-5 to 1e-4 false positives on normal ones",
               _AUPIMO, _TOPS),
        Metric("anomaly_rate", "Anomaly Rate", "data", None, measures.anomaly_rate,
               "share of anomalous pixels over all images", _UNIAS),
        Metric("anomaly_rate_anomalous", "Anomaly Rate (anomalous images)", "data", None,
               measures.anomaly_rate_anomalous,
               "share of anomalous pixels over the images that have any", _UNIAS),
        Metric("image_auroc", "Image AUROC", "image", True, measures.image_auroc,
               "chance that an anomalous image outscores a normal one; a tie counts one half", _FAWCETT, _IMAGES),
        Metric("image_ap", "Image AP", "image", True, measures.image_ap,
               "area under precision over recall of images, by steps", _STEP_AP, _IMAGES),
        Metric("image_f1_max", "Image best F1", "image", True, measures.image_f1_max,
               "F1 of images at the best threshold", _VAN_RIJSBERGEN, _IMAGES),
    )
}  # fmt: skip

AT_PR_THRESHOLD = frozenset(key for key, metric in METRICS.items() if _AT in metric.summary)
AT_THRESHOLD = tuple(key for key, metric in METRICS.items() if metric.needs_threshold)
DEFAULT_METRICS: tuple[str, ...] = (
    "pixel_auroc",
    "pixel_ap",
    "pixel_f1_max",
    "dsc",
    "recall",
    "iou",
    "aupro_0.3",
    "anomaly_rate",
    "anomaly_rate_anomalous",
    "image_auroc",
    "image_ap",
)
