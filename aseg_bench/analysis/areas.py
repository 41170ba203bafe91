"""How well defects are found by the area that they take of their image."""

from typing import NamedTuple

import numpy as np

from aseg_bench.analysis.scored_maps import ScoredMaps
from aseg_bench.analysis.slices import AREAS, areas_of
from aseg_bench.records import Case


class AreaScore(NamedTuple):
    """How a method does on the defects of a category that take some share of their image.

    Attributes:
        case: method, data set and category.
        area: one of ``AREAS``, in the frame in which the maps are scored.
        n_defects: 8-connected regions of the truth.
        pixel_ap: of their pixels against all normal ones, as if other defects were void.
        aupro: mean over these defects of the area under their found share up to 5 % false positives.
        recall: found share of their pixels at the category's threshold.
        missed: share of these defects of which no pixel is found at that threshold.
        dsc: mean Dice at that threshold over the images with such a defect, as if other defects were void.
    """

    case: Case
    area: str
    n_defects: int
    pixel_ap: float
    aupro: float
    recall: float
    missed: float
    dsc: float


def area_scores(maps: ScoredMaps) -> list[AreaScore]:
    """By area, smallest first, where a category has a threshold and such defects.

    The areas are fixed shares of the image, so that data sets and methods are compared at the same ones; that
    defects are judged by their area, in the size of the original images (protocol ``native``), follows Costanzino et
    al., https://arxiv.org/abs/2407.04092.
    """
    counts = maps.counts
    if counts.threshold is None:
        return []
    sizes, hits = counts.regions.sum(axis=1), counts.regions[:, counts.code(counts.threshold) :].sum(axis=1)
    n_pixels = (counts.normal + counts.anomalous).sum(axis=1)
    false_alarms = counts.confusion(counts.threshold)[1]
    areas = areas_of(sizes, n_pixels[counts.region_images])
    rows = []
    for place in np.unique(areas).tolist():
        own = areas == place
        images, of_image = np.unique(counts.region_images[own], return_inverse=True)
        found, there = (np.bincount(of_image, weights=values[own]) for values in (hits, sizes))
        dice = 2 * found / (found + there + false_alarms[images])
        recall = float(hits[own].sum() / sizes[own].sum())
        missed = float((hits[own] == 0).mean())
        ap, aupro = counts.areas[place]
        assert ap is not None, "there are such defects, and a threshold needs normal pixels"
        assert aupro is not None
        rows.append(AreaScore(maps.case, AREAS[place], int(own.sum()), ap, aupro, recall, missed, float(dice.mean())))
    return rows
