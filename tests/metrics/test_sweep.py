import math
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from aseg_bench.errors import InputError
from aseg_bench.metrics import METRICS, FirstPass, Needs, Ranking, SecondPass, counting, measure, needs_of, tallies
from aseg_bench.metrics.tallies import CoarseTally, GapTally, TopTally
from tests.metrics.cases import smooth

ALL = tuple(key for key in METRICS if key != "spro_0.05")


class Read(Sequence):
    """A lazy sequence that remembers who read what."""

    def __init__(self, arrays):
        self.arrays, self.reads, self.threads = arrays, Counter(), set()

    def __len__(self):
        return len(self.arrays)

    def __getitem__(self, index):
        self.reads[index] += 1
        self.threads.add(threading.get_ident())
        return self.arrays[index].copy()


@pytest.mark.parametrize("n_threads", [1, 2])
def test_a_lazy_sequence_is_read_at_most_twice_and_from_one_thread(n_threads):
    scores, masks = smooth()
    lazy_scores, lazy_masks = Read(scores), Read(masks)
    measured = measure(lazy_scores, lazy_masks, n_threads=n_threads)
    assert measured.values == measure(scores, masks).values
    assert max(lazy_scores.reads.values()) <= 2
    assert max(lazy_masks.reads.values()) <= 2
    assert lazy_scores.threads == lazy_masks.threads == {threading.get_ident()}


def test_the_curve_alone_reads_a_normal_image_once():
    scores, masks = smooth()
    lazy = Read(scores)
    measure(lazy, masks, metrics=["pixel_auroc", "pixel_ap", "precision"])
    assert all(lazy.reads[i] == (2 if mask.any() else 1) for i, mask in enumerate(masks))


def test_memory_maps_and_strides_are_read_as_they_are(tmp_path):
    scores, masks = smooth()
    np.save(tmp_path / "scores.npy", scores)
    np.save(tmp_path / "masks.npy", masks)
    expected = measure(scores, masks).values
    mapped = np.load(tmp_path / "scores.npy", mmap_mode="r"), np.load(tmp_path / "masks.npy", mmap_mode="r")
    assert measure(*mapped).values == expected
    strided = np.repeat(scores, 2, axis=2)[:, :, ::2], np.asfortranarray(masks)
    assert measure(*strided).values == expected


def test_minus_zero_equals_zero():
    scores = np.array([[[0.0, -0.0, -1.0, 1.0]]], dtype=np.float32)
    masks = np.array([[[True, False, False, False]]])
    curve = measure(scores, masks).curve
    assert curve.auroc == (0.5 + 1.0 + 0.0) / 3
    assert curve.thresholds.tolist() == [0.0]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_infinities_are_ordered(dtype):
    scores = np.array([[[-np.inf, 5, np.inf, -np.inf, 7, np.inf]]], dtype=dtype)
    masks = np.array([[[False, False, False, True, True, True]]])
    # pairs won by -inf: a tie; by 7: two; by inf: two and a tie
    assert measure(scores, masks).curve.auroc == (0.5 + 2 + 2.5) / 9


def test_float64_scores_are_compared_as_float64():
    scores = np.array([[[1.0, 1.0 + 2**-52]]])
    masks = np.array([[[False, True]]])
    assert measure(scores, masks).curve.auroc == 1.0
    assert measure(scores.astype(np.float32), masks).curve.auroc == 0.5


def test_64_bit_integers_are_compared_as_integers():
    scores = np.array([[[2**60, 2**60 + 1, -(2**60), -(2**60) - 1]]])
    masks = np.array([[[False, True, True, False]]])
    measured = measure(scores, masks)
    assert measured.curve.auroc == (2 + 1) / 4
    assert measured.curve.thresholds.tolist() == [-(2**60), 2**60 + 1]
    with pytest.raises(InputError, match="convert to float64"):
        measure(scores * 4, masks)


def test_subnormal_and_huge_scores_keep_their_order():
    ordered = np.array([-np.inf, -3e38, -1.0, -1e-45, 0.0, 1e-45, 1.2e-38, 1.0, 3e38, np.inf], dtype=np.float32)
    for i in range(1, len(ordered)):
        scores = ordered[None, None, i - 1 : i + 1]
        assert measure(scores, np.array([[[False, True]]])).curve.auroc == 1.0


@pytest.mark.parametrize(("offset", "scale"), [(1000, 1), (0, 1e-30), (0, 1e30), (-5, 1e-3)])
def test_narrow_and_wide_ranges_of_scores_are_exact(offset, scale):
    scores, masks = smooth()
    shifted = scores.astype(np.float64) * scale + offset
    assert measure(shifted, masks, metrics=ALL).values == pytest.approx(measure(scores, masks).values, rel=1e-12)


def test_one_far_outlier_changes_no_count():
    scores, masks = smooth()
    measured = measure(scores, masks)
    scores[0, 0, 0] = np.inf
    scores[0, 0, 1] = -np.inf
    with_outliers = measure(scores, masks)
    assert abs(with_outliers.values["pixel_auroc"] - measured.values["pixel_auroc"]) < 1e-3
    assert with_outliers.values["dsc"] == pytest.approx(np.mean(with_outliers.per_image["dsc"]))


def test_counts_beyond_32_bits_are_kept(monkeypatch):
    scores, masks = smooth()
    expected = measure(scores, masks, n_threads=1)
    monkeypatch.setattr(tallies, "UINT32_MAX", scores[0].size + 5)  # as if 32 bits were full after one image
    for n_threads in (1, 2):
        measured = measure(scores, masks, n_threads=n_threads)
        assert measured.curve.counts.dtype == np.int64
        assert measured.values == expected.values


@pytest.mark.parametrize("n_waiting", [1, 7, 3000])
@pytest.mark.parametrize("n_parts", [1, 7, 1000])
def test_pixels_may_wait_in_any_number_to_be_counted_in_any_order(n_waiting, n_parts, monkeypatch):
    scores, masks = smooth(n_images=3)
    expected = measure(scores, masks).values
    monkeypatch.setattr(counting, "N_WAITING", (n_waiting, n_waiting))
    monkeypatch.setattr(counting, "N_PARTS", n_parts)
    monkeypatch.setattr(counting, "N_PER_PART", 1)
    assert measure(scores, masks).values == expected


def test_gap_tallies_merge_to_the_sum(monkeypatch):
    monkeypatch.setattr(tallies, "UINT32_MAX", 10)
    monkeypatch.setattr(tallies, "UINT8_MAX", 5)
    total = np.zeros(3, dtype=np.int64)
    parts = [GapTally(1), GapTally(1)]
    for i, n in enumerate([4, 6, 7, 3, 10, 1, 2]):
        parts[i % 2].room(n)[i % 3] += np.uint32(n)
        total[i % 3] += n
    elsewhere = GapTally(1)
    for part in parts:
        elsewhere.add(*part.to_arrays())
    parts[0].merge(parts[1])
    np.testing.assert_array_equal(parts[0].total(), total)
    np.testing.assert_array_equal(elsewhere.total(), total)


def test_there_is_room_for_pixels_that_still_wait(monkeypatch):
    monkeypatch.setattr(tallies, "UINT32_MAX", 20)
    gaps, rng, waiting, total = GapTally(0), np.random.default_rng(0), 0, 0
    for n in rng.integers(1, 6, 200).tolist():
        counts = gaps.room(n, waiting)
        waiting, total = waiting + n, total + n
        if waiting >= 8:
            counts[0] += np.uint32(waiting)
            waiting = 0
        assert counts[0] <= 20
    assert gaps.total()[0] == total - waiting


@pytest.mark.parametrize("how", ["merge", "take"])
def test_pixels_that_wait_are_counted_beside_those_of_a_full_part(how, monkeypatch):
    ranking = FirstPass(needs_of(["pixel_auroc"]))
    scores, mask = np.arange(100, dtype=np.float32).reshape(10, 10), np.zeros((10, 10), dtype=bool)
    mask[5, 5] = True
    ranking.update(scores, mask)
    parts = [counting.Counting(ranking.compute()) for _ in range(2)]
    bits = scores.view(np.int32).ravel()
    for part in parts:
        part.update(bits, mask.view(np.uint8).ravel(), int(np.iinfo(np.int32).min))
    monkeypatch.setattr(tallies, "UINT32_MAX", 100)
    parts[0].merge(parts[1]) if how == "merge" else parts[0].take(parts[1].to_arrays())
    assert parts[0].total().tolist() == [110, 0, 88]
    assert parts[0]._gaps._counts.sum() <= 100  # what a count of 32 bits holds


def test_parts_that_count_apart_do_not_merge_with_those_that_do_not():
    (scores,), (mask,) = smooth(n_images=1)
    first = FirstPass(Needs())
    first.update(scores, mask)
    ranking = first.compute()
    apart, together = (SecondPass(replace(ranking, needs=Needs(anomalous_images=one))) for one in (True, False))
    for ours, theirs in ((apart, together), (together, apart)):
        with pytest.raises(InputError, match="different rankings"):
            ours.merge(theirs)
        with pytest.raises(ValueError, match="counted apart there or here"):
            ours.take(theirs.to_arrays())


def test_gaps_of_more_pixels_than_a_byte_or_32_bits_hold_cross_processes():
    counts = {0: 255, 1: 256, 2: 2**32 - 1, 3: 2**32, 4: 5 * 2**32 + 7}
    here, elsewhere = GapTally(2), GapTally(2)
    for place, n in counts.items():
        for start in range(0, n, 2**32 - 1):
            n_now = min(n - start, 2**32 - 1)
            here.room(n_now)[place] += np.uint32(n_now)
    few, places, many = here.to_arrays()
    assert (few.dtype, few.tolist()) == (np.uint8, [255, 0, 0, 0, 0])
    assert dict(zip(places.tolist(), many.tolist(), strict=True)) == {k: n for k, n in counts.items() if n > 255}
    for n_times in (1, 2, 3):
        elsewhere.add(few, places, many)
        assert elsewhere.total().tolist() == [n_times * n for n in counts.values()]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("sizes", [2**62] * 4),
        ("sizes", [3, -1, 1]),
        ("n_groups", [7]),
        ("coarse_place", [0, 2**40]),
        ("coarse_place", [2**40, 0]),
        ("coarse", []),
        ("keys", [0.5, 0.25, 0.5]),
    ],
)
def test_arrays_of_a_stranger_that_do_not_fit_are_refused_before_a_kernel_sees_them(name, values):
    first = FirstPass(Needs(overlaps=True))
    first.update(np.array([[1.0, 2.0, 3.0, 4.0]]), np.array([[False, True, True, True]]))
    arrays = first.to_arrays()
    FirstPass(first.needs).take(arrays)
    with pytest.raises(ValueError, match=r"its (scores|buckets)|the sizes"):
        FirstPass(first.needs).take(arrays | {name: np.array(values)})


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_a_ranking_of_arrays_orders_infinities_and_refuses_what_is_none(dtype):
    values = [-3, 0, 7] if dtype == np.int64 else [-np.inf, 0, np.inf]
    scores, masks = np.array([[values, values]], dtype), np.array([[[True] * 3, [False] * 3]])
    first = FirstPass(needs_of(tuple(METRICS)))
    first.update(scores[0], masks[0])
    arrays = first.compute().to_arrays()
    second = SecondPass(Ranking.of_arrays(first.needs, arrays))
    second.update(scores[0], masks[0])
    whole = SecondPass(first.compute())
    whole.take(second.to_arrays())
    assert whole.compute().curve.auroc == 0.5  # of nine pairs three are ties, three right and three wrong
    keys, most = arrays["keys"], np.iinfo(arrays["keys"].dtype).max
    nans = {"positive": [*keys[:-1], most], "negative": [-most, *keys[1:]]}
    for bad in (*nans.values(), keys[::-1], np.repeat(keys, 2), keys[None], keys.astype(np.int16)):
        given = np.asarray(bad) if isinstance(bad, np.ndarray) else np.array(bad, keys.dtype)
        with pytest.raises(InputError, match=r"nan|ascend|of the type"):
            Ranking.of_arrays(first.needs, arrays | {"keys": given})
    for limits in ([1, 0, 0], [0, 0, -1]):
        with pytest.raises(InputError, match="limits"):
            Ranking.of_arrays(first.needs, arrays | {"limits": np.array(limits)})
    plain = FirstPass(needs_of(["pixel_ap"]))
    plain.update(scores[0], masks[0])
    for bad in nans.values():
        with pytest.raises(InputError, match="a score is nan"):
            FirstPass(plain.needs).take(plain.to_arrays() | {"keys": np.array(bad, keys.dtype)})


def test_coarse_tallies_widen_and_merge_to_the_same_counts():
    rng = np.random.default_rng(0)
    images = [rng.integers(low, high, 50) for low, high in [(5, 9), (-100, 3), (10**6, 10**7), (-(2**40), 2**40)]]

    def tally(chosen):
        result = CoarseTally()
        for keys in chosen:
            bits = np.where(keys < 0, np.iinfo(np.int64).min - keys, keys)
            mask = np.zeros(50, dtype=np.uint8)
            result.update(bits, mask, int(np.iinfo(np.int64).min), int(keys.min()), int(keys.max()))
        return result

    whole, left, right = tally(images), tally(images[2:]), tally(images[1::-1])
    left.merge(right)
    assert (left.shift, left.base) == (whole.shift, whole.base)
    np.testing.assert_array_equal(left.counts, whole.counts)
    assert whole.from_top()[0] == 200


def test_top_tallies_keep_the_highest_with_all_ties():
    rng = np.random.default_rng(0)
    parts, seen = [TopTally(20, np.int32), TopTally(20, np.int32)], []
    for i in range(10):
        keys = rng.integers(0, 30, 40).astype(np.int32)
        seen.append(keys)
        parts[i % 2].update(keys[keys >= parts[i % 2].floor])
    parts[0].merge(parts[1])
    everything = np.sort(np.concatenate(seen))[::-1]
    expected = everything[everything >= everything[19]]
    np.testing.assert_array_equal(np.repeat(parts[0].keys, parts[0].counts), expected)


def test_parts_of_different_rankings_do_not_merge():
    scores, masks = smooth()
    rankings = []
    for images in ([2], [3]):
        first = FirstPass(Needs())
        for i in images:
            first.update(scores[i], masks[i])
        rankings.append(first.compute())
    with pytest.raises(InputError, match="different rankings"):
        SecondPass(rankings[0]).merge(SecondPass(rankings[1]))


def test_a_part_without_anomalous_pixels_merges():
    scores, masks = smooth()
    normal, anomalous = FirstPass(Needs()), FirstPass(Needs())
    normal.update(None, masks[0])
    anomalous.update(scores[-1], masks[-1])
    normal.merge(anomalous)
    assert normal.compute().n_distinct == len(np.unique(scores[-1][masks[-1]]))


MEMORY = """
import sys
from pathlib import Path
import numpy as np
from aseg_bench.metrics import measure

def peak():  # of this process alone: ru_maxrss starts with that of the parent
    return 1024 * int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])

class Maps:
    def __init__(self, n, of): self.n, self.of = n, of
    def __len__(self): return self.n
    def __getitem__(self, i):
        rng = np.random.default_rng(i)
        truth = np.zeros((512, 512), dtype=bool)
        if i % 3: truth[100:190, 200:290] = True
        return truth if self.of == "masks" else rng.random((512, 512), dtype=np.float32) + 0.5 * truth

measure(Maps(40, "scores"), Maps(40, "masks"))  # buffers have their size, and the interpreter its own
before = peak()
n = int(sys.argv[1])
measure(Maps(40 + n, "scores"), Maps(40 + n, "masks"))
print((peak() - before) / (n * 512 * 512 * 4))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_memory_grows_with_the_anomalous_pixels_only():
    # 31 million pixels, 2 % anomalous: 126 MB of scores, of which no more than a few images are ever alive
    command = [sys.executable, "-c", MEMORY, "120"]
    runs = (subprocess.run(command, capture_output=True, text=True, check=True) for _ in range(3))
    assert any(float(run.stdout) <= 0.4 for run in runs)  # on a busy machine threads wait with more images in hand


def test_ten_to_the_twelve_pixels_do_not_overflow():
    from aseg_bench.metrics import Curve
    from aseg_bench.metrics.keys import FLOAT32

    n = 10**12
    curve = Curve(
        np.array([1, 2], dtype=np.int32), FLOAT32, np.array([n, n], dtype=np.int64), np.array([n, n, n, 0, n])
    )
    # of n normal pixels each, the lower score beats one part and ties with one, the higher beats three
    assert curve.auroc == pytest.approx((1.5 + 3) / 8, rel=1e-15)
    assert math.isclose(curve.average_precision, 0.5 * 1 / 2 + 0.5 * 2 / 5, rel_tol=1e-15)
    assert curve.tp.tolist() == [2 * n, n]
    assert curve.fp.tolist() == [3 * n, n]
