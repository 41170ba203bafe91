"""The nouns of the project: frozen records that travel from the data set to the table."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

GOOD = "good"  # the folder name of normal images in the MVTec-AD layout
MEAN = "mean"  # the category whose scores are means over the categories


@dataclass(frozen=True, slots=True)
class Sample:
    """One image of a data set, found but not yet read.

    Attributes:
        dataset: key of the data set in ``DATASETS``, for instance ``mvtec_ad``.
        category: the object or texture class, for instance ``bottle``.
        split: ``train`` or ``test``.
        defect: kind of defect, or ``good`` for a normal image.
        stem: file name of the image without its ending; unique within (category, split, defect).
        image_path: the image.
        mask_path: the truth mask of an anomalous image (non-zero is anomalous); None for a normal image.
    """

    dataset: str
    category: str
    split: Literal["train", "test"]
    defect: str
    stem: str
    image_path: Path
    mask_path: Path | None = None

    @property
    def name(self) -> str:
        """``category/split/defect/stem``: names the sample in messages, map stores and reports."""
        return f"{self.category}/{self.split}/{self.defect}/{self.stem}"

    @property
    def is_anomalous(self) -> bool:
        """Whether the image shows a defect, by its folder."""
        return self.defect != GOOD


@dataclass(frozen=True, slots=True)
class AnomalyMap:
    """What a method says about one image.

    Attributes:
        sample: the image.
        scores: anomaly score per pixel, (height, width) float32; any unit, higher is more anomalous.
    """

    sample: Sample
    scores: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Case:
    """What one row of scores is about: a method on a category of a data set; category ``mean`` is their mean."""

    method: str
    dataset: str
    category: str


@dataclass(frozen=True, slots=True)
class Score:
    """One number of a benchmark, with everything needed to read it.

    Attributes:
        case: method, data set and category.
        metric: a key of ``METRICS``.
        value: in the metric's unit, never a percentage; None where undefined.
        n_images: test images that entered.
        protocol: stamp of the protocol under which it was computed.
        undefined_because: the reason, where ``value`` is None.
    """

    case: Case
    metric: str
    value: float | None
    n_images: int
    protocol: str
    undefined_because: str = ""
