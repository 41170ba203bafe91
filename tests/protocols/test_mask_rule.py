"""A mask rule says which stored values mean anomalous and which mean void."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from aseg_bench.errors import InputError
from aseg_bench.protocols import EXACT, NATIVE, PROTOCOLS, find_protocol
from aseg_bench.protocols.mask_rule import MaskRule
from aseg_bench.protocols.meeting import Meeting
from aseg_bench.protocols.truth import binarised, truth_fractions
from aseg_bench.records import Sample

VALUES = st.sampled_from([0, 1, 2, 7, 127, 128, 254, 255, 300])


@given(
    mask=arrays(np.int32, (3, 4), elements=VALUES),
    above=st.none() | VALUES,
    values=st.sets(VALUES, min_size=1),
    ignored=st.sets(VALUES),
    is_turned=st.booleans(),
    dtype=st.sampled_from(["i4", "u2", "f4"]),
)
def test_every_value_means_what_the_rule_says(mask, above, values, ignored, is_turned, dtype):
    ignored = ignored if above is not None else ignored - values
    words = [f">{above}" if above is not None else "=" + ",".join(map(str, values))]
    words += ["ignore=" + ",".join(map(str, ignored))] if ignored else []
    rule = MaskRule.parse("  ".join(words[::-1] if is_turned else words))
    anomalous, void = rule.anomalous(mask.astype(dtype)), rule.void(mask.astype(dtype))
    for place, value in np.ndenumerate(mask):
        is_void = value in ignored
        is_anomalous = value > above if above is not None else value in values
        assert anomalous[place] == (is_anomalous and not is_void)
        assert (void is not None and void[place]) == is_void
    assert MaskRule.parse(rule.text) == rule


def test_a_rule_has_one_text():
    texts = [">127", " >127", "=2,1,1  ignore=255", "ignore=255", "=0", ">0.50", "ignore=9,3.5 =1"]
    assert [MaskRule.parse(text).text for text in texts] == [
        ">127", ">127", "=1,2 ignore=255", ">0 ignore=255", "=0", ">0.5", "=1 ignore=3.5,9",
    ]  # fmt: skip
    assert replace(EXACT, mask_rule="ignore=255").stamp == "exact[>0 ignore=255]"
    assert replace(EXACT, mask_rule=" >0 ") == EXACT


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the mask rule is empty; write >127"),
        ("127", "has no meaning at '127'; write >127, =1,2"),
        ("> 127", "has no meaning at '>'"),
        (">=127", "has no meaning at '>=127'"),
        ("=1, 2", "has no meaning at '=1,'"),
        (">-1", "has no meaning at '>-1'"),
        ("ignore=", "has no meaning at 'ignore='"),
        (">1,2", "several values behind >"),
        (">1 =2", "says twice what is anomalous"),
        ("ignore=1 ignore=2", "says twice what is void"),
        ("=1,2 ignore=2,3", "2 is both anomalous and void; name it once"),
    ],
)
def test_anything_else_is_one_error_with_an_example(text, message):
    with pytest.raises(InputError, match=message):
        find_protocol("exact", text)


@pytest.mark.parametrize("name", PROTOCOLS)
@pytest.mark.parametrize("rule", [">127", "=1,200"])
def test_a_mask_is_binarised_by_its_rule_before_it_is_resized(name, rule):
    grey = np.random.default_rng(0).choice([0, 1, 90, 200, 255], (40, 40)).astype(np.uint8)
    by_hand = np.where(grey > 127 if rule == ">127" else (grey == 1) | (grey == 200), np.uint8(255), np.uint8(0))
    ruled, plain = find_protocol(name, rule), PROTOCOLS[name]
    for shape in ((40, 40), (17, 23)):
        truth = binarised(truth_fractions(grey, shape, ruled), ruled.truth_rule)
        np.testing.assert_array_equal(truth, binarised(truth_fractions(by_hand, shape, plain), plain.truth_rule))


def sample_of(folder: Path, mask: np.ndarray, **options) -> Sample:
    for name in ("image", "mask"):
        Image.fromarray(mask).save(folder / f"{name}.png")
    return Sample("d", "c", "test", "bad", "0", folder / "image.png", folder / "mask.png", **options)


@pytest.mark.parametrize(("protocol", "shape"), [(EXACT, (13, 9)), (EXACT, (30, 21)), (NATIVE, (13, 9))])
def test_void_pixels_come_to_the_evaluated_size_with_the_truth(tmp_path, protocol, shape):
    values = np.random.default_rng(1).choice([0, 1, 2, 255], (30, 21)).astype(np.uint8)
    sample, scores = sample_of(tmp_path, values), np.zeros(shape)
    (truth,) = Meeting([sample], [scores], None, replace(protocol, mask_rule="=1,2 ignore=255")).truths
    size = truth.shape[::-1]
    nearest = np.asarray(Image.fromarray(values).resize(size, Image.Resampling.NEAREST))
    assert truth.shape == (shape if protocol is EXACT else (30, 21))
    np.testing.assert_array_equal(np.ma.getmaskarray(truth), nearest == 255)
    np.testing.assert_array_equal(np.ma.getdata(truth), (nearest == 1) | (nearest == 2))


def test_masks_that_travel_with_maps_follow_the_rule():
    travelling, sample = (
        np.array([[0, 0.4, 0.9, 255]], np.float32),
        Sample("d", "c", "test", "bad", "0", Path("no.png")),
    )
    protocol = replace(EXACT, mask_rule=">0.5 ignore=255")
    (truth,) = Meeting([sample], [np.zeros((1, 4))], [travelling], protocol).truths
    assert truth.tolist() == [[False, False, True, None]]


def test_a_defect_picture_without_a_mask_is_void_where_it_is_asked_for(tmp_path):
    alone = replace(sample_of(tmp_path, np.zeros((6, 5), np.uint8), is_image_level=True), mask_path=None)
    for protocol, shape in ((EXACT, (3, 3)), (NATIVE, (6, 5))):
        meeting = Meeting([alone], [np.zeros((3, 3))], None, protocol)
        assert np.ma.getmaskarray(meeting.truths[0]).all()
        assert meeting.truths[0].shape == meeting.scores[0].shape == shape
        assert meeting.image_labels.tolist() == [True]
    with pytest.raises(InputError, match=r"c/test/bad/0 has no mask .* protocol uniad does not know.*--image-level"):
        Meeting([alone], [np.zeros((3, 3))], None, PROTOCOLS["uniad"])
    with pytest.raises(InputError, match=r"c/test/bad/0 shows a defect but has no mask.*--image-level"):
        Meeting([replace(alone, is_image_level=False)], [np.zeros((3, 3))], None, EXACT).truths[0]
