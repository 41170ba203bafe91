"""A finished sweep: the curve, and what each image and each region adds to it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import fsum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aseg_bench.metrics import _kernels as kernels
from aseg_bench.metrics.above import Above
from aseg_bench.metrics.curve import Curve
from aseg_bench.metrics.first_pass import Groups, Ranking
from aseg_bench.metrics.keys import Keys
from aseg_bench.metrics.tallies import UINT32_MAX


@dataclass(frozen=True, slots=True)
class Image:
    """Counts of one image; ``tp`` and ``fp`` are true and false positives at the precision + recall threshold.

    Attributes:
        index: place of the image in the results.
        n_pixels: all pixels that are not void.
        n_anomalous: anomalous pixels.
        tp: anomalous pixels at or above the threshold.
        fp: normal pixels at or above the threshold.
        score: the image's score.
        label: whether the image is anomalous.
        above: what scores above the threshold that was given; zeros without one.
    """

    index: int
    n_pixels: int
    n_anomalous: int
    tp: int
    fp: int
    score: float
    label: bool
    above: Above

    @property
    def is_normal(self) -> bool:
        """Whether pixels show the image to be normal: some are valid, none is anomalous, and the label agrees."""
        return bool(self.n_pixels and not self.n_anomalous and not self.label)


@dataclass(frozen=True, eq=False)
class Sweep:
    """All counts of a category, from which every metric is computed.

    Attributes:
        ranking: the anomalous pixels.
        counts: normal pixels between and on the distinct anomalous scores, see `Curve`; zeros if no curve was needed.
        tops: distinct keys of the highest normal pixels of normal images, descending.
        top_counts: pixels at each.
        counts_of_anomalous_images: as ``counts``, of the images with an anomalous pixel; None if not needed.
    """

    ranking: Ranking
    counts: NDArray[np.integer[Any]]
    tops: Keys
    top_counts: NDArray[np.int64]
    _images_at: Callable[[int], list[Image]]
    counts_of_anomalous_images: NDArray[np.integer[Any]] | None = None

    @cached_property
    def curve(self) -> Curve:
        """The exact curve over all pixels."""
        return Curve(self.ranking.keys, self.ranking.kind, self.ranking.found, self.counts)

    @cached_property
    def curve_of_anomalous_images(self) -> Curve:
        """The exact curve over the pixels of the images with an anomalous one."""
        assert self.counts_of_anomalous_images is not None, "the metric's needs name it"
        return Curve(self.ranking.keys, self.ranking.kind, self.ranking.found, self.counts_of_anomalous_images)

    @cached_property
    def images(self) -> list[Image]:
        """Every image, in order."""
        known = self.ranking.needs.overlaps and self.curve.n_anomalous and self.curve.n_normal
        return self._images_at(int(self.ranking.keys[self.curve.pr_rank]) if known else 0)

    @cached_property
    def image_curve(self) -> Curve:
        """The curve over image scores."""
        return Curve.of([image.score for image in self.images], [image.label for image in self.images])

    @property
    def n_normal_pixels_of_normal_images(self) -> int:
        """Valid pixels of the normal images."""
        return sum(image.n_pixels for image in self.images if image.is_normal)

    def areas(self, limit: float) -> NDArray[np.float64]:
        """Per distinct anomalous score, the share of [0, limit] false-positive rates at which its pixels are found."""
        weights = np.empty(self.ranking.n_distinct)
        kernels.areas(self.counts, limit * self.curve.n_normal, weights)
        return weights

    def log_areas(self, lower: float, upper: float) -> NDArray[np.float64]:
        """As `areas`, over the logarithm of the false-positive rate on normal images from ``lower`` to ``upper``."""
        weights = np.empty(self.ranking.n_distinct)
        n_normal = self.n_normal_pixels_of_normal_images
        kernels.log_areas(self.ranking.keys, self.tops, self.top_counts, n_normal, lower, upper, weights)
        return weights

    @cached_property
    def image_ranks(self) -> list[NDArray[np.integer[Any]]]:
        """Rank of each pixel of each anomalous image, as `Ranking.images` holds them."""
        return [self._ranks(image) for image in self.ranking.images]

    @cached_property
    def saturated_ranks(self) -> list[NDArray[np.integer[Any]]]:
        """Rank of each pixel that can count of each image, as `Ranking.saturated` holds them."""
        return [self._ranks(image) for image in self.ranking.saturated]

    def _ranks(self, groups: Groups) -> NDArray[np.integer[Any]]:
        ranks: NDArray[np.integer[Any]] = np.empty(
            len(groups.keys), dtype=np.uint32 if self.ranking.n_distinct <= UINT32_MAX else np.int64
        )
        kernels.locate(groups.keys, self.ranking.ladder, ranks)
        return ranks


def group_means(
    images: Sequence[Groups], ranks: Sequence[NDArray[np.integer[Any]]], weights: NDArray[np.float64]
) -> list[NDArray[np.float64]]:
    """Mean weight of the pixels of each group of each image."""
    means = []
    for image, image_ranks in zip(images, ranks, strict=True):
        sums = np.empty(len(image.sizes))
        kernels.weigh(image_ranks, image.sizes, weights, sums)
        means.append(sums / image.sizes)
    return means


def mean(values: Sequence[float] | NDArray[np.float64]) -> float:
    """Mean that does not depend on the order of the values."""
    return fsum(values) / len(values)
