"""Every loop of the metric core. Plain arrays in, plain numbers out; the callers check and document.

A score enters as the bits of its float, read as a signed integer, and is compared as a *key*: the bits themselves if
positive, else ``flip - bits`` with ``flip`` the lowest integer of the type. Keys order as the floats do, -0.0 equals
0.0, and the mapping is its own inverse. A mask holds 0 where a pixel is normal, 1 where it is anomalous, and 2 where it
is void. All kernels release the interpreter's lock and write to private memory only.
"""
# mypy: disable-error-code="no-untyped-def, assignment"

from math import inf, log
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray


class Ladder(NamedTuple):
    """The distinct anomalous keys, and a table that finds a key among them.

    The table has one entry per bucket of ``2**shift`` keys, the first bucket starting at ``base << shift``: how many
    distinct keys lie below it. From there ``widest``, ``widest / 2``, ... 1 steps reach any key of the bucket.
    ``distinct`` ends in ``widest`` times the highest integer, so that no step leaves it; a key that is looked up must
    lie between ``low`` and ``high``, one beyond the lowest and highest distinct key.
    """

    distinct: NDArray[np.signedinteger]
    table: NDArray[np.uint32]
    shift: int
    base: int
    widest: int
    low: int
    high: int


@njit(cache=True, nogil=True)
def scan(bits, flip, infinity):
    """Lowest key, highest key, and the place of the first nan, or -1 without one."""
    lowest = highest = np.int64(0)
    if bits.size:
        first = np.int64(bits[0])
        lowest = highest = first if first >= 0 else flip - first
    for i in range(bits.size):
        b = np.int64(bits[i])
        key = b if b >= 0 else flip - b
        lowest = min(lowest, key)
        highest = max(highest, key)
    if highest > infinity or lowest < -infinity:
        for i in range(bits.size):
            b = np.int64(bits[i])
            key = b if b >= 0 else flip - b
            if key > infinity or key < -infinity:
                return lowest, highest, i
    return lowest, highest, -1


@njit(cache=True, nogil=True)
def gather(bits, mask, flip, out):
    """Write the keys of the anomalous pixels, in order."""
    n = 0
    for i in range(bits.size):
        if mask[i] == 1:
            b = np.int64(bits[i])
            out[n] = b if b >= 0 else flip - b
            n += 1


@njit(cache=True, nogil=True)
def between(bits, mask, flip, wanted, low, high, out):
    """Write the keys in [low, high) of pixels whose mask is ``wanted``.

    Returns how many lie there (no more than fit are written) and how many are at or above ``high``.
    """
    n_inside = n_above = 0
    for i in range(bits.size):
        b = np.int64(bits[i])
        key = b if b >= 0 else flip - b
        if key >= low and mask[i] == wanted:
            if key >= high:
                n_above += 1
            else:
                if n_inside < out.size:
                    out[n_inside] = key
                n_inside += 1
    return n_inside, n_above


@njit(cache=True, nogil=True)
def tally(bits, mask, flip, wanted, shift, base, counts):
    """Count pixels whose mask is ``wanted`` into buckets of 2**shift keys; bucket 0 starts at ``base << shift``."""
    for i in range(bits.size):
        b = np.int64(bits[i])
        key = b if b >= 0 else flip - b
        counts[(key >> shift) - base] += np.int64(mask[i] == wanted)


@njit(cache=True, nogil=True)
def squeeze(ordered, found):
    """Move the distinct keys to the front of ``ordered``, count each in ``found``, return how many there are."""
    n = 0
    for i in range(ordered.size):
        if n > 0 and ordered[i] == ordered[n - 1]:
            found[n - 1] += 1
        else:
            ordered[n] = ordered[i]
            found[n] = 1
            n += 1
    return n


@njit(cache=True, nogil=True)
def index(distinct, n_distinct, shift, base, table):
    """Write for each bucket how many distinct keys lie below it; return the content of the fullest bucket."""
    k = fullest = before = 0
    for bucket in range(table.size):
        edge = (base + bucket) << shift
        while k < n_distinct and distinct[k] < edge:
            k += 1
        table[bucket] = k
        fullest = max(fullest, k - before)
        before = k
    return max(fullest, n_distinct - before)  # no further edge closes the last bucket


@njit(cache=True, nogil=True)
def append(bits, mask, flip, low, high, keys, n):
    """Write the keys of normal pixels, cut to [low, high], after the first ``n`` of ``keys``; return the new ``n``."""
    for i in range(bits.size):
        b = np.int64(bits[i])
        key = b if b >= 0 else flip - b
        keys[n] = min(max(key, low), high)
        n += np.int64(mask[i] == 0)
    return n


@njit(cache=True, nogil=True)
def part(keys, n, ladder, coarser, starts, parted):
    """Write the first ``n`` keys into ``parted``, those of every ``2**coarser`` neighbouring buckets together."""
    shift = ladder.shift
    starts[:] = 0
    for i in range(n):
        starts[(((np.int64(keys[i]) >> shift) - ladder.base) >> coarser) + 1] += 1
    for p in range(1, starts.size):
        starts[p] += starts[p - 1]
    for i in range(n):
        p = ((np.int64(keys[i]) >> shift) - ladder.base) >> coarser
        parted[starts[p]] = keys[i]
        starts[p] += 1


@njit(cache=True, nogil=True)
def count(keys, n, ladder, counts, places):
    """Count the first ``n`` keys of normal pixels into the gaps between distinct anomalous keys and onto them.

    ``counts[2 k]`` takes pixels strictly between ``distinct[k - 1]`` and ``distinct[k]``, ``counts[2 k + 1]`` those
    equal to ``distinct[k]``. ``places`` is a buffer; a small one stays in the first-level cache.
    """
    for start in range(0, n, places.size):
        block = keys[start : min(n, start + places.size)]
        locate(block, block.size, ladder, places)
        for i in range(block.size):
            place = places[i]
            counts[2 * place + np.int64(ladder.distinct[place] == block[i])] += 1


@njit(cache=True, nogil=True, inline="always")
def locate(keys, n, ladder, places):
    """Write how many distinct keys lie strictly below each of the first ``n`` keys.

    A block of pixels takes each step together: no branch that data can mislead, and no wait for memory.
    """
    distinct = ladder.distinct
    for i in range(n):
        places[i] = ladder.table[(np.int64(keys[i]) >> ladder.shift) - ladder.base]
    step = ladder.widest
    while step > 0:
        for i in range(n):
            place = places[i]
            places[i] = place + step if distinct[place + step - 1] < keys[i] else place
        step >>= 1


@njit(cache=True, nogil=True)
def rank(keys, ladder, places, ranks):
    """Write the rank of each anomalous key; ``places`` is a buffer."""
    for start in range(0, keys.size, places.size):
        n = min(places.size, keys.size - start)
        locate(keys[start : start + n], n, ladder, places)
        for i in range(n):
            ranks[start + i] = places[i]


@njit(cache=True, nogil=True)
def weigh(ranks, sizes, weights, sums):
    """Sum the weights of the ranks over consecutive groups of the given sizes."""
    start = 0
    for group in range(sizes.size):
        total = 0.0
        for i in range(start, start + sizes[group]):
            total += weights[ranks[i]]
        start += sizes[group]
        sums[group] = total


@njit(cache=True, nogil=True)
def candidates(distinct, found, n_anomalous, shift, base, below_top):
    """First and last rank at which precision + recall may be highest.

    ``below_top[b]`` is the number of normal pixels in bucket ``b`` and above, so that the false positives at a key lie
    between the entries of its bucket and of the next.
    """
    least = -inf
    tp = 0
    for k in range(found.size - 1, -1, -1):
        tp += np.int64(found[k])
        bucket = (np.int64(distinct[k]) >> shift) - base
        least = max(least, tp / (tp + below_top[bucket]) + tp / n_anomalous)
    first = last = -1
    tp = 0
    for k in range(found.size - 1, -1, -1):
        tp += np.int64(found[k])
        bucket = (np.int64(distinct[k]) >> shift) - base
        if tp / (tp + below_top[bucket + 1]) + tp / n_anomalous >= least - 1e-9:
            first = k
            if last < 0:
                last = k
    return first, last


@njit(cache=True, nogil=True)
def summarise(found, counts, n_anomalous, n_normal):
    """Walk a curve from its highest threshold down.

    Returns AUROC, average precision, the rank of the best F1 (and IoU) and that of the highest precision + recall; the
    lowest rank on a tie. Sums are compensated (Neumaier), so that millions of terms lose nothing.
    """
    pairs = pairs_lost = steps = steps_lost = 0.0
    best_f1 = best_sum = -1.0
    f1_rank = sum_rank = -1
    tp = 0
    fp = np.int64(counts[2 * found.size])
    for k in range(found.size - 1, -1, -1):
        new = np.int64(found[k])
        tied = np.int64(counts[2 * k + 1])
        tp += new
        fp += tied
        term = float(new) * (2.0 * (n_normal - fp) + tied)
        total = pairs + term
        pairs_lost += (pairs - total) + term if pairs >= term else (term - total) + pairs
        pairs = total
        precision = tp / (tp + fp)
        term = new * precision
        total = steps + term
        steps_lost += (steps - total) + term if steps >= term else (term - total) + steps
        steps = total
        f1 = 2.0 * tp / (tp + fp + n_anomalous)
        if f1 >= best_f1:
            best_f1 = f1
            f1_rank = k
        both = precision + tp / n_anomalous
        if both >= best_sum:
            best_sum = both
            sum_rank = k
        fp += np.int64(counts[2 * k])
    auroc = (pairs + pairs_lost) / (2.0 * n_anomalous * n_normal)
    return auroc, (steps + steps_lost) / n_anomalous, f1_rank, sum_rank


@njit(cache=True, nogil=True)
def reach(found, n_anomalous, share):
    """The highest rank at which at least this share of the anomalous elements is found."""
    tp = 0
    for k in range(found.size - 1, -1, -1):
        tp += np.int64(found[k])
        if tp / n_anomalous >= share:
            return k
    return 0


@njit(cache=True, nogil=True)
def areas(counts, limit, weights):
    """Write for each rank the share of [0, limit] false positives at which a pixel of that rank is found.

    Between the points of a tie the curve is a straight line.
    """
    above = np.int64(counts[2 * weights.size])
    for k in range(weights.size - 1, -1, -1):
        reached = above + np.int64(counts[2 * k + 1])
        if reached <= limit:
            weights[k] = (limit - 0.5 * (above + reached)) / limit
        elif above < limit:
            weights[k] = (limit - above) ** 2 / (2.0 * (reached - above)) / limit
        else:
            weights[k] = 0.0
        above = reached + np.int64(counts[2 * k])


@njit(cache=True, nogil=True)
def log_areas(distinct, tops, top_counts, n_normal, lower, upper, weights):
    """As `areas`, over the logarithm of the false-positive rate from ``lower`` to ``upper``.

    ``tops`` are distinct keys of normal pixels, descending. Where the rate is still 0 its logarithm gives no line to
    follow; there a tied pixel counts from its own rate on.
    """
    start, end = log(lower), log(upper)
    above = 0
    t = 0
    for k in range(weights.size - 1, -1, -1):
        while t < tops.size and tops[t] > distinct[k]:
            above += top_counts[t]
            t += 1
        reached = above
        if t < tops.size and tops[t] == distinct[k]:
            reached += top_counts[t]
        x1 = log(reached / n_normal) if reached > 0 else -inf
        x0 = log(above / n_normal) if above > 0 else x1
        area = end - min(max(x1, start), end)
        if x0 < x1:
            a, b = min(max(x0, start), end), min(max(x1, start), end)
            area += ((b - x0) ** 2 - (a - x0) ** 2) / (2.0 * (x1 - x0))
        weights[k] = area / (end - start)
