from importlib.metadata import entry_points

import pytest

from aseg_bench.errors import InputError, near_matches
from aseg_bench.methods import ENTRY_POINTS, MethodFacts, find_method, find_methods
from aseg_bench.predictions.readers import find_readers
from aseg_bench.protocols import PROTOCOLS
from tests.conftest import Installed, facts_of


def test_methods_are_found_by_entry_point_in_alphabetical_order(installed: Installed) -> None:
    installed.add_live("another")
    assert list(find_methods()) == ["another", "far", "mapped", "near"]


def test_an_entry_point_must_name_facts(installed: Installed) -> None:
    installed.add("not facts", name="odd")
    with pytest.raises(InputError, match="entry point odd = somewhere:ODD is not a MethodFacts"):
        find_methods()


def test_two_packages_may_not_claim_one_name(installed: Installed) -> None:
    installed.add(facts_of("near"), name="nearer")
    with pytest.raises(InputError, match="two installed packages define the method near"):
        find_methods()


def test_an_unknown_method_gets_near_matches(installed: Installed) -> None:
    with pytest.raises(InputError, match=r"no method neat; did you mean near\? known: far, mapped, near"):
        find_method("neat")


@pytest.mark.parametrize(
    ("name", "said"),
    [("screws", "did you mean screw? known: nut, screw"), ("zzz", "known: nut, screw"), ("", "known: nut, screw")],
)
def test_only_similar_names_are_offered(name: str, said: str) -> None:
    assert near_matches(name, ["nut", "screw"]) == said


INSTALLED = [point.name for point in entry_points(group=ENTRY_POINTS)]


def test_all_systems_of_the_papers_tables_are_installed() -> None:
    systems = "uni_as uniad hvq_trans diad draem patchcore rd4ad simplenet destseg omnial vitad"
    assert set(systems.split()) <= set(INSTALLED)


@pytest.mark.parametrize("name", INSTALLED)
def test_facts_name_only_what_exists(name: str) -> None:
    facts: MethodFacts = find_methods()[name]
    assert facts.name == name
    assert facts.reader in find_readers()
    assert facts.protocol in PROTOCOLS
    assert facts.paper.startswith("https://")
    assert all([facts.label, facts.venue, facts.summary, facts.licence])
    assert (facts.build is None) == (facts.presets is None)
