"""A pack holds what a run says, without places of the machine, and is taken only as it was written."""

import json
from pathlib import Path
from zipfile import ZipFile

import pytest

from aseg_bench.errors import InputError
from aseg_bench.methods import MethodOptions
from aseg_bench.runs.plan import RunPlan
from aseg_bench.runs.publishing import CHECKSUMS, pack, publishable, unpacked
from aseg_bench.runs.runner import run
from tests.conftest import Installed


@pytest.fixture
def finished(tiny: Path, installed: Installed) -> Path:
    plan = RunPlan(["near", "far"], "mvtec_ad", tiny.parent / "out", tiny, options=MethodOptions(quiet=True))
    run(plan)
    return plan.out


def changed(file: Path, out: Path, **contents: bytes | None) -> Path:
    """A copy of a pack in which members have other contents, or are not there; in names ``__`` stands for a dot."""
    new = {name.replace("__", "."): content for name, content in contents.items()}
    with ZipFile(file) as old, ZipFile(out, "w") as made:
        for name in old.namelist():
            if name not in new:
                made.writestr(name, old.read(name))
        for name, content in new.items():
            if content is not None:
                made.writestr(name, content)
    return out


@pytest.mark.parametrize("maps", [False, True])
def test_what_comes_out_of_a_pack_is_what_went_in(finished: Path, maps: bool) -> None:
    file = pack(finished, maps=maps)
    assert file == finished.with_name("out.aseg.zip")
    with unpacked(file) as results:
        assert results.folder.scores_file.read_bytes() == (finished / "scores.csv").read_bytes()
        assert results.methods == ["near", "far"]
    with ZipFile(file) as archive:
        n_maps = len([name for name in archive.namelist() if name.endswith(".tiff")])
    assert n_maps == (len(list(finished.rglob("*.tiff"))) if maps else 0)


def test_a_pack_names_no_folder_of_the_machine_and_no_command(finished: Path, tiny: Path) -> None:
    with ZipFile(pack(finished)) as archive:
        record = archive.read("run.json").decode()
    assert "command" not in json.loads(record)
    assert str(tiny.parent) not in record
    assert json.loads(record)["datasets"]["mvtec_ad"]["root"] == "…/tiny"


def test_a_changed_a_missing_and_an_unlisted_file_are_refused(finished: Path, tmp_path: Path) -> None:
    file = pack(finished)
    scores = (finished / "scores.csv").read_bytes()
    better = changed(file, tmp_path / "a.aseg.zip", scores__csv=scores.replace(b"0.", b"0.9", 1))
    with pytest.raises(InputError, match=r"scores.csv has changed since it was packed"), unpacked(better):
        pass
    with (
        pytest.raises(InputError, match=r"run.json is missing"),
        unpacked(changed(file, tmp_path / "b.aseg.zip", run__json=None)),
    ):
        pass
    with (
        pytest.raises(InputError, match=r"\.\./\.\./evil is not listed"),
        unpacked(changed(file, tmp_path / "c.aseg.zip", **{"____/____/evil": b"x"})),
    ):
        pass


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04"])
def test_what_is_no_pack_is_told(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "x.aseg.zip"
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"x.aseg.zip is not a whole pack"), unpacked(file):
        pass
    with ZipFile(file, "w") as archive:
        archive.writestr("a", "b")
    with pytest.raises(InputError, match="is not a pack: `aseg-bench pack RUN` writes one"), unpacked(file):
        pass


@pytest.mark.parametrize("sums", [b"[]", b"{", b'{"version": 1}', b'{"version": 1, "files": {"run.json": 3}}'])
def test_a_damaged_list_of_checksums_is_one_error(finished: Path, tmp_path: Path, sums: bytes) -> None:
    file = changed(pack(finished), tmp_path / "d.aseg.zip", **{CHECKSUMS.replace(".", "__"): sums})
    with pytest.raises(InputError, match=r"d\.aseg\.zip"), unpacked(file):
        pass


def test_only_what_looks_like_a_place_is_shortened() -> None:
    given = {
        "root": "/srv/data",
        "device": "cpu",
        "n": 3,
        "texts": ["in D:\\\\ann\\\\x", "a/b"],
        "command": "run",
    }
    assert publishable(given) == {"root": "…/data", "device": "cpu", "n": 3, "texts": ["in …/x", "a/b"]}
