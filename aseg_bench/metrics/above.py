"""What of an image is called anomalous above a threshold that was given: pixels, regions and boundaries, counted."""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from aseg_bench.metrics.checks import truth_of
from aseg_bench.metrics.first_pass import EIGHT_CONNECTED, Needs

BOUNDARY = 0.02  # width of a boundary as a share of the diagonal (Cheng et al. 2021)


class Above(NamedTuple):
    """Counts of an image, or of all images together; a void pixel is called nothing, and counts as outside the image.

    Attributes:
        tp: anomalous pixels called anomalous.
        fp: normal pixels called anomalous.
        n_regions: 8-connected regions of the truth; this and what follows is 0 where it is not needed.
        n_missed: those of which no pixel is called.
        n_false: 8-connected regions of called pixels of which no pixel is anomalous.
        n_shared: pixels in the boundary both of the truth and of what is called.
        n_boundary: pixels in either.
    """

    tp: int = 0
    fp: int = 0
    n_regions: int = 0
    n_missed: int = 0
    n_false: int = 0
    n_shared: int = 0
    n_boundary: int = 0


def above(score_map: NDArray[Any], mask: NDArray[np.bool_], needs: Needs) -> Above:
    """Count what scores above the threshold of ``needs``, compared without rounding either.

    Args:
        score_map: anomaly scores, (height, width).
        mask: True where anomalous, masked where void, (height, width).
        needs: its threshold, None for none, and whether regions and boundaries are counted.
    """
    threshold = needs.threshold
    if threshold is None:
        return Above()
    is_integer = score_map.dtype.kind in "iu"
    called = (score_map > (math.floor(threshold) if is_integer else np.float64(threshold))) & ~np.ma.getmaskarray(mask)
    truth = truth_of(mask)
    hits = called & truth
    tp = int(np.count_nonzero(hits))
    fp = int(np.count_nonzero(called)) - tp
    if not needs.shapes or not (called.any() or truth.any()):
        return Above(tp, fp)
    n_regions, n_found = _regions(truth, hits)
    n_called, n_true = _regions(called, hits)
    width = max(1, round(BOUNDARY * math.hypot(*called.shape)))
    of_truth, of_called = _boundary(truth, width), _boundary(called, width)
    n_shared, n_boundary = (int(np.count_nonzero(one)) for one in (of_truth & of_called, of_truth | of_called))
    return Above(tp, fp, n_regions, n_regions - n_found, n_called - n_true, n_shared, n_boundary)


def _regions(pixels: NDArray[np.bool_], hits: NDArray[np.bool_]) -> tuple[int, int]:
    """How many 8-connected regions some pixels form, and how many of these have a hit."""
    labels, n_regions = ndimage.label(pixels, structure=EIGHT_CONNECTED)
    return n_regions, len(np.unique(labels[hits]))


def _boundary(pixels: NDArray[np.bool_], width: int) -> NDArray[np.bool_]:
    """The pixels at most so far from one that is none of them, or from the edge, by rows or columns.

    That is what so many erosions by a square of 3 x 3 take away.
    """
    boundary = pixels.copy()
    if pixels.any():
        box = tuple(slice(places.min(), places.max() + 1) for places in np.nonzero(pixels))
        inner = ndimage.minimum_filter(pixels[box].view(np.uint8), 2 * width + 1, mode="constant", cval=0)
        boundary[box] &= inner == 0
    return boundary
