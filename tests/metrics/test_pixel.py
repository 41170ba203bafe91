import numpy as np
import pytest
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

from aseg_bench.errors import InputError, UndefinedMetricError
from aseg_bench.metrics import METRICS, Curve, MetricStream, evaluate_maps, functions, measure
from tests.metrics.cases import smooth


@pytest.mark.parametrize("levels", [0, 5])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_curve_equals_scikit_learns(levels, dtype):
    scores, masks = smooth(n_images=20, seed=1)
    scores = (np.round(scores * levels) / levels if levels else scores).astype(dtype)
    truth, flat = masks.ravel(), scores.ravel()
    measured = measure(scores, masks)
    assert measured.values["pixel_auroc"] == pytest.approx(roc_auc_score(truth, flat), abs=1e-12)
    assert measured.values["pixel_ap"] == pytest.approx(average_precision_score(truth, flat), abs=1e-12)
    precision, recall, thresholds = precision_recall_curve(truth, flat)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-300)
    assert measured.values["pixel_f1_max"] == pytest.approx(f1.max(), abs=1e-12)
    assert measured.curve.pr_threshold == thresholds[np.argmax(precision + recall)]
    assert measured.curve.f1_threshold == thresholds[np.argmax(f1)]
    at = np.searchsorted(thresholds, measured.curve.thresholds)
    np.testing.assert_array_equal(thresholds[at], measured.curve.thresholds)
    np.testing.assert_allclose(measured.curve.precision, precision[at], rtol=1e-15)
    ranks = [len(at) - 1, 0, 0]
    np.testing.assert_array_equal(measured.curve.precision_at(ranks), measured.curve.precision[sorted(ranks)])
    np.testing.assert_allclose(measured.curve.recall, recall[at], rtol=1e-15)
    fpr, tpr, descending = roc_curve(truth, flat, drop_intermediate=False)
    at = len(descending) - np.searchsorted(descending[::-1], measured.curve.thresholds, side="right")
    np.testing.assert_allclose(measured.curve.fpr, fpr[at], rtol=1e-15)
    np.testing.assert_allclose(measured.curve.tpr, tpr[at], rtol=1e-15)


def test_precision_and_recall_tie_at_the_lowest_threshold():
    # calling the two highest gives 1 + 1/2, calling all gives 2/4 + 1
    scores = np.array([[[4.0, 1.0, 2.0, 3.0]]])
    masks = np.array([[[True, True, False, False]]])
    assert measure(scores, masks).curve.pr_threshold == 1.0


def test_dsc_counts_a_normal_image_one_or_zero():
    masks = np.zeros((3, 1, 4), dtype=bool)
    masks[0, 0, :2] = True
    scores = np.array([[[5.0, 4.0, 1.0, 0.0]], [[1.0, 1.0, 1.0, 1.0]], [[1.0, 1.0, 4.5, 1.0]]])
    measured = measure(scores, masks)
    assert measured.per_image["dsc"].tolist() == [1.0, 1.0, 0.0]
    assert measured.values["dsc"] == pytest.approx(2 / 3)
    assert measured.values["dsc_anomalous"] == 1.0
    assert measured.values["dsc_pooled"] == pytest.approx(4 / 5)
    assert measured.values["fp_pixels"] == 0.5


@pytest.mark.parametrize("threshold", [-1.0, 0.0, 0.1, 1.7, 99.0])
def test_any_threshold_counts_as_plain_comparison_does(threshold):
    scores, masks = smooth()
    at = functions.at_threshold(scores, masks, threshold)
    called = scores.astype(np.float64) >= threshold
    normal = ~masks.any(axis=(1, 2))
    assert (at.tp, at.fp) == ((called & masks).sum(), (called & ~masks).sum())
    assert (at.fn, at.tn) == ((~called & masks).sum(), (~called & ~masks).sum())
    assert at.fp_pixels == called[normal].sum() / normal.sum()
    assert at.recall == at.tp / masks.sum()
    if called.any():
        assert at.precision == at.tp / called.sum()
        assert at.f1 == 2 * at.tp / (called.sum() + masks.sum())
        assert at.iou == at.tp / (called | masks).sum()
    else:
        with pytest.raises(UndefinedMetricError, match="no pixel is called anomalous"):
            at.precision  # noqa: B018


def test_at_the_papers_threshold_all_ways_agree():
    scores, masks = smooth()
    measured = measure(scores, masks)
    at = functions.at_threshold(scores, masks, measured.curve.pr_threshold)
    assert (at.precision, at.recall, at.f1, at.iou, at.fp_pixels) == tuple(
        measured.values[key] for key in ("precision", "recall", "dsc_pooled", "iou_pooled", "fp_pixels")
    )


@pytest.mark.parametrize(
    "metric",
    [
        metric
        for metric in METRICS.values()
        if not (metric.is_of_protocols or metric.needs_threshold) and not metric.key.startswith("spro_")
    ],
    ids=lambda metric: metric.key,
)
def test_every_metric_measures_when_it_is_called(metric):
    scores, masks = smooth()
    assert metric(scores, masks) == evaluate_maps(scores, masks)[metric.key]


def test_a_curve_is_saved_and_loaded_to_the_bit(tmp_path):
    curve = measure(*smooth()).curve
    curve.save(tmp_path / "curve.npz")
    loaded = Curve.load(tmp_path / "curve.npz")
    assert loaded.auroc == curve.auroc
    assert loaded.kind == curve.kind
    for name in ("keys", "found", "counts", "thresholds", "precision", "fpr"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(curve, name))


def test_a_thinned_curve_keeps_its_ends_and_its_shape():
    curve = measure(*smooth(n_images=30)).curve
    chosen = curve.thinned(90)
    assert len(chosen) <= 90
    assert {chosen[0], chosen[-1]} == {0, len(curve.keys) - 1}
    assert np.abs(np.diff(curve.recall[chosen])).max() < 0.05
    assert curve.thinned(10**6).tolist() == list(range(len(curve.keys)))


def test_a_curve_without_one_class_says_so():
    curve = Curve.of([1.0, 2.0], [True, True])
    with pytest.raises(UndefinedMetricError, match="no image is normal"):
        curve.auroc  # noqa: B018
    with pytest.raises(UndefinedMetricError, match="no image is anomalous"):
        Curve.of([1.0], [False]).pr_threshold  # noqa: B018


def test_a_stream_measures_as_the_whole_does():
    scores, masks = smooth()
    whole = measure(scores, masks)
    left, right = MetricStream(), MetricStream()
    for i, (score_map, mask) in enumerate(zip(scores, masks, strict=True)):
        (left, right)[i % 2].update(score_map, mask)
    left.merge(right)
    measured = left.compute()
    assert measured.values == whole.values
    left.update(scores[0, :7], masks[0, :7])
    longer = [*scores, scores[0, :7]], [*masks, masks[0, :7]]
    assert left.compute().values == measure(*longer).values


def test_a_stream_refuses_an_unknown_metric_and_a_bad_pair_at_once():
    with pytest.raises(InputError, match="no metric 'dcs'; did you mean dsc"):
        MetricStream(["dcs"])
    with pytest.raises(InputError, match="image 0"):
        MetricStream().update(np.zeros((2, 2)), np.zeros((2, 3), dtype=bool))
