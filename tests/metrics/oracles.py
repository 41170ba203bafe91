"""The metrics in slow, plain Python: every threshold, every pixel, no shortcut shared with the code under test."""

from itertools import pairwise
from math import inf, log

import numpy as np


def pooled(scores, masks):
    """All (score, is anomalous) pairs of all pixels."""
    return [
        (score, truth)
        for score_map, mask in zip(scores, masks, strict=True)
        for score, truth in zip(score_map.ravel().tolist(), mask.ravel().tolist(), strict=True)
    ]


def auroc(pairs):
    anomalous = [score for score, truth in pairs if truth]
    normal = [score for score, truth in pairs if not truth]
    wins = sum((a > n) + 0.5 * (a == n) for a in anomalous for n in normal)
    return wins / (len(anomalous) * len(normal))


def points(pairs):
    """(threshold, true positives, false positives) at every distinct score, descending."""
    return [
        (t, sum(truth for score, truth in pairs if score >= t), sum(not truth for score, truth in pairs if score >= t))
        for t in sorted({score for score, _ in pairs}, reverse=True)
    ]


def ap(pairs):
    total = sum(truth for _, truth in pairs)
    area, before = 0.0, 0
    for _, tp, fp in points(pairs):
        area += (tp - before) / total * tp / (tp + fp)
        before = tp
    return area


def f1_max(pairs):
    total = sum(truth for _, truth in pairs)
    return max(2 * tp / (tp + fp + total) for _, tp, fp in points(pairs))


def iou_max(pairs):
    total = sum(truth for _, truth in pairs)
    return max(tp / (fp + total) for _, tp, fp in points(pairs))


def fpr_at_95_tpr(pairs):
    total = sum(truth for _, truth in pairs)
    return next(fp for _, tp, fp in points(pairs) if tp / total >= 0.95) / (len(pairs) - total)


def pr_threshold(pairs):
    total = sum(truth for _, truth in pairs)
    best = max(tp / (tp + fp) + tp / total for _, tp, fp in points(pairs))
    return min(t for t, tp, fp in points(pairs) if tp / (tp + fp) + tp / total == best)


def overlaps(scores, masks, index):
    """Dice (index 0) or intersection over union (index 1) of each image at the paper's threshold."""
    threshold = pr_threshold(pooled(scores, masks))
    values = []
    for score_map, mask in zip(scores, masks, strict=True):
        called = {place for place, score in np.ndenumerate(score_map) if score >= threshold}
        truth = {place for place, value in np.ndenumerate(mask) if value}
        if not truth:
            values.append(0.0 if called else 1.0)
        else:
            both = len(called & truth)
            values.append((2 * both / (len(called) + len(truth)), both / len(called | truth))[index])
    return values


def components(mask):
    """The 8-connected regions of a mask, as lists of places, by flood fill."""
    left = {place for place, value in np.ndenumerate(mask) if value}
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
    pairs = pooled(scores, masks)
    n_normal = sum(not truth for _, truth in pairs)
    curve = [(0.0, 0.0)]
    for t, _, fp in points(pairs):
        shares = [
            min(sum(scores[image][place] >= t for place in places) / saturation, 1.0)
            for image, places, saturation in regions
        ]
        curve.append((fp / n_normal, sum(shares) / len(shares)))
    return area_under(curve, 0.0, limit)


def aupro(scores, masks, limit):
    regions = [(i, places, len(places)) for i, mask in enumerate(masks) for places in components(mask)]
    return pro(scores, masks, regions, limit)


def aupimo(scores, masks, lower, upper):
    """Value of each anomalous image."""
    normal = [s for score_map, mask in zip(scores, masks, strict=True) if not mask.any() for s in score_map.ravel()]
    thresholds = sorted({score for score, _ in pooled(scores, masks)}, reverse=True)
    values = []
    for score_map, mask in zip(scores, masks, strict=True):
        if not mask.any():
            continue
        at_zero, curve = 0.0, []
        for t in thresholds:
            share = float((score_map[mask] >= t).mean())
            rate = sum(score >= t for score in normal) / len(normal)
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
    precisions = []
    for half in sorted(halves):
        tp, fp = next((tp, fp) for t, tp, fp in points(pooled(scores, masks)) if t == half)
        precisions.append(max([tp / (tp + fp), *precisions]))
    return precisions


def iap_90(scores, masks):
    precisions = instance_precisions(scores, masks)
    return [value for i, value in enumerate(precisions) if 1 - i / len(precisions) >= 0.9][-1]


def metric(key, scores, masks, regions=None):
    """Any metric of METRICS."""
    pairs = pooled(scores, masks)
    images = [(score_map.max(), bool(mask.any())) for score_map, mask in zip(scores, masks, strict=True)]
    total = sum(truth for _, truth in pairs)

    def at_threshold():
        threshold = pr_threshold(pairs)
        return next((tp, fp) for t, tp, fp in points(pairs) if t == threshold)

    def anomalous(values):
        return [value for value, mask in zip(values, masks, strict=True) if mask.any()]

    def fp_pixels():
        threshold = pr_threshold(pairs)
        counts = [
            (score_map >= threshold).sum() for score_map, mask in zip(scores, masks, strict=True) if not mask.any()
        ]
        return np.mean(counts)

    return float(
        {
            "pixel_auroc": lambda: auroc(pairs),
            "pixel_auroc_anomalous": lambda: auroc(pooled(anomalous(scores), anomalous(masks))),
            "pixel_ap": lambda: ap(pairs),
            "pixel_ap_lift": lambda: ap(pairs) / (total / len(pairs)),
            "pixel_f1_max": lambda: f1_max(pairs),
            "pixel_iou_max": lambda: iou_max(pairs),
            "pixel_fpr_at_95_tpr": lambda: fpr_at_95_tpr(pairs),
            "dsc": lambda: np.mean(overlaps(scores, masks, 0)),
            "iou": lambda: np.mean(overlaps(scores, masks, 1)),
            "dsc_anomalous": lambda: np.mean(anomalous(overlaps(scores, masks, 0))),
            "iou_anomalous": lambda: np.mean(anomalous(overlaps(scores, masks, 1))),
            "dsc_pooled": lambda: 2 * at_threshold()[0] / (sum(at_threshold()) + total),
            "iou_pooled": lambda: at_threshold()[0] / (at_threshold()[1] + total),
            "precision": lambda: at_threshold()[0] / sum(at_threshold()),
            "recall": lambda: at_threshold()[0] / total,
            "fp_pixels": fp_pixels,
            "aupro_0.3": lambda: aupro(scores, masks, 0.3),
            "aupro_0.05": lambda: aupro(scores, masks, 0.05),
            "spro_0.05": lambda: pro(scores, masks, regions, 0.05),
            "iap": lambda: np.mean(instance_precisions(scores, masks)),
            "iap_90": lambda: iap_90(scores, masks),
            "aupimo": lambda: np.mean(aupimo(scores, masks, 1e-5, 1e-4)),
            "anomaly_rate": lambda: total / len(pairs),
            "anomaly_rate_anomalous": lambda: total / sum(mask.size for mask in masks if mask.any()),
            "image_auroc": lambda: auroc(images),
            "image_ap": lambda: ap(images),
            "image_f1_max": lambda: f1_max(images),
        }[key]()
    )
