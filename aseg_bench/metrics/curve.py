"""The curve of a category: exact counts at every distinct anomalous score."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Curve:
    """True and false positives when everything that scores at least a threshold is called anomalous.

    Attributes:
        thresholds: the distinct scores of anomalous pixels, ascending.
        tp: anomalous pixels at or above each threshold, int64.
        fp: normal pixels at or above each threshold, int64.
        fp_above: normal pixels strictly above each threshold, int64.
        n_anomalous: anomalous pixels.
        n_normal: normal pixels.
    """

    thresholds: NDArray[np.floating]
    tp: NDArray[np.int64]
    fp: NDArray[np.int64]
    fp_above: NDArray[np.int64]
    n_anomalous: int
    n_normal: int

    @property
    def precision(self) -> NDArray[np.float64]:
        """Share of anomalous pixels among those called anomalous."""
        return np.asarray(self.tp / (self.tp + self.fp))

    @property
    def recall(self) -> NDArray[np.float64]:
        """Share of anomalous pixels found."""
        return np.asarray(self.tp / self.n_anomalous)

    @cached_property
    def pr_threshold(self) -> float:
        """The distinct score that maximises precision + recall; the lowest one on a tie."""
        return float(self.thresholds[np.argmax(self.precision + self.recall)])
