"""Metrics in anomalib's Evaluator."""

import warnings
from typing import Any

from anomalib.metrics import AnomalibMetric

from aseg_bench.predictions.checks import Seen, clamped
from aseg_bench.training.torch_metric import SegmentationMetrics


class PixelMetric(AnomalibMetric, SegmentationMetrics):
    """One exact metric for anomalib's Evaluator, which logs it under its key: ``PixelMetric("pixel_ap")``.

    When it tests, the Evaluator hands on what anomalib's post-processor has shifted and clamped to [0, 1], which ties
    the extremes; a model with ``post_processor=PostProcessor(enable_normalization=False)`` gives it the raw maps. So
    does ``LogSegmentationMetrics`` in the Engine's callbacks, whatever the post-processor, for several metrics at once.
    """

    default_fields = ("anomaly_map", "gt_mask")

    def __init__(self, metric: str = "pixel_ap", *, prefix: str = "", **kwargs: Any) -> None:
        """Start empty.

        Args:
            metric: key of ``METRICS``.
            prefix: comes before the key in the log.
            kwargs: ``fields`` and ``strict`` of anomalib's metrics, and settings of ``torchmetrics.Metric``.

        Raises:
            InputError: the key is unknown.
        """
        super().__init__(metrics=metric, **kwargs)
        self.name = f"{prefix}{metric}"

    def compute(self) -> Any:
        """The value, nan where it has none; None where the batches had no such fields and ``strict`` is off.

        Raises:
            InputError: there is no image, or a score is nan.
        """
        if self.score_maps and (found := clamped([Seen.of(scores.cpu().numpy()) for scores in self.score_maps])):
            mend = "build the model with post_processor=PostProcessor(enable_normalization=False)"
            warnings.warn(f"{self.name}: {found.text.partition(';')[0]}; {mend}", stacklevel=2)
        return super().compute()
