"""Every loop of the metric core. Plain arrays in, plain numbers out; the callers check and document.

A score enters as the bits of its float, read as a signed integer, and is compared as a *key*: the bits themselves if
positive, else ``flip - bits`` with ``flip`` the lowest integer of the type. Keys order as the floats do, -0.0 equals
0.0, and the mapping is its own inverse. A mask holds 0 where a pixel is normal, 1 where it is anomalous, and 2 where it
is void. All kernels release the interpreter's lock and write to private memory only.
"""
# mypy: disable-error-code="no-untyped-def, no-untyped-call, call-arg, assignment"

from math import inf, log
from typing import NamedTuple

import numpy as np
from numba import njit
from numba.extending import intrinsic, overload
from numpy.typing import NDArray

ONE, WORD_SHIFT, LAST_BIT = np.uint64(1), np.uint64(6), np.uint64(63)


class Ladder(NamedTuple):
    """The distinct anomalous keys, and what finds a key among them.

    Keys are cut into cells of ``2**shift``, the first one starting at ``base << shift``. A bit of ``words`` says
    whether a distinct key lies in the cell, and ``sums`` how many bits are set in the words before, so that the bits
    set before a cell count the cells below it that hold a distinct key (Jacobson, 1989). Where cells are
    wider than a key, ``starts`` says how many distinct keys lie below each of those cells, and from there ``widest``,
    ``widest / 2``, ... 1 steps reach any key of the cell; otherwise the cell is the key, and ``widest`` is 0.
    ``distinct`` ends in ``widest`` times the highest integer, so that no step leaves it; a key that is looked up must
    lie between ``low`` and ``high``, one beyond the lowest and highest distinct key.
    """

    distinct: NDArray[np.signedinteger]
    words: NDArray[np.uint64]
    sums: NDArray[np.uint32]
    starts: NDArray[np.uint32]
    shift: int
    base: int
    widest: int
    low: int
    high: int


def n_set(word):
    """How many bits of a 64-bit word are set."""
    return int(word).bit_count()


@intrinsic
def _n_set(typing_context, word):
    return word(word), lambda context, builder, signature, arguments: builder.ctpop(arguments[0])


@overload(n_set)
def _compiled_n_set(word):
    return lambda word: _n_set(word)


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
def between(bits, mask, flip, low, high, normal, anomalous):
    """Write the keys in [low, high) of normal and of anomalous pixels, each to a buffer of one more than all pixels.

    Returns for each class how many lie there and how many at or above ``high``. Every key is written and stays if the
    next one does not take its place: whether it lies there no branch could foretell.
    """
    n_normal = n_anomalous = normal_above = anomalous_above = np.uint64(0)
    for i in range(bits.size):
        b = np.int64(bits[i])
        key = b if b >= 0 else flip - b
        is_normal, is_anomalous, is_above = mask[i] == 0, mask[i] == 1, key >= high
        is_inside = (key >= low) & (not is_above)
        normal[n_normal] = anomalous[n_anomalous] = key
        n_normal += np.uint64(is_normal & is_inside)
        n_anomalous += np.uint64(is_anomalous & is_inside)
        normal_above += np.uint64(is_normal & is_above)
        anomalous_above += np.uint64(is_anomalous & is_above)
    return np.int64(n_normal), np.int64(normal_above), np.int64(n_anomalous), np.int64(anomalous_above)


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
def index(distinct, n_distinct, shift, base, words, sums, starts):
    """Write ``words``, ``sums`` and, if cells are wider than a key, ``starts``; return the keys of the fullest cell."""
    n_cells = first = fullest = 0
    last = -1
    for k in range(n_distinct):
        cell = (np.int64(distinct[k]) >> shift) - base
        if cell != last:
            words[cell >> 6] |= ONE << np.uint64(cell & 63)
            if shift > 0:
                starts[n_cells] = k
            n_cells += 1
            first, last = k, cell
        fullest = max(fullest, k + 1 - first)
    starts[n_cells if shift > 0 else 0] = n_distinct
    before = 0
    for w in range(words.size):
        sums[w] = before
        before += np.int64(n_set(words[w]))
    return fullest


@njit(cache=True, nogil=True)
def count_normal(bits, mask, flip, ladder, parts, coarser, waiting, n_waiting, counts, places):
    """Let the normal pixels of an image wait with those of nearby keys, and count each part of them when it is full.

    ``parts`` has the part of every ``2**coarser`` neighbouring cells. So the counting reads and writes little memory at
    a time. ``waiting`` (n_parts, n) takes keys, cut to [low, high]; ``n_waiting`` says how many each part holds.
    """
    full = waiting.shape[1]
    if n_waiting.size == 1:  # its number stays in a register: each addition would wait for the last one in memory
        n = n_waiting[0]
        for i in range(bits.size):
            b = np.int64(bits[i])
            key = b if b >= 0 else flip - b
            waiting[0, n] = min(max(key, ladder.low), ladder.high)
            n += np.uint32(mask[i] == 0)
            if n == full:
                count(waiting[0], ladder, counts, places)
                n = np.uint32(0)
        n_waiting[0] = n
        return
    coarser = np.uint64(coarser)
    for i in range(bits.size):
        b = np.int64(bits[i])
        key = b if b >= 0 else flip - b
        key = min(max(key, ladder.low), ladder.high)
        part = parts[np.uint64((key >> ladder.shift) - ladder.base) >> coarser]
        n = n_waiting[part]
        waiting[part, n] = key
        n += np.uint32(mask[i] == 0)
        if n == full:
            count(waiting[part], ladder, counts, places)
            n = np.uint32(0)
        n_waiting[part] = n


@njit(cache=True, nogil=True)
def count_rest(waiting, n_waiting, ladder, counts, places):
    """Count all normal pixels that still wait."""
    for part in range(n_waiting.size):
        count(waiting[part, : n_waiting[part]], ladder, counts, places)
        n_waiting[part] = 0


@njit(cache=True, nogil=True)
def count(keys, ladder, counts, places):
    """Count keys of normal pixels into the gaps between distinct anomalous keys and onto them.

    ``counts[2 k]`` takes pixels strictly between ``distinct[k - 1]`` and ``distinct[k]``, ``counts[2 k + 1]`` those
    equal to ``distinct[k]``. Keys lie between ``low`` and ``high``; ``places`` is a buffer of at least as many.
    """
    if ladder.widest == 0:
        for i in range(keys.size):
            cell = np.uint64(np.int64(keys[i]) - ladder.base)
            word, bit = ladder.words[cell >> WORD_SHIFT], cell & LAST_BIT
            rank = np.uint64(ladder.sums[cell >> WORD_SHIFT]) + np.uint64(n_set(word & ((ONE << bit) - ONE)))
            counts[rank + rank + ((word >> bit) & ONE)] += np.uint32(1)
        return
    locate(keys, ladder, places)
    for i in range(keys.size):
        place = np.uint64(places[i])
        counts[place + place + np.uint64(ladder.distinct[place] == keys[i])] += np.uint32(1)


@njit(cache=True, nogil=True)
def locate(keys, ladder, places):
    """Write how many distinct keys lie strictly below each key, all of which lie between ``low`` and ``high``.

    All keys take each step together: no branch that data can mislead, and no wait for memory.
    """
    for i in range(keys.size):
        cell = np.uint64((np.int64(keys[i]) >> ladder.shift) - ladder.base)
        before = ladder.words[cell >> WORD_SHIFT] & ((ONE << (cell & LAST_BIT)) - ONE)
        places[i] = np.int64(ladder.sums[cell >> WORD_SHIFT]) + np.int64(n_set(before))
    if ladder.widest > 0:
        for i in range(keys.size):
            places[i] = ladder.starts[np.uint64(places[i])]
    step = ladder.widest
    while step > 0:
        for i in range(keys.size):
            place = np.uint64(places[i])
            is_below = ladder.distinct[place + np.uint64(step - 1)] < keys[i]
            places[i] += step if is_below else 0
        step >>= 1


@njit(cache=True, nogil=True)
def sum_from(counts, firsts, sums):
    """Sum the counts from each of the ascending places ``firsts`` to the end."""
    total, end = 0, counts.size
    for k in range(firsts.size - 1, -1, -1):
        for i in range(firsts[k], end):
            total += np.int64(counts[i])
        sums[k], end = total, firsts[k]


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
