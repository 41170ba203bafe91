"""What a data set holds: images by split, sizes, Anomaly Rates in each definition, and areas of defects."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from statistics import fmean
from typing import Any, NamedTuple

import cv2
import numpy as np
import pandas as pd
from joblib import cpu_count
from numpy.typing import NDArray

from aseg_bench.datasets.layout import raise_problems
from aseg_bench.errors import InputError
from aseg_bench.images import image_size, read_mask
from aseg_bench.progress import track
from aseg_bench.protocols.mask_rule import DEFAULT_RULE, MaskRule
from aseg_bench.records import Sample

RATES = {
    "anomaly_rate": "of all test images",
    "anomaly_rate_anomalous": "of the images that have an anomalous pixel",
    "anomaly_rate_per_image": "mean over these images, each counting the same",
}
"""Definitions of the Anomaly Rate, the first two as in METRICS: the share of anomalous pixels."""


@dataclass(frozen=True)
class DataStats:
    """What was measured, at the size of the images as stored; void pixels are left out.

    Attributes:
        images: a row per image: category, split, defect, name, height, width, and of test images with a known truth
            n_pixels and n_anomalous, 0 of all others.
        regions: a row per 8-connected region of a mask: category, defect, name (of the image), area (pixels) and share
            (of its image).
    """

    images: pd.DataFrame
    regions: pd.DataFrame

    def by_category(self) -> list[dict[str, Any]]:
        """Numbers of images, sizes in pixels, Anomaly Rates and regions, a row per category."""
        return [{"category": str(name), **self._facts(of)} for name, of in self.images.groupby("category")]

    def overall(self) -> dict[str, Any]:
        """The same of all categories together: rates are of all their pixels."""
        return self._facts(self.images)

    def by_defect(self) -> list[dict[str, Any]]:
        """Images, regions and their areas in pixels, a row per category and kind of defect."""
        rows = []
        shown = self.images[self.images["n_pixels"].gt(0) & self.images["is_anomalous"]]
        for (category, defect), images in shown.groupby(["category", "defect"]):
            regions = self.regions[(self.regions["category"] == category) & (self.regions["defect"] == defect)]
            rate = _rates(images)["anomaly_rate_anomalous"]
            facts = {"images": len(images), "anomaly_rate_anomalous": rate, **_areas(regions)}
            rows.append({"category": category, "defect": defect, **facts})
        return rows

    def _facts(self, images: pd.DataFrame) -> dict[str, Any]:
        in_test = images[images["split"] == "test"]
        n_train = int(images["split"].eq("train").sum())
        return {
            "train": n_train,
            "test_good": int((~in_test["is_anomalous"]).sum()),
            "test_anomalous": int(in_test["is_anomalous"].sum()),
            "other_splits": len(images) - n_train - len(in_test),
            **{f"{side}_{end}": int(getattr(images[side], end)()) for side in ("width", "height") for end in _ENDS},
            **_rates(images),
            **_areas(self.regions[self.regions["category"].isin(images["category"].unique())]),
        }


_ENDS = ("min", "max")


def mean_rates(rows: Iterable[dict[str, Any]]) -> dict[str, float | None]:
    """Each Anomaly Rate as the mean over the categories where it is defined."""
    rows = list(rows)
    found = {key: [row[key] for row in rows if row[key] is not None] for key in RATES}
    return {key: fmean(rates) if rates else None for key, rates in found.items()}


def data_stats(samples: Sequence[Sample], mask_rule: str = DEFAULT_RULE, *, quiet: bool = False) -> DataStats:
    """Measure every mask of a data set, and the size of every image.

    Args:
        samples: all of a data set.
        mask_rule: which values of masks mean anomalous, and which void.
        quiet: no progress bar.

    Raises:
        InputError: a file is unreadable, or a mask and its image differ in size.
    """
    rule = MaskRule.parse(mask_rule)

    def measured(sample: Sample) -> _Measured | str:
        try:
            return _measured(sample, rule)
        except InputError as error:
            return str(error)

    with ThreadPoolExecutor(cpu_count()) as pool:
        looked = list(track(pool.map(measured, samples), "images", len(samples), quiet))
    raise_problems(
        "the images; `aseg-bench data check` lists all", [problem for problem in looked if isinstance(problem, str)]
    )
    found = [one for one in looked if not isinstance(one, str)]
    images, regions = [], []
    for sample, one in zip(samples, found, strict=True):
        images.append((sample.category, sample.split, sample.defect, sample.name, sample.is_anomalous, *one[:-1]))
        regions += [
            (sample.category, sample.defect, sample.name, area, area / one.n_pixels) for area in one.areas.tolist()
        ]
    columns = ["category", "split", "defect", "name", "is_anomalous", "height", "width", "n_pixels", "n_anomalous"]
    return DataStats(
        pd.DataFrame(images, columns=columns),
        pd.DataFrame(regions, columns=["category", "defect", "name", "area", "share"]),
    )


class _Measured(NamedTuple):
    height: int
    width: int
    n_pixels: int = 0
    n_anomalous: int = 0
    areas: NDArray[np.int64] = np.zeros(0, np.int64)


def _measured(sample: Sample, rule: MaskRule) -> _Measured:
    height, width = image_size(sample.image_path)
    if sample.split != "test" or sample.is_image_level:
        return _Measured(height, width)
    if sample.mask_path is None:
        return _Measured(height, width, height * width)
    mask = read_mask(sample.mask_path, sample.image_path)
    if mask.shape != (height, width):
        raise InputError(
            f"mask {sample.mask_path} is {mask.shape[1]} x {mask.shape[0]} pixels but its image {width} x {height}"
        )
    anomalous, void = rule.anomalous(mask), rule.void(mask)
    n_pixels = height * width - (0 if void is None else int(np.count_nonzero(void)))
    _, _, facts, _ = cv2.connectedComponentsWithStats(anomalous.astype(np.uint8), connectivity=8)
    areas = facts[1:, cv2.CC_STAT_AREA].astype(np.int64)
    return _Measured(height, width, n_pixels, int(areas.sum()), areas)


def _rates(images: pd.DataFrame) -> dict[str, float | None]:
    known = images[images["n_pixels"] > 0]
    marked = known[known["n_anomalous"] > 0]
    n_pixels, n_anomalous = int(known["n_pixels"].sum()), int(known["n_anomalous"].sum())
    shares = marked["n_anomalous"] / marked["n_pixels"]
    values = (
        n_anomalous / n_pixels if n_pixels else None,
        n_anomalous / int(marked["n_pixels"].sum()) if n_anomalous else None,
        float(shares.mean()) if n_anomalous else None,
    )
    return dict(zip(RATES, values, strict=True))


def _areas(regions: pd.DataFrame) -> dict[str, float | int | None]:
    area, some = regions["area"], len(regions) > 0
    return {
        "regions": len(regions),
        "area_min": int(area.min()) if some else None,
        "area_median": float(area.median()) if some else None,
        "area_max": int(area.max()) if some else None,
        "share_median": float(regions["share"].median()) if some else None,
    }
