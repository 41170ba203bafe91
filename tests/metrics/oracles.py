"""The metrics as slow, plain truth: every threshold against every pixel; nothing is shared with the code under test.

A masked pixel of a mask is void: it is cut out of scores and mask before anything is counted.
"""

from itertools import pairwise
from math import inf, log
from typing import NamedTuple

import numpy as np


class Pairs(NamedTuple):
    """Scores and whether each is anomalous, of all pixels or of all images."""

    scores: np.ndarray
    labels: np.ndarray


class Points(NamedTuple):
    """True and false positives at every distinct score, descending."""

    thresholds: np.ndarray
    tp: np.ndarray
    fp: np.ndarray


def valid(score_map, mask):
    """Scores of the pixels that are not void, and whether each is anomalous."""
    places = [place for place in np.ndindex(mask.shape) if not np.ma.getmaskarray(mask)[place]]
    scores, labels = ([of[place] for place in places] for of in (score_map, np.ma.getdata(mask)))
    return Pairs(np.array(scores, dtype=score_map.dtype), np.array(labels, dtype=bool))


def pooled(scores, masks):
    """All pixels of all images that are not void."""
    return Pairs(*map(np.concatenate, zip(*map(valid, scores, masks), strict=True)))


def auroc(pairs):
    anomalous, normal = pairs.scores[pairs.labels][:, None], pairs.scores[~pairs.labels][None]
    return ((anomalous > normal).sum() + 0.5 * (anomalous == normal).sum()) / (anomalous.size * normal.size)


def points(pairs):
    thresholds = np.unique(pairs.scores)[::-1]
    is_called = pairs.scores[None] >= thresholds[:, None]
    return Points(thresholds, (is_called & pairs.labels).sum(axis=1), (is_called & ~pairs.labels).sum(axis=1))


def ap(pairs):
    _, tp, fp = points(pairs)
    return np.sum(np.diff(tp, prepend=0) / tp[-1] * tp / (tp + fp))


def f1_max(pairs):
    _, tp, fp = points(pairs)
    return max(2 * tp / (tp + fp + tp[-1]))


def iou_max(pairs):
    _, tp, fp = points(pairs)
    return max(tp / (fp + tp[-1]))


def fpr_at_95_tpr(pairs):
    _, tp, fp = points(pairs)
    return fp[tp / tp[-1] >= 0.95][0] / fp[-1]


def at_pr_threshold(pairs):
    """Threshold, true and false positives where precision + recall is highest; the lowest threshold of several."""
    thresholds, tp, fp = points(pairs)
    both = tp / (tp + fp) + tp / tp[-1]
    best = np.flatnonzero(both == both.max())[-1]
    return thresholds[best], tp[best], fp[best]


def overlaps(scores, masks, index):
    """Dice (index 0) or intersection over union (index 1) of each image at the paper's threshold."""
    threshold, _, _ = at_pr_threshold(pooled(scores, masks))
    values = []
    for score_map, mask in zip(scores, masks, strict=True):
        void = {place for place, is_void in np.ndenumerate(np.ma.getmaskarray(mask)) if is_void}
        called = {place for place, score in np.ndenumerate(score_map) if score >= threshold} - void
        truth = {place for place, value in np.ndenumerate(np.ma.getdata(mask)) if value} - void
        if len(void) == mask.size:
            values.append(np.nan)
        elif not truth:
            values.append(0.0 if called else 1.0)
        else:
            both = len(called & truth)
            values.append((2 * both / (len(called) + len(truth)), both / len(called | truth))[index])
    return values


def components(mask):
    """The 8-connected regions of a mask, as lists of places, by flood fill."""
    left = {place for place, value in np.ndenumerate(np.ma.filled(mask, False)) if value}
    found = []
    while left:
        region, fringe = [], [left.pop()]
        while fringe:
            row, column = fringe.pop()
            region.append((row, column))
            near = {(row + i, column + j) for i in (-1, 0, 1) for j in (-1, 0, 1)} & left
            left -= near
            fringe += near
        found.append(region)
    return found


def boundary(places, width):
    """Places of a region that are no more than ``width`` rows and columns from one outside it, or from the edge."""
    around = range(-width, width + 1)
    return {
        (row, column)
        for row, column in places
        if any((row + i, column + j) not in places for i in around for j in around)
    }


def area_under(curve, start, end):
    """Area under straight lines between (x, y) points with x ascending, over [start, end], over its length.

    Left of the first point and right of the last the curve keeps its value.
    """
    total = 0.0
    for (x0, y0), (x1, y1) in pairwise([(-inf, curve[0][1]), *curve, (inf, curve[-1][1])]):
        low, high = max(x0, start), min(x1, end)
        if low < high:
            if y0 == y1:
                total += y0 * (high - low)
            else:
                slope = (y1 - y0) / (x1 - x0)
                total += (high - low) * (y0 + slope * ((low + high) / 2 - x0))
    return total / (end - start)


def pro(scores, masks, regions, limit):
    """Area under the mean found share of regions, a list of (image, places, saturation)."""
    curve = [(0.0, 0.0)]
    thresholds, _, positives = points(pooled(scores, masks))
    for t, fp in zip(thresholds, positives, strict=True):
        shares = [
            min(sum(scores[image][place] >= t for place in places) / saturation, 1.0)
            for image, places, saturation in regions
        ]
        curve.append((fp / positives[-1], sum(shares) / len(shares)))
    return area_under(curve, 0.0, limit)


def aupro(scores, masks, limit):
    regions = [(i, places, len(places)) for i, mask in enumerate(masks) for places in components(mask)]
    return pro(scores, masks, regions, limit)


def aupimo(scores, masks, lower, upper):
    """Value of each anomalous image."""
    normal = np.concatenate([valid(s, mask).scores for s, mask in zip(scores, masks, strict=True) if not mask.any()])
    thresholds = points(pooled(scores, masks)).thresholds
    values = []
    for score_map, mask in zip(scores, masks, strict=True):
        if not mask.any():
            continue
        at_zero, curve = 0.0, []
        for t in thresholds:
            share = float((score_map[np.ma.filled(mask, False)] >= t).mean())
            rate = (normal >= t).mean()
            if rate == 0.0:
                at_zero = share
            else:
                if not curve:
                    curve.append((log(rate), at_zero))
                curve.append((log(rate), share))
        values.append(area_under(curve, log(lower), log(upper)))
    return values


def instance_precisions(scores, masks):
    """Precision at the threshold that finds just more than half of each region, ascending, each at least the last."""
    halves = []
    for score_map, mask in zip(scores, masks, strict=True):
        for places in components(mask):
            halves.append(sorted((score_map[place] for place in places), reverse=True)[len(places) // 2])
    thresholds, tp, fp = points(pooled(scores, masks))
    precisions = []
    for half in sorted(halves):
        (at,) = np.flatnonzero(thresholds == half)
        precisions.append(max([tp[at] / (tp[at] + fp[at]), *precisions]))
    return precisions


def iap_90(scores, masks):
    precisions = instance_precisions(scores, masks)
    return [value for i, value in enumerate(precisions) if 1 - i / len(precisions) >= 0.9][-1]


def metric(key, scores, masks, regions=None):
    """Any metric of METRICS."""
    pairs = pooled(scores, masks)
    images = Pairs(np.array([s.max() for s in scores]), np.array([bool(mask.any()) for mask in masks]))
    total = pairs.labels.sum()
    threshold, tp, fp = at_pr_threshold(pairs)

    def anomalous(values):
        return [value for value, mask in zip(values, masks, strict=True) if mask.any()]

    return float(
        {
            "pixel_auroc": lambda: auroc(pairs),
            "pixel_auroc_anomalous": lambda: auroc(pooled(anomalous(scores), anomalous(masks))),
            "pixel_ap": lambda: ap(pairs),
            "pixel_ap_lift": lambda: ap(pairs) / pairs.labels.mean(),
            "pixel_f1_max": lambda: f1_max(pairs),
            "pixel_iou_max": lambda: iou_max(pairs),
            "pixel_fpr_at_95_tpr": lambda: fpr_at_95_tpr(pairs),
            "dsc": lambda: np.nanmean(overlaps(scores, masks, 0)),
            "iou": lambda: np.nanmean(overlaps(scores, masks, 1)),
            "dsc_anomalous": lambda: np.mean(anomalous(overlaps(scores, masks, 0))),
            "iou_anomalous": lambda: np.mean(anomalous(overlaps(scores, masks, 1))),
            "dsc_pooled": lambda: 2 * tp / (tp + fp + total),
            "iou_pooled": lambda: tp / (fp + total),
            "precision": lambda: tp / (tp + fp),
            "recall": lambda: tp / total,
            "fp_pixels": lambda: np.mean(
                [
                    (valid(s, m).scores >= threshold).sum()
                    for s, m in zip(scores, masks, strict=True)
                    if not m.any() and not np.ma.getmaskarray(m).all()
                ]
            ),
            "aupro_0.3": lambda: aupro(scores, masks, 0.3),
            "aupro_0.05": lambda: aupro(scores, masks, 0.05),
            "spro_0.05": lambda: pro(scores, masks, regions, 0.05),
            "iap": lambda: np.mean(instance_precisions(scores, masks)),
            "iap_90": lambda: iap_90(scores, masks),
            "aupimo": lambda: np.mean(aupimo(scores, masks, 1e-5, 1e-4)),
            "anomaly_rate": lambda: pairs.labels.mean(),
            "anomaly_rate_anomalous": lambda: total / sum(np.ma.count(mask) for mask in masks if mask.any()),
            "image_auroc": lambda: auroc(images),
            "image_ap": lambda: ap(images),
            "image_f1_max": lambda: f1_max(images),
        }[key]()
    )
