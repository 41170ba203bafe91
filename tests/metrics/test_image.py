import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from aseg_bench.metrics import METRICS, MetricStream, evaluate_maps, measure
from tests.metrics.cases import smooth

SCORES, MASKS = smooth(n_images=12)
LABELS = MASKS.any(axis=(1, 2))
RULES = {"max": np.max, "std": np.std, "min": np.min}


@pytest.mark.parametrize("rule", RULES)
def test_image_metrics_equal_scikit_learns(rule):
    score = RULES[rule]
    values = [score(score_map) for score_map in SCORES]
    for given in (score, values):
        assert METRICS["image_auroc"](SCORES, MASKS, image_scores=given) == pytest.approx(
            roc_auc_score(LABELS, values), abs=1e-12
        )
        assert METRICS["image_ap"](SCORES, MASKS, image_scores=given) == pytest.approx(
            average_precision_score(LABELS, values), abs=1e-12
        )


def test_without_image_scores_the_highest_pixel_counts():
    for key in ("image_auroc", "image_ap", "image_f1_max"):
        assert (
            evaluate_maps(SCORES, MASKS, metrics=[key])
            == evaluate_maps(SCORES, MASKS, metrics=[key], image_scores=np.max)
            == evaluate_maps(SCORES, MASKS, metrics=[key], image_scores=SCORES.max(axis=(1, 2)))
        )


def test_image_scores_touch_no_pixel_metric():
    assert evaluate_maps(SCORES, MASKS, metrics=["pixel_auroc", "dsc"]) == evaluate_maps(
        SCORES, MASKS, metrics=["pixel_auroc", "dsc"], image_scores=-SCORES.max(axis=(1, 2))
    )


def test_image_labels_take_the_place_of_the_masks():
    labels = np.arange(len(MASKS)) % 2 == 0
    measured = measure(SCORES, MASKS, metrics=["image_auroc"], image_labels=labels)
    assert measured.values["image_auroc"] == pytest.approx(roc_auc_score(labels, SCORES.max(axis=(1, 2))), abs=1e-12)


def test_a_stream_takes_image_scores_and_rules():
    streams = [MetricStream(["image_auroc"]), MetricStream(["image_auroc"])]
    for score_map, mask in zip(SCORES, MASKS, strict=True):
        streams[0].update(score_map, mask, image_score=np.std(score_map))
        streams[1].update(score_map, mask)
    assert streams[0].compute().values == streams[1].compute(image_scores=np.std).values
