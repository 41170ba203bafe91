"""A dump is read as often as docs/scale.md says."""

import gc
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from aseg_bench.predictions import checks, imported
from aseg_bench.predictions.imported import ImportedMaps
from aseg_bench.predictions.records import Found, FoundMap, Reader
from aseg_bench.protocols import meeting
from aseg_bench.records import LazySequence, Sample
from aseg_bench.scoring.dumps import score_dump

N_IMAGES, N_TURNED = 30, 3  # of each class


def dump(reads: Counter[int], signs: Sequence[int]) -> ImportedMaps:
    """Normal and defect images in turn, whose maps are noise and 2 more on defects, times a sign."""

    def read(place: int) -> NDArray[Any]:
        reads[place] += 1
        return signs[place] * (np.random.default_rng(place).random((16, 16)) + 2 * (truth(place) > 0))

    def truth(place: int) -> NDArray[Any]:
        mask = np.zeros((16, 16), np.uint8)
        mask[4:9, 4:9] = 255 * (place % 2)
        return mask

    found = []
    for place in range(N_IMAGES):
        sample = Sample("maps", "bolt", "test", "cut" if place % 2 else "good", f"{place:02}", Path("none.png"))
        item = FoundMap(Path(str(place)), lambda place=place: read(place), read_mask=lambda place=place: truth(place))
        found.append((sample, item))
    reader = Reader("none", "nothing", lambda files: False, lambda path, limits: Found([]))
    return ImportedMaps(Path("none"), reader, {"bolt": found}, {}, {"": []}, True, True)


def test_maps_of_a_category_too_large_to_be_kept_are_read_three_times(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name, value in (
        (imported, "KEPT", 0),
        (meeting, "N_BYTES_KEPT", 0),
        (checks, "_KEPT", 0),
        (checks, "_MOST_TURNED", N_TURNED),
    ):
        monkeypatch.setattr(module, name, value)
    reads: Counter[int] = Counter()
    score_dump(dump(reads, [1] * N_IMAGES), "mine")
    turned = {place for place, n in reads.items() if n > 3}
    assert len(turned) == 2 * N_TURNED  # and these again, to look for sign and orientation
    assert {place % 2 for place in turned} == {0, 1}
    assert {n for place, n in reads.items() if place not in turned} == {3}


def test_maps_that_fit_into_memory_are_read_once() -> None:
    reads: Counter[int] = Counter()
    score_dump(dump(reads, [1] * N_IMAGES), "mine")
    assert set(reads.values()) == {1}


def test_inverted_maps_are_found_by_some_images_of_each_class(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "_MOST_TURNED", N_TURNED)
    found = score_dump(dump(Counter(), [-1] * N_IMAGES), "mine").findings
    assert "inverted" in {one.kind for one in found}


def test_maps_of_a_category_are_let_go_when_it_is_scored_not_when_python_looks_for_cycles() -> None:
    read, enabled = dump(Counter(), [1] * N_IMAGES), gc.isenabled()
    score_dump(read, "m")
    gc.collect()
    before = {id(one) for one in gc.get_objects()}
    gc.disable()
    try:
        score_dump(read, "m")
        kept = [one for one in gc.get_objects() if isinstance(one, LazySequence) and id(one) not in before]
        assert not kept
    finally:
        if enabled:
            gc.enable()
