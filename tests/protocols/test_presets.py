"""Presets are frozen, cited and stamped."""

from dataclasses import FrozenInstanceError, fields, replace

import pytest

from aseg_bench.errors import InputError
from aseg_bench.protocols import EXACT, PROTOCOLS, Protocol, find_protocol, protocol_stamped

NAMES = [
    "exact", "native", "unias", "uniad", "hvq_trans", "diad", "patchcore", "simplenet", "draem", "rd4ad", "destseg",
    "ader", "ader_adeval50", "adeval1000", "anomalib_2_6", "anomalib_2_7", "visa_official", "mvtec_official",
]  # fmt: skip
DIGESTS = {
    "exact": "eeeb6973",
    "native": "d740008f",
    "unias": "dfc7c449",
    "uniad": "1ee7902e",
    "hvq_trans": "1ee7902e",
    "diad": "5d374381",
    "patchcore": "eb99c4da",
    "simplenet": "64b9122a",
    "draem": "aa089f27",
    "rd4ad": "db507f68",
    "destseg": "1d8c4efc",
    "ader": "663d2c0b",
    "ader_adeval50": "b38dd454",
    "adeval1000": "bce11746",
    "anomalib_2_6": "ae9b1978",
    "anomalib_2_7": "9f760d2a",
    "visa_official": "bf13c191",
    "mvtec_official": "a11c857a",
}


def test_the_presets_of_the_field_are_there() -> None:
    assert set(PROTOCOLS) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_is_frozen_cites_its_source_and_is_its_own_stamp(name: str) -> None:
    protocol = find_protocol(name)
    assert protocol.name == name
    assert protocol.stamp == (name if protocol.version == 1 else f"{name}@{protocol.version}")
    assert protocol.summary
    assert protocol.source
    with pytest.raises(FrozenInstanceError):
        protocol.smoothing = 4.0  # type: ignore[misc]


def test_a_preset_whose_settings_change_has_a_new_version() -> None:
    """Where this fails, raise the preset's ``version`` and put its new digest here, so that old scores do not merge."""
    assert {name: protocol.digest for name, protocol in PROTOCOLS.items()} == DIGESTS


def test_every_changed_setting_changes_the_stamp() -> None:
    other = {
        "version": 2, "size": 256, "keep_aspect": True, "crop": 8, "truth_resize": "opencv_linear",
        "truth_rule": "only_full",
        "truth_binarised_first": True, "smoothing": 4.0, "map_scale": "image_min_max", "auroc_flip": True,
        "ap_rule": "trapezoids", "binning": "histogram_50", "image_binning": "histogram_50", "f1_rule": "grid_21",
        "dsc_rule": "pooled", "aupro_rule": "grid_200", "image_score": "std", "image_label": "mask",
        "mask_rule": ">127",
    }  # fmt: skip
    assert set(other) == {field.name for field in fields(Protocol)} - {"name", "summary", "source"}
    stamps = {replace(EXACT, **{name: value}).stamp for name, value in other.items()}  # type: ignore[arg-type]
    assert len(stamps) == len(other)
    assert all(stamp.startswith("exact~") or stamp == "exact[>127]" for stamp in stamps)
    assert replace(EXACT, summary="said otherwise").stamp == "exact"


def test_an_unknown_protocol_names_near_ones() -> None:
    with pytest.raises(InputError, match="did you mean patchcore"):
        find_protocol("patchcor")


@pytest.mark.parametrize("rule", [">127", "=1,2 ignore=255", ">0 ignore=255", "=0", ">0.5"])
@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=lambda protocol: protocol.name)
def test_a_mask_rule_joins_the_stamp_which_leads_back_to_it(protocol, rule):
    if "ignore" in rule and protocol.name not in ("exact", "native"):
        message = f"the protocol {protocol.name} restates code that knows no void pixels.*leave out ignore="
        with pytest.raises(InputError, match=message):
            find_protocol(protocol.name, rule)
        return
    ruled = find_protocol(protocol.name, rule)
    assert ruled.stamp == f"{protocol.stamp}[{rule}]"
    assert protocol_stamped(ruled.stamp) == ruled != protocol
    assert (ruled.settings.pop("mask_rule"), ruled.digest != protocol.digest) == (rule, True)
    assert find_protocol(protocol.name, ">0") is protocol
    assert replace(protocol, smoothing=2.0, mask_rule=">127").stamp == f"{replace(protocol, smoothing=2.0).stamp}[>127]"


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=lambda protocol: protocol.name)
def test_a_stamp_leads_back_to_its_preset(protocol):
    assert protocol_stamped(protocol.stamp) is protocol


def test_a_stamp_of_another_meaning_or_of_no_preset_is_refused():
    with pytest.raises(InputError, match="scores under rd4ad, which is now rd4ad@2; score the maps again"):
        protocol_stamped("rd4ad")
    with pytest.raises(InputError, match=r"scores under exact~0123, which is not a preset"):
        protocol_stamped("exact~0123")
