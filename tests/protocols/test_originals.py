"""Under a protocol a category has the numbers of the code that the protocol restates, ties and odd sizes included."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from numpy.typing import ArrayLike, NDArray
from skimage.measure import label
from sklearn.metrics import auc, precision_recall_curve, roc_auc_score, roc_curve

from aseg_bench.metrics import METRICS
from aseg_bench.protocols import PROTOCOLS
from aseg_bench.protocols.curves import Curve, f1_threshold, trapezoid_area
from aseg_bench.records import Case, Sample
from aseg_bench.scoring.categories import score_category

Maps = list[NDArray[np.float32]]
Masks = list[NDArray[np.uint8]]
few = settings(max_examples=40, deadline=None)


def scored(
    name: str, maps: Sequence[ArrayLike], masks: Sequence[ArrayLike], keys: Sequence[str], good: Sequence[bool] = ()
) -> dict[str, float | str]:
    """The value of each metric, or why there is none; masks of 0 and 255 travel with the maps."""
    truths = [np.asarray(mask, np.uint8) for mask in masks]
    is_good = good or [not truth.any() for truth in truths]
    samples = [
        Sample("maps", "nut", "test", "good" if normal else "cut", str(index), Path(f"{index}.png"))
        for index, normal in enumerate(is_good)
    ]
    rows = score_category(
        Case("mine", "maps", "nut"), samples, [np.asarray(scores, np.float32) for scores in maps],
        protocol=PROTOCOLS[name], metrics=keys, masks=truths,
    )  # fmt: skip
    return {row.metric: row.undefined_because if row.value is None else row.value for row in rows.scores}


@st.composite
def categories(draw: st.DrawFn, smallest: int = 1, grey: bool = False) -> tuple[Maps, Masks]:
    """Maps of a few distinct scores in [0, 1] and their masks, some of them empty, of any size."""
    shape = (draw(st.integers(smallest, smallest + 7)), draw(st.integers(smallest, smallest + 9)))
    n_images, n_levels = draw(st.integers(1, 4)), draw(st.sampled_from([1, 2, 4, 16]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    maps = [(rng.integers(0, n_levels, shape, endpoint=True) / n_levels).astype(np.float32) for _ in range(n_images)]
    values = np.array([0, 200, 254, 255] if grey else [0, 0, 255], np.uint8)
    masks = [rng.choice(values, shape) * (rng.random() < 0.7) for _ in range(n_images)]
    return maps, masks


def flat(maps: Maps, masks: Masks) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    scores, truth = (np.concatenate([array.ravel() for array in stack]) for stack in (maps, masks))
    assume(0 < (truth > 0).sum() < truth.size)
    return scores.astype(np.float64), truth > 0


def regions(masks: Masks) -> Iterator[NDArray[np.bool_]]:
    """Each 8-connected region, flat over all images."""
    for index, mask in enumerate(masks):
        labels = label(mask > 0, connectivity=2)
        for number in range(1, labels.max() + 1):
            yield np.concatenate([(labels == number if i == index else np.zeros(mask.shape, bool)).ravel()
                                  for i in range(len(masks))])  # fmt: skip


def destsegs_aupro(maps: Maps, masks: Masks, limit: float) -> float:
    """The formula of model/metrics.py in plain loops; nan where it divides by nothing."""
    scores, truth = flat(maps, masks)
    fpr = roc_curve(truth, scores, drop_intermediate=False)[0]
    n_points = sum(rate <= limit for rate in fpr)
    curves = []
    for region in regions(masks):
        chosen = region | ~truth
        fpr, tpr, _ = roc_curve(region[chosen], scores[chosen], drop_intermediate=False)
        highest = limit if max(rate for rate in fpr if rate <= limit) > 0 else min(rate for rate in fpr if rate > limit)
        kept = [place for place, rate in enumerate(fpr) if rate <= highest]
        places = [float(place) for place in range(n_points)]
        is_short = not np.isclose(fpr[kept[-1]], limit)
        if is_short:
            kept.append(next(place for place, rate in enumerate(fpr) if rate >= limit))
        index = [place * (n_points - 1) / max(kept) for place in kept]
        if is_short:
            beyond = kept[-1]
            share = (limit - fpr[beyond - 1]) / (fpr[beyond] - fpr[beyond - 1])
            places[-1] = index[-2] + (index[-1] - index[-2]) * share
        curves.append([[line(index, rates[kept], place) for place in places] for rates in (fpr, tpr)])
    mean_fpr, mean_tpr = np.mean(curves, axis=0)
    if mean_fpr[-1] == 0:
        return float("nan")
    order = np.argsort(mean_fpr, kind="stable")
    return float(auc(mean_fpr[order], mean_tpr[order]) / mean_fpr[-1])


def line(x: Sequence[float], y: NDArray[np.float64], at: float) -> float:
    """The line through the two points between which bisection puts a place; beyond the last, that of the last two."""
    low, high = 0, len(x)
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if x[middle] < at else (low, middle)
    left = min(max(low - 1, 0), len(x) - 2)
    return float(y[left] + (y[left + 1] - y[left]) * (at - x[left]) / (2.3e-16 + x[left + 1] - x[left]))


def test_destsegs_aupro_of_tied_scores_is_its_own_class_s() -> None:
    values = scored("destseg", [[[0.75, 0.25, 0, 0.25, 0.75, 0.5, 1, 0.25]]], [[[0, 255, 0, 0, 255, 255, 255, 0]]],
                    ["aupro_0.3"])  # fmt: skip
    assert values["aupro_0.3"] == pytest.approx(0.33603, abs=5e-6)


_BELOW_ALL_NORMAL = (
    [np.array([[0, 0.5]], np.float32), np.array([[0.25, 1]], np.float32)],
    [np.array([[255, 255]], np.uint8), np.array([[0, 255]], np.uint8)],
)


@few
@example(case=_BELOW_ALL_NORMAL, limit=0.3)
@given(case=categories(), limit=st.sampled_from([0.3, 0.05]))
def test_destsegs_aupro_is_that_of_plain_loops(case: tuple[Maps, Masks], limit: float) -> None:
    expected = destsegs_aupro(*case, limit)
    value = scored("destseg", *case, [f"aupro_{limit}"])[f"aupro_{limit}"]
    if np.isnan(expected):
        assert "fewer than two thresholds" in str(value)
    else:
        assert value == pytest.approx(expected, abs=1e-9)


@few
@given(case=categories())
def test_destsegs_iap_counts_where_scores_times_truth_reach_the_region_s_median(case: tuple[Maps, Masks]) -> None:
    scores, truth = flat(*case)
    medians = sorted(sorted(scores[region], reverse=True)[region.sum() // 2] for region in regions(case[1]))
    precisions: list[float] = []
    for median in medians:
        precision = (scores * truth >= median).sum() / (scores >= median).sum()
        precisions.append(max([precision, *precisions]))
    recalls = [1 - place / len(medians) for place in range(len(medians))]
    at_90 = [precision for precision, recall in zip(precisions, recalls, strict=True) if recall >= 0.9][-1]
    values = scored("destseg", *case, ["iap", "iap_90"])
    assert values["iap"] == pytest.approx(np.mean(precisions), abs=1e-12)
    assert values["iap_90"] == pytest.approx(at_90, abs=1e-12)


def test_anomalib_2_6_reverses_the_precisions_of_equal_recall() -> None:
    maps, masks = [[[0.0, 0.0]], [[0.0, 0.8]], [[0.0, 0.9]]], [[[0, 0]], [[0, 255]], [[0, 255]]]
    values = scored("anomalib_2_6", maps, masks, ["image_ap"])
    assert values["image_ap"] == pytest.approx(0.91667, abs=5e-6)


@few
@given(case=categories())
def test_resorted_trapezoids_are_those_of_torchmetrics(case: tuple[Maps, Masks]) -> None:
    torch = pytest.importorskip("torch")
    functional = pytest.importorskip("torchmetrics.functional.classification")
    area = pytest.importorskip("torchmetrics.utilities.compute").auc
    scores, truth = flat(*case)
    precision, recall, _ = functional.binary_precision_recall_curve(torch.tensor(scores), torch.tensor(truth).int())
    expected = float(area(recall.double(), precision.double(), reorder=True))
    curve = Curve.of(case[0], [mask > 0 for mask in case[1]])
    assert trapezoid_area(curve, is_resorted=True) == pytest.approx(expected, abs=1e-6)


@few
@given(case=categories())
def test_the_counted_curve_has_scikit_learns_trapezoids_threshold_and_auroc(case: tuple[Maps, Masks]) -> None:
    scores, truth = flat(*case)
    precision, recall, thresholds = precision_recall_curve(truth, scores)
    curve = Curve.of(case[0], [mask > 0 for mask in case[1]])
    assert trapezoid_area(curve) == pytest.approx(auc(recall, precision), abs=1e-12)
    f1 = 2 * precision * recall / (precision + recall + 1e-10)
    assert f1_threshold(curve) == thresholds[np.argmax(f1)]
    assert curve.auroc == pytest.approx(roc_auc_score(truth, scores), abs=1e-12)


def test_mvtec_official_takes_the_label_of_an_image_from_its_mask() -> None:
    maps, masks = [[[0.0, 0.5]], [[0.0, 0.2]], [[0.0, 0.9]]], [[[0, 0]], [[0, 0]], [[0, 255]]]
    values = scored("mvtec_official", maps, masks, ["image_auroc"], good=[True, False, False])
    assert values["image_auroc"] == 1.0


def test_ader_with_adeval_counts_the_highest_score_twice() -> None:
    values = scored("ader_adeval50", [[[0, 0, 0.25], [0, 1, 1]]], [[[0, 0, 255], [0, 0, 255]]],
                    ["pixel_auroc", "pixel_ap", "aupro_0.3"])  # fmt: skip
    assert values["pixel_auroc"] == pytest.approx(0.70, abs=1e-9)
    assert values["pixel_ap"] == pytest.approx(0.35, abs=1e-9)
    assert values["aupro_0.3"] == pytest.approx(0.1389, abs=5e-5)


@few
@given(case=categories())
def test_adeval_on_cuda_is_a_histogram_of_50_bins_with_the_maximum_above_too(case: tuple[Maps, Masks]) -> None:
    scores, truth = flat(*case)
    low, high = np.float32(scores.min()), np.float32(scores.max())
    assume(low < high)
    bins = [min(int(np.float32(np.float32(score) - low) * np.float32(50) / np.float32(high - low)), 49)
            for score in scores]  # fmt: skip
    fpr, tpr, precision = [], [], []
    for edge in range(50, -1, -1):
        called = np.array([int(place >= edge) + int(score == high) for place, score in zip(bins, scores, strict=True)])
        fp, tp = called[~truth].sum(), called[truth].sum()
        fpr.append(fp)
        tpr.append(tp)
        precision.append(tp / (tp + fp) if tp + fp else 1.0)
    values = scored("ader_adeval50", *case, ["pixel_auroc", "pixel_ap"])
    assert values["pixel_auroc"] == pytest.approx(auc(np.array(fpr) / fpr[-1], np.array(tpr) / tpr[-1]), abs=1e-12)
    assert values["pixel_ap"] == pytest.approx(auc(np.array(tpr) / tpr[-1], precision), abs=1e-12)


def test_ader_takes_best_iou_on_its_grid_too() -> None:
    values = scored("ader", [[[0, 0.01, 0.02, 0.03, 1]]], [[[0, 0, 255, 255, 0]]], ["pixel_iou_max"])
    assert values["pixel_iou_max"] == pytest.approx(0.5, abs=1e-7)


@few
@given(case=categories())
def test_aders_metrics_on_grids_are_those_of_a_loop(case: tuple[Maps, Masks]) -> None:
    scores, truth = flat(*case)
    assume(scores.min() < scores.max())
    share = (scores - scores.min()).astype(np.float32) / np.float32(scores.max() - scores.min())
    share = share.astype(np.float64)  # numpy 1 would compare with each step as float32

    def overlaps(steps: NDArray[np.float64]) -> NDArray[np.float64]:
        """F1, IoU and recall of each step."""
        counts = [((share > step).sum(), (truth & (share > step)).sum(), truth.sum()) for step in steps]
        return np.array([(2 * tp / (n + total), tp / (n + total - tp), tp / total) for n, tp, total in counts])

    best, mean = overlaps(np.arange(0, 1.001, 0.05)).max(axis=0), overlaps(np.arange(0.2, 0.801, 0.1)).mean(axis=0)
    expected = {"pixel_f1_max": best[0], "pixel_iou_max": best[1], "pixel_f1_0.2_0.8": mean[0],
                "pixel_iou_0.2_0.8": mean[1], "pixel_recall_0.2_0.8": mean[2]}  # fmt: skip
    assert scored("ader", *case, list(expected)) == pytest.approx(expected, abs=1e-6)


@few
@given(case=categories(grey=True))
def test_patchcores_second_auroc_is_over_the_images_with_any_mask(case: tuple[Maps, Masks]) -> None:
    kept = [index for index, mask in enumerate(case[1]) if mask.any()]
    assume(kept)
    scores = np.concatenate([case[0][index].ravel() for index in kept])
    truth = np.concatenate([case[1][index].ravel() for index in kept]) == 255
    assume(0 < truth.sum() < truth.size)
    value = scored("patchcore", *case, ["pixel_auroc_anomalous"])["pixel_auroc_anomalous"]
    assert value == pytest.approx(roc_auc_score(truth, scores), abs=1e-12)


@few
@given(case=categories(), name=st.sampled_from(["unias", "uniad", "hvq_trans"]))
def test_maps_and_masks_that_travel_together_meet_at_their_own_size(case: tuple[Maps, Masks], name: str) -> None:
    scores, truth = flat(*case)
    auroc = roc_auc_score(truth, scores)
    assert scored(name, *case, ["pixel_auroc"])["pixel_auroc"] == pytest.approx(max(auroc, 1 - auroc), abs=1e-12)


@pytest.mark.parametrize("name", PROTOCOLS)
@settings(max_examples=12, deadline=None)
@given(case=st.one_of(categories(grey=True), categories(smallest=60)))
def test_every_metric_has_a_value_or_a_reason_under_every_protocol(name: str, case: tuple[Maps, Masks]) -> None:
    for value in (values := scored(name, *case, list(METRICS))).values():
        assert isinstance(value, str) or np.isfinite(value)
        assert value != ""
    for key, value in values.items():
        if isinstance(value, float) and METRICS[key].unit == "fraction" and name != "destseg":
            assert -1e-9 <= value <= 1 + 1e-9, key


MEMORY = """
import sys
from pathlib import Path
import numpy as np
from aseg_bench.scoring.categories import score_category
from aseg_bench.protocols import PROTOCOLS, meeting
from aseg_bench.records import Case, LazySequence, Sample

meeting.N_BYTES_KEPT = 2**20
EDGE = 512

def peak():  # of this process alone: ru_maxrss starts with that of the parent
    return 1024 * int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])

def mask(i):
    truth = np.zeros((EDGE, EDGE), np.uint8)
    truth[100:140, 200:240] = 255 * (i % 3 > 0)
    return truth

def scores(i):
    return np.random.default_rng(i).random((EDGE, EDGE), dtype=np.float32) + 0.5 * (mask(i) > 0)

def score(n):
    samples = [Sample("maps", "nut", "test", "cut" if i % 3 else "good", str(i), Path("x")) for i in range(n)]
    keys = ["pixel_auroc", "pixel_ap", "pixel_f1_max", "aupro_0.3", "image_auroc", "image_ap"]
    maps, masks = LazySequence(n, scores), LazySequence(n, mask)
    return score_category(Case("m", "maps", "nut"), samples, maps, masks=masks, protocol=PROTOCOLS[sys.argv[1]],
                          metrics=keys, n_threads=1)

score(3)
before = peak()
score(40)
print((peak() - before) / (40 * EDGE * EDGE * 4))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
@pytest.mark.parametrize("name", ["ader", "ader_adeval50", "simplenet", "anomalib_2_6"])
def test_memory_does_not_grow_with_the_number_of_images(name: str) -> None:
    # 42 MB of scores, of which no more than a few images are ever alive
    command = [sys.executable, "-c", MEMORY, name]
    runs = (subprocess.run(command, capture_output=True, text=True, check=True) for _ in range(5))
    assert any(float(run.stdout) <= 0.35 for run in runs)  # a peak differs from run to run, upwards only
