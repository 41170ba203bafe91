import re
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from aseg_bench.errors import InputError, near_matches
from aseg_bench.methods import ENTRY_POINTS, MethodFacts, find_method, find_methods
from aseg_bench.predictions.readers import find_readers
from aseg_bench.protocols import PROTOCOLS
from aseg_bench.runs.folder import RunFolder
from tests.conftest import Call, Distance, Installed, facts_of, run_on


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


def family(installed: Installed) -> None:
    """A family of a third party: its members are methods in a blink."""

    def member(name: str) -> MethodFacts:
        if name != "Near":
            raise InputError(f"zoo has no {name}; {near_matches(name, ['Near'])}")
        return facts_of(f"zoo:{name}", build=lambda options: Distance(f"zoo:{name}", options))

    installed.add(facts_of("zoo", members=lambda: {"Near": "nothing much"}, member=member))


def test_a_family_makes_its_members_from_their_names(installed: Installed, call: Call) -> None:
    family(installed)
    assert find_method("zoo:Near").name == "zoo:Near"
    for name, said in {
        "zoo:Neer": r"zoo has no Neer; did you mean Near\?",
        "zo:Near": r"no method zo; did you mean zoo\?",
        "near:Near": "near is a single method; name it without :Near",
    }.items():
        with pytest.raises(InputError, match=said):
            find_method(name)
    listed = call("methods").out
    assert re.search(r"^zoo:NAME .*live", listed, re.MULTILINE)
    assert "`aseg-bench methods --show zoo`" in listed
    assert re.search(r"^zoo:Near +nothing much$", call("methods", "--show", "zoo").out, re.MULTILINE)


def test_a_member_of_a_family_runs_like_any_other_method(installed: Installed, call: Call, tiny: Path) -> None:
    family(installed)
    outcome = call(*run_on(tiny, methods="zoo:Near,near"))
    assert outcome.code == 0, outcome.err
    folder = RunFolder(tiny.parent / "out")
    by_method: dict[str, list[float | None]] = {}
    for score in folder.scores:
        by_method.setdefault(score.case.method, []).append(score.value)
    assert by_method["zoo:Near"] == by_method["near"]
    names = [path.name for path in (tiny.parent / "out").rglob("*")]
    assert not [name for name in names if ":" in name]  # not all file systems take it
    assert call("report", tiny.parent / "out").code == 0
    assert "Near" in (tiny.parent / "out" / "report" / "tables.md").read_text(encoding="utf-8")


def test_a_family_itself_cannot_run_and_no_two_methods_share_a_folder(
    installed: Installed, call: Call, tiny: Path
) -> None:
    family(installed)
    assert "zoo is a family; name one of its methods, zoo:NAME" in call(*run_on(tiny, methods="zoo")).error
    shared = call(*run_on(tiny, methods=f"zoo:Near,zoo_Near=maps:{tiny}")).error
    assert "zoo:Near shares the folder zoo_Near with another method" in shared
