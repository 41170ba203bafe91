"""What is odd about masks is said, and of what is not odd nothing."""

import numpy as np
import pytest

from aseg_bench.datasets.questions import look, mask_findings

DRAWN = np.zeros((20, 20), np.uint8)
DRAWN[4:9, 6:12] = 255
SOFT = DRAWN.copy()
SOFT[9, 6:12] = 90
CLASSES = DRAWN // 255 * 2
CLASSES[4, 6:9] = 7
VOID = CLASSES.copy()
VOID[0:2, 0:2] = 255
NOISY = DRAWN.copy()
NOISY[15, 15] = 1


def kinds(*masks, **options):
    looks = [look(mask, f"bolt/test/hole/{index:03}", **options) for index, mask in enumerate(masks)]
    return [finding.kind for finding in mask_findings(looks, "mvtec_ad")]


@pytest.mark.parametrize("mask", [DRAWN, DRAWN // 255, DRAWN > 0, DRAWN / 255, CLASSES, DRAWN.astype(np.int32) * 257])
def test_nothing_is_odd_about_a_plain_mask(mask):
    assert kinds(mask) == []


@pytest.mark.parametrize(
    ("mask", "options", "kind"),
    [
        (SOFT, {}, "mask_grey"),
        (SOFT.astype(np.int32) * 257, {}, "mask_grey"),
        (SOFT / np.float32(255), {}, "mask_grey"),
        (NOISY, {"ending": ".JPG"}, "mask_grey"),
        (CLASSES, {"ending": ".jpeg"}, "mask_grey"),
        (VOID, {}, "mask_void"),
        (255 - DRAWN, {}, "mask_mostly_anomalous"),
        (np.pad(np.zeros((18, 18), np.uint8), 1, constant_values=1), {}, "mask_mostly_anomalous"),
        (np.zeros_like(DRAWN), {}, "mask_empty"),
        (DRAWN, {"is_turned": True}, "mask_turned"),
        (DRAWN, {"is_of_defect": False}, "mask_of_normal"),
    ],
)
def test_each_oddity_is_found(mask, options, kind):
    assert kinds(mask, **options) == [kind]


def test_an_empty_mask_of_a_normal_picture_is_as_it_should_be():
    assert kinds(np.zeros_like(DRAWN), is_of_defect=False) == []


def test_a_finding_counts_and_names_the_first():
    looks = [look(SOFT if index % 2 else DRAWN, f"m{index}") for index in range(10)]
    (finding,) = mask_findings(looks, "mvtec_ad")
    assert finding.text.startswith(
        "5 of 10 masks hold grey levels between black and white, first m1, m3, m5 and 2 more: every value above 0 "
    )
    assert "--mask-rule '>127'" in finding.text
    (finding,) = mask_findings([look(SOFT, "a"), look(SOFT // 3, "b")], "mvtec_ad")
    assert "--mask-rule '>42'" in finding.text  # a rule for all of them empties none
    (finding,) = mask_findings([look(SOFT / 255, "a")], "mvtec_ad")
    assert "--mask-rule '>0.5'" in finding.text
    assert (finding.case.method, finding.case.dataset, finding.case.category) == ("", "mvtec_ad", "")


def test_who_says_what_is_anomalous_is_not_asked_about_greys_again():
    assert kinds(SOFT, VOID, is_anomalous=lambda mask: mask > 127) == []
    assert kinds(255 - DRAWN, is_anomalous=lambda mask: mask == 0) == []
    assert kinds(DRAWN, is_anomalous=lambda mask: mask == 7) == ["mask_empty"]
