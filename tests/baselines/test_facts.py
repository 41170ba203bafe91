"""Every system of the paper's tables has its facts: how its maps are read, and by which protocol it was scored."""

import re

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


def test_every_method_has_a_bibtex_entry_of_its_venue_under_a_key_of_its_own() -> None:
    entries = {name: facts.bibtex for name, facts in find_methods().items()}
    keys = {re.match(r"@(?:inproceedings|article)\{(\w+),\n", entry)[1] for entry in entries.values()}  # type: ignore[index]
    assert len(keys) == len(entries)
    for name, entry in entries.items():
        assert entry.count("{") == entry.count("}")
        assert entry.endswith(",\n}\n")
        fields = dict(re.findall(r"^  (\w+) = \{(.+?)\},$", entry, re.MULTILINE | re.DOTALL))
        assert {"title", "author", "year"} <= fields.keys()
        assert {"booktitle", "journal"} & fields.keys()
        assert name == "anomalib" or find_methods()[name].venue.endswith(fields["year"])


def test_maps_only_systems_say_how_to_get_their_maps() -> None:
    from importlib import import_module

    for name in PAPER:
        if find_methods()[name].build is None:
            text = import_module(f"baselines.{name}").__doc__ or ""
            assert any(word in text for word in ("save", "maps")), name
