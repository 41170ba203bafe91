"""Every system of the paper's tables has its facts: how its maps are read, and by which protocol it was scored."""

import pytest

from aseg_bench.methods import find_methods
from aseg_bench.predictions.readers import find_readers
from aseg_bench.protocols import PROTOCOLS
from aseg_bench.reporting.published import published

PAPER = ["patchcore", "draem", "simplenet", "rd4ad", "destseg", "uniad", "omnial", "hvq_trans", "diad", "vitad"]


@pytest.mark.parametrize("name", [*PAPER, "uni_as"])
def test_a_system_of_the_paper_has_a_reader_a_protocol_and_published_numbers(name: str) -> None:
    facts = find_methods()[name]
    assert facts.reader in find_readers()
    assert facts.protocol in PROTOCOLS
    assert facts.published is not None
    assert len(published(method=facts.published))


def test_maps_only_systems_say_how_to_get_their_maps() -> None:
    from importlib import import_module

    for name in PAPER:
        if find_methods()[name].build is None:
            text = import_module(f"baselines.{name}").__doc__ or ""
            assert any(word in text for word in ("save", "maps")), name
