"""A run that was moved, alone or with its data, is the run that it was."""

import json
import shutil
from pathlib import Path

import pytest

from aseg_bench.runs.publishing import publishable
from tests.conftest import Call, Installed, run_on

PAGE = ("--out", "seen", "--no-page", "--quiet")


@pytest.fixture
def runs(call: Call, installed: Installed, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with data, a dump, a run on both, and an evaluation of the dump."""
    monkeypatch.chdir(tiny.parent)
    assert call(*run_on(tiny)).code == 0
    shutil.copytree("out/maps/near/mvtec_ad", "dump")
    assert call(*run_on(Path("tiny"), methods="near,read=maps:dump")).code == 0
    data = ("--dataset", "mvtec_ad", "--data-root", "tiny")
    assert call("eval", "dump", "--name", "read", *data, "--out", "evaluated", "--quiet").code == 0
    installed.diary.clear()
    return tiny.parent


@pytest.mark.parametrize("elsewhere", [True, False])
def test_run_and_data_that_were_moved_together_are_found(
    call: Call, installed: Installed, runs: Path, tmp_path_factory: pytest.TempPathFactory, elsewhere: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    place = tmp_path_factory.mktemp("elsewhere") / "moved"
    shutil.move(runs, place)
    monkeypatch.chdir(place.parent if elsewhere else place)
    for folder in ("out", "evaluated"):
        assert call("verify", place / folder).out.startswith("equal: ")
        assert call("report", place / folder, *PAGE).code == 0
    assert call("compare", place / "out", "--out", "compared", "--replicates", 100, "--quiet").code == 0
    again = call(*run_on(place / "tiny", methods=f"near,read=maps:{place / 'dump'}"))
    assert again.code == 0, again.err
    assert installed.diary == []


def test_a_run_whose_data_were_moved_is_finished_with_the_new_root(
    call: Call, installed: Installed, runs: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    place = tmp_path_factory.mktemp("data")
    for name in ("tiny", "dump"):
        shutil.move(runs / name, place / name)
    assert "give the same command again with --data-root" in call("compare", runs / "out", "--quiet").error
    words = run_on(place / "tiny", "--out", runs / "out", methods=f"near,read=maps:{place / 'dump'}")
    assert call(*words).code == 0
    assert installed.diary == []
    assert call("compare", runs / "out", "--replicates", 100, "--quiet").code == 0
    assert call("verify", runs / "out").out.startswith("equal: ")


def test_a_dump_that_was_moved_and_has_changed_is_refused(call: Call, runs: Path) -> None:
    shutil.move("dump", "dump2")
    shutil.copy("dump2/bolt/test/good/000.tiff", "dump2/nut/test/good/000.tiff")
    assert "with maps dump, not dump2" in call(*run_on(Path("tiny"), methods="near,read=maps:dump2")).error


def test_what_is_published_does_not_say_where_a_run_lies(runs: Path) -> None:
    content = json.loads((runs / "out/run.json").read_text())
    assert content["datasets"]["mvtec_ad"]["root_from_run"] == "../tiny"
    assert content["cases"]["read/mvtec_ad"]["maps_from_run"] == "../dump"
    assert "_from_run" not in json.dumps(publishable(content))
