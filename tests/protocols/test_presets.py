"""Presets are frozen, cited and stamped."""

from dataclasses import FrozenInstanceError, fields, replace

import pytest

from aseg_bench.errors import InputError
from aseg_bench.protocols import EXACT, PROTOCOLS, Protocol, find_protocol

NAMES = [
    "exact", "native", "unias", "uniad", "hvq_trans", "diad", "patchcore", "simplenet", "draem", "rd4ad", "destseg",
    "ader", "ader_adeval50", "adeval1000", "anomalib_2_6", "anomalib_2_7", "visa_official", "mvtec_official",
]  # fmt: skip


def test_the_presets_of_the_field_are_there() -> None:
    assert set(PROTOCOLS) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_is_frozen_cites_its_source_and_is_its_own_stamp(name: str) -> None:
    protocol = find_protocol(name)
    assert protocol.name == protocol.stamp == name
    assert protocol.summary
    assert protocol.source
    with pytest.raises(FrozenInstanceError):
        protocol.smoothing = 4.0  # type: ignore[misc]


def test_every_changed_setting_changes_the_stamp() -> None:
    other = {
        "size": 256, "keep_aspect": True, "crop": 8, "truth_resize": "opencv_linear", "truth_rule": "only_full",
        "truth_binarised_first": True, "smoothing": 4.0, "map_scale": "image_min_max", "auroc_flip": True,
        "ap_rule": "trapezoids", "binning": "histogram_50", "image_binning": "histogram_50", "f1_rule": "grid_21",
        "dsc_rule": "pooled", "aupro_rule": "grid_200", "image_score": "std", "image_label": "mask",
    }  # fmt: skip
    assert set(other) == {field.name for field in fields(Protocol)} - {"name", "summary", "source"}
    stamps = {replace(EXACT, **{name: value}).stamp for name, value in other.items()}  # type: ignore[arg-type]
    assert len(stamps) == len(other)
    assert all(stamp.startswith("exact~") for stamp in stamps)
    assert replace(EXACT, summary="said otherwise").stamp == "exact"


def test_an_unknown_protocol_names_near_ones() -> None:
    with pytest.raises(InputError, match="did you mean patchcore"):
        find_protocol("patchcor")
