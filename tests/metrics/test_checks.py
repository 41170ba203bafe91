import numpy as np
import pytest

from aseg_bench.errors import InputError
from aseg_bench.metrics import MetricStream, SaturatedRegion, evaluate_maps, functions, measure

SCORES = np.arange(24.0).reshape(2, 3, 4)
MASKS = SCORES > 20


@pytest.mark.parametrize(
    ("scores", "masks", "message"),
    [
        (SCORES[:, :2], MASKS, r"image 0: the scores have shape \(2, 4\), the mask \(3, 4\); resize"),
        ([SCORES[0], SCORES[1].T], list(MASKS), r"image 1: the scores have shape \(4, 3\)"),
        (SCORES[:1], MASKS, "there are 1 score maps and 2 masks"),
        (SCORES[0], MASKS[0], r"scores have shape \(3, 4\).*scores\[None\]"),
        (SCORES[None], MASKS[None], r"\(images, height, width\) or .* is needed"),
        ([], [], "there are no score maps"),
        (SCORES[:0], MASKS[:0], "there are no score maps"),
        (SCORES[:, :0], MASKS[:, :0], "both above 0"),
        (iter(SCORES), MASKS, r"scores are a .*; pass an array or a sequence"),
        (SCORES, MASKS.astype(np.uint8) * 128, "mask of image 1 holds uint8 values 0, 128, neither.*binarise with > 0"),
        (SCORES, MASKS.astype(np.uint16) * 65535, "binarise with > 0"),
        (SCORES, (SCORES % 10).astype(np.uint8), "class indices of raw VisA"),
        (SCORES, MASKS.astype(np.int8) * -1, "which values are anomalous"),
        (SCORES, SCORES / 24, "float64 values 0, 0.04.*; binarise, for instance with > 0.5"),
        (SCORES, (SCORES > 20) * np.float32(np.nan), "float32 values nan.*binarise"),
        (SCORES, (SCORES > 20) * np.uint8(127) + (SCORES > 22) * np.uint8(128), "values 0, 127, 255.*> 0"),
        (SCORES, (SCORES > 20) * np.uint8(1) + (SCORES > 22) * np.uint8(254), r"255 may mean void: pass numpy\.ma"),
        (SCORES, MASKS.astype(object), "holds object, not real numbers"),
        (SCORES.astype(complex), MASKS, "image 0 holds complex128, not real numbers"),
        (SCORES.astype(str), MASKS, "not real numbers"),
        ([SCORES[0].astype(np.float32), SCORES[1]], list(MASKS), "convert all to one type"),
    ],
)
def test_what_cannot_be_measured_is_one_clear_error(scores, masks, message):
    with pytest.raises(InputError, match=message):
        evaluate_maps(scores, masks)


@pytest.mark.parametrize("metrics", [None, ["pixel_auroc"], ["dsc"]])
@pytest.mark.parametrize("place", [(0, 1, 2), (1, 2, 3)])  # a normal and an anomalous pixel
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_nan_is_named_with_image_and_pixel(metrics, place, dtype, sign):
    scores = SCORES.astype(dtype)
    scores[place] = np.copysign(np.nan, sign)
    with pytest.raises(InputError, match=rf"score is nan at image {place[0]}, pixel \({place[1]}, {place[2]}\)"):
        evaluate_maps(scores, MASKS, metrics=metrics)
    with pytest.raises(InputError, match=rf"score is nan at image {place[0]}, pixel"):
        functions.at_threshold(scores, MASKS, 1.0)


def test_the_earliest_nan_is_named_whatever_the_threads():
    scores = np.zeros((40, 30, 30))
    scores[[7, 20, 33], 3, 4] = np.nan
    for n_threads in (1, 2, 3):
        with pytest.raises(InputError, match=r"nan at image 7, pixel \(3, 4\)"):
            measure(scores, np.zeros(scores.shape, dtype=bool), n_threads=n_threads)


def test_names_stand_for_images_in_messages():
    scores = SCORES.copy()
    scores[1, 0, 0] = np.nan
    with pytest.raises(InputError, match="nan at screw/test/good/007, pixel"):
        measure(scores, MASKS, names=["screw/test/good/006", "screw/test/good/007"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metrics": ["pixel_auc"]}, "no metric 'pixel_auc'; did you mean pixel_auroc"),
        ({"metrics": "pixel_auroc"}, r"pass a sequence of keys, for instance \['pixel_auroc'\]"),
        ({"image_scores": [1.0]}, r"image_scores have shape \(1,\); one per image is needed, \(2,\)"),
        ({"image_scores": [1.0, np.nan]}, "image score of image 1 is nan"),
        ({"n_threads": 0}, "n_threads is 0"),
    ],
)
def test_options_that_cannot_be_met_are_errors(options, message):
    with pytest.raises(InputError, match=message):
        evaluate_maps(SCORES, MASKS, **options)


@pytest.mark.parametrize("options", [{"names": ["a"]}, {"regions": [[]]}, {"image_labels": [True]}])
def test_lists_of_another_length_are_errors(options):
    with pytest.raises(InputError, match="one"):
        measure(SCORES, MASKS, **options)


@pytest.mark.parametrize("limit", [0.0, -0.1, 1.01, np.nan])
def test_a_limit_outside_its_range_is_an_error(limit):
    with pytest.raises(InputError, match="must lie above 0 and not above 1"):
        functions.aupro(SCORES, MASKS, limit=limit)
    with pytest.raises(InputError, match="must lie above 0 and not above 1"):
        functions.spro(SCORES, MASKS, [[], []], limit=limit)
    with pytest.raises(InputError, match="must lie above 0 and not above 1"):
        functions.aupimo(SCORES, MASKS, upper=limit)
    with pytest.raises(InputError, match="lower"):
        functions.aupimo(SCORES, MASKS, lower=0.5, upper=0.1)


def test_scores_that_are_a_masked_array_are_refused_for_its_mask_would_be_ignored():
    masked = np.ma.masked_array(SCORES, SCORES > 22)
    for scores, masks in ((masked, MASKS), (list(masked), list(MASKS))):
        with pytest.raises(InputError, match="image 0 is a masked array"):
            evaluate_maps(scores, masks)
    with pytest.raises(InputError, match="masked array"):
        MetricStream().update(masked[0], MASKS[0])
    with pytest.raises(InputError, match="masked array"):
        evaluate_maps(SCORES, MASKS, image_scores=masked[:, 0, 0])


@pytest.mark.parametrize("byte", [1, 2, 255])
def test_a_boolean_is_true_wherever_its_byte_is_not_zero(byte):
    odd = (MASKS.astype(np.uint8) * np.uint8(byte)).view(np.bool_)
    expected = evaluate_maps(SCORES, MASKS)
    assert evaluate_maps(SCORES, odd) == expected
    assert evaluate_maps(list(SCORES), list(odd)) == expected
    assert evaluate_maps(SCORES, odd[:, ::-1][:, ::-1]) == expected
    stream = MetricStream()
    for score_map, mask in zip(SCORES, odd, strict=True):
        stream.update(score_map, mask)
    assert stream.compute().values == expected
    assert functions.at_threshold(SCORES, odd, 20.5) == functions.at_threshold(SCORES, MASKS, 20.5)
    regions = [[SaturatedRegion(mask, 2)] if mask.any() else [] for mask in odd]
    plain = [[SaturatedRegion(mask, 2)] if mask.any() else [] for mask in MASKS]
    assert functions.spro(SCORES, odd, regions) == functions.spro(SCORES, MASKS, plain)


def test_nested_lists_and_memory_maps_are_arrays(tmp_path):
    np.save(tmp_path / "scores.npy", SCORES)
    expected = evaluate_maps(SCORES, MASKS)
    assert evaluate_maps(SCORES.tolist(), MASKS.tolist()) == expected
    assert evaluate_maps(np.load(tmp_path / "scores.npy", mmap_mode="r"), list(MASKS)) == expected
    with pytest.raises(InputError, match="image 0 is a list, not an array of numbers"):
        evaluate_maps([[[1.0, 2.0], [3.0]]], [[[True, False], [True, True]]])


def test_a_stream_takes_image_scores_with_all_images_or_with_none():
    stream = MetricStream()
    stream.update(SCORES[0], MASKS[0], image_score=1.0)
    with pytest.raises(InputError, match="with every image or with none"):
        stream.update(SCORES[1], MASKS[1])
    other = MetricStream()
    other.update(SCORES[1], MASKS[1])
    with pytest.raises(InputError, match="only one of the merged streams"):
        stream.merge(other)
    with pytest.raises(InputError, match="there are no score maps"):
        MetricStream().compute()
