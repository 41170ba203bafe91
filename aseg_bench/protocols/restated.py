"""Metrics as a protocol's original computes them, where that differs from the exact ones."""

from collections.abc import Callable, Mapping
from functools import cached_property

import numpy as np

from aseg_bench.errors import UndefinedMetricError
from aseg_bench.protocols.curves import (
    GRID_7,
    GRID_21,
    Curve,
    Floats,
    grid_overlaps,
    histogram_auroc_ap,
    percentile_auroc_ap,
    trapezoid_ap,
    trapezoid_area,
)
from aseg_bench.protocols.meeting import Meeting
from aseg_bench.protocols.overlap import Overlaps, aupro, regions
from aseg_bench.protocols.presets import Binning, Protocol
from aseg_bench.records import LazySequence

_FPR_LIMITS = {"aupro_0.3": 0.3, "aupro_0.05": 0.05}
_N_BINS: dict[Binning, int] = {"histogram_50": 50, "histogram_50_cuda": 50, "histogram_1000": 1000}
_OF_GRID: Mapping[str, tuple[Floats, int, Callable[[Floats], np.float64]]] = {
    "pixel_f1_max": (GRID_21, 0, np.max),
    "pixel_iou_max": (GRID_21, 1, np.max),
    "pixel_f1_0.2_0.8": (GRID_7, 0, np.mean),
    "pixel_iou_0.2_0.8": (GRID_7, 1, np.mean),
    "pixel_recall_0.2_0.8": (GRID_7, 2, np.mean),
}
Areas = tuple[float | None, float | None]  # AUROC and AP; None is the exact one


class Restated:
    """The metrics of one category under a protocol.

    Args:
        meeting: maps and truths in their frame.
        protocol: the rules.
        values: exact metrics by key of ``METRICS``.
        undefined: why others have no value, by key.
    """

    def __init__(
        self,
        meeting: Meeting,
        protocol: Protocol,
        values: Mapping[str, float],
        undefined: Mapping[str, str],
    ) -> None:
        self._meeting, self._protocol = meeting, protocol
        self._values, self._undefined = values, undefined

    def value(self, key: str, exact: str) -> float:
        """What the original says.

        Args:
            key: of ``METRICS``.
            exact: key of our own metric in its place.

        Raises:
            UndefinedMetricError: the metric or the original's formula has no value on these data.
        """
        if key in _OF_GRID and self._protocol.f1_rule == "grid_21":
            return self._on_grid(key)
        if key == "pixel_auroc_anomalous" and self._protocol.truth_rule == "only_full":
            return self._auroc_of_images_with_a_mask
        if exact in self._undefined:
            raise UndefinedMetricError(self._undefined[exact])
        restated = self._restated(key)
        value = self._values[exact] if restated is None else restated
        return 1 - value if key.endswith("auroc") and self._protocol.auroc_flip and value < 0.5 else value

    def _restated(self, key: str) -> float | None:
        maps, truths = self._meeting.scores, self._meeting.truths
        if key in ("pixel_auroc", "pixel_ap"):
            return self._pixel_areas[key == "pixel_ap"]
        if key in ("image_auroc", "image_ap"):
            return self._image_areas[key == "image_ap"]
        if key in ("iap", "iap_90") and self._protocol.aupro_rule == "resampled_regions":
            precisions = self._instance_precisions
            recalls = 1 - np.arange(len(precisions)) / len(precisions)
            return float(precisions.mean() if key == "iap" else precisions[recalls >= 0.9][-1])
        if key in _FPR_LIMITS and self._protocol.aupro_rule != "exact":
            return aupro(
                Overlaps(maps, truths, self._meeting.normal_areas), self._protocol.aupro_rule, _FPR_LIMITS[key]
            )
        return None

    @cached_property
    def _curve(self) -> Curve:
        return Curve.of(self._meeting.scores, self._meeting.truths)

    def _on_grid(self, key: str) -> float:
        steps, which, over_steps = _OF_GRID[key]
        return float(over_steps(grid_overlaps(self._meeting.scores, self._meeting.truths, steps)[which]))

    @cached_property
    def _pixel_areas(self) -> Areas:
        maps, truths, rules = self._meeting.scores, self._meeting.truths, self._protocol
        if rules.binning == "percentiles_202":
            return percentile_auroc_ap(maps, truths)
        if rules.binning in _N_BINS:
            is_cuda = rules.binning == "histogram_50_cuda"
            return histogram_auroc_ap(maps, truths, _N_BINS[rules.binning], is_cuda=is_cuda)
        if rules.ap_rule == "steps":
            return None, None
        return None, trapezoid_area(self._curve, is_resorted=rules.ap_rule == "trapezoids_resorted")

    @cached_property
    def _image_areas(self) -> Areas:
        rules = self._protocol
        if rules.image_binning not in _N_BINS and rules.ap_rule == "steps":
            return None, None  # before any map is read for it
        scores, labels = self._meeting.image_scores, self._meeting.image_labels
        if rules.image_binning in _N_BINS:
            return histogram_auroc_ap([scores], [labels], _N_BINS[rules.image_binning])
        return None, trapezoid_ap(scores, labels, is_resorted=rules.ap_rule == "trapezoids_resorted")

    @cached_property
    def _instance_precisions(self) -> Floats:
        """Precision where half of each region is found, by ascending score, each at least the one before.

        Source: apple/ml-destseg, model/metrics.py.
        """
        pairs = zip(self._meeting.scores, self._meeting.truths, strict=True)
        halves = np.sort([np.sort(scores)[::-1][scores.size // 2] for pair in pairs for scores in regions(*pair)])
        curve = self._curve
        at = np.searchsorted(curve.thresholds, halves)
        # it counts where score times truth reaches the threshold: at 0 or below on every normal pixel too
        n_found = curve.tp[at] + np.where(halves <= 0, curve.n_normal, 0)
        return np.maximum.accumulate(n_found / (curve.tp[at] + curve.fp[at]))

    @cached_property
    def _auroc_of_images_with_a_mask(self) -> float:
        """As the metric, but partly covered pixels make an image anomalous too (patchcore, bin/run_patchcore.py)."""
        maps, truths, areas = self._meeting.scores, self._meeting.truths, self._meeting.normal_areas
        chosen = [index for index, truth in enumerate(truths) if areas[index] < truth.size]
        if not chosen:
            raise UndefinedMetricError("no pixel is anomalous")
        return Curve.of(
            LazySequence(len(chosen), lambda place: maps[chosen[place]]),
            LazySequence(len(chosen), lambda place: truths[chosen[place]]),
        ).auroc
