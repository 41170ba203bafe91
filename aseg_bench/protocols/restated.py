"""Metrics as a protocol's original computes them, where that differs from the exact ones."""

from functools import cached_property

import numpy as np

from aseg_bench.protocols.curves import grid_f1, histogram_auroc_ap, percentile_auroc_ap, trapezoid_ap
from aseg_bench.protocols.meeting import Meeting
from aseg_bench.protocols.overlap import Overlaps, aupro
from aseg_bench.protocols.presets import Binning, Protocol

_FPR_LIMITS = {"aupro_0.3": 0.3, "aupro_0.05": 0.05}
_N_BINS: dict[Binning, int] = {"histogram_50": 50, "histogram_1000": 1000}
Areas = tuple[float | None, float | None]  # AUROC and AP; None is the exact one


class Restated:
    """The metrics of one category under a protocol.

    Args:
        meeting: maps and truths in their frame.
        protocol: the rules.
    """

    def __init__(self, meeting: Meeting, protocol: Protocol) -> None:
        self._meeting, self._protocol = meeting, protocol

    def value(self, key: str, exact: float) -> float:
        """What the original says where we say ``exact``.

        Args:
            key: of ``METRICS``.
            exact: the metric of the maps and truths as they meet.

        Raises:
            UndefinedMetricError: the original's formula has no value on these data.
        """
        restated = self._restated(key)
        value = exact if restated is None else restated
        return 1 - value if key.endswith("auroc") and self._protocol.auroc_flip and value < 0.5 else value

    def _restated(self, key: str) -> float | None:
        maps, truths = self._meeting.scores, self._meeting.truths
        if key in ("pixel_auroc", "pixel_ap"):
            return self._pixel_areas[key == "pixel_ap"]
        if key in ("image_auroc", "image_ap"):
            return self._image_areas[key == "image_ap"]
        if key == "pixel_f1_max" and self._protocol.f1_rule == "grid_21":
            return grid_f1(maps, truths)
        if key in _FPR_LIMITS and self._protocol.aupro_rule != "exact":
            case = Overlaps(list(maps), list(truths), self._meeting.normal_areas)
            return aupro(case, self._protocol.aupro_rule, _FPR_LIMITS[key])
        return None

    @cached_property
    def _pixel_areas(self) -> Areas:
        maps, truths, rules = self._meeting.scores, self._meeting.truths, self._protocol
        if rules.binning == "percentiles_202":
            return percentile_auroc_ap(maps, truths)
        if rules.binning in _N_BINS:
            return histogram_auroc_ap(maps, truths, _N_BINS[rules.binning])
        if rules.ap_rule == "trapezoids":
            pooled = np.concatenate([scores.ravel() for scores in maps])
            return None, trapezoid_ap(pooled, np.concatenate([truth.ravel() for truth in truths]))
        return None, None

    @cached_property
    def _image_areas(self) -> Areas:
        scores, labels, rules = self._meeting.image_scores, self._meeting.image_labels, self._protocol
        if rules.image_binning in _N_BINS:
            return histogram_auroc_ap([scores], [labels], _N_BINS[rules.image_binning])
        return None, trapezoid_ap(scores, labels) if rules.ap_rule == "trapezoids" else None
