"""Shards add up to the scores, the findings and the record of one process, to the last bit."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest
import tifffile

from aseg_bench.files import CACHE_VARIABLE
from aseg_bench.images import read_mask
from aseg_bench.metrics import METRICS
from aseg_bench.runs.engines import Engine
from aseg_bench.runs.shards import Plan
from aseg_bench.runs.sources import Source
from tests.conftest import Call, save, write_category

PLACE = ("--dataset", "mvtec_ad", "--data-root", "data", "--name", "mine", "--quiet")


@pytest.fixture
def dump(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data set of two categories and maps of it with many ties, a constant one among them; the place is current."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for name, n_good in (("bolt", 4), ("nut", 2)):
        write_category(Path("data"), name, n_good=n_good)
    for image in sorted(Path("data").glob("*/test/*/*.png")):
        file = Path("dump") / image.relative_to("data").with_suffix(".tiff")
        file.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(file, rng.integers(0, 90, (24, 32)).astype(np.float32))
    tifffile.imwrite(Path("dump/nut/test/good/000.tiff"), np.zeros((24, 32), np.float32))
    return tmp_path


@pytest.fixture
def odd_dump(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Square maps, transposed and half as large as their pictures; masks with void pixels and a defect to lose."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for index in range(14):
        truth = np.zeros((48, 48), np.uint8)
        if index % 2:
            truth[4 * (index % 3) : 4 * (index % 3) + 8, 24:44] = 200
            truth[40:44, index : index + 20] = 77  # void
        if index == 5:
            truth[:] = 0
            truth[8, 8] = 200  # between the pixels of the map
        place = f"{'hole' if index % 2 else 'good'}/{index:03}"
        save(Path("data/bolt/test", f"{place}.png"), rng.integers(0, 255, (48, 48, 3)))
        if index % 2:
            save(Path("data/bolt/ground_truth", f"{place}_mask.png"), truth)
        file = Path("dump/bolt/test", f"{place}.tiff")
        file.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(file, (rng.random((24, 24)) + (truth[::2, ::2] == 200)).T.astype(np.float32))
    save(Path("data/bolt/train/good/000.png"), rng.integers(0, 255, (48, 48, 3)))
    return tmp_path


def content(folder: str) -> tuple[str, dict[str, Any]]:
    """Scores as written, and the record without commands and dates."""
    record = json.loads(Path(folder, "run.json").read_text())
    for case in record["cases"].values():
        case["scored"] = sorted(case["scored"])
    return Path(folder, "scores.csv").read_text(), record | {"command": None}


def tally(call: Call, n_shards: int, *words: str, out: str = "parts") -> None:
    for _ in range(2):
        for number in range(n_shards, 0, -1):
            outcome = call("eval", "dump", *PLACE, *words, "--out", out, "--shard", f"{number}/{n_shards}")
            assert outcome.code == 0, outcome.err


ALL = ("--protocol", "native", "--mask-rule", ">127", "--metrics", ",".join(METRICS))


@pytest.mark.parametrize(("words", "n_shards"), [((), 1), ((), 3), (ALL, 2), ((), 8)])  # at last more than some images
def test_files_of_shards_add_up_to_one_process(dump: Path, call: Call, words: tuple[str, ...], n_shards: int) -> None:
    assert call("eval", "dump", *PLACE, *words, "--out", "one").code == 0
    tally(call, n_shards, *words)
    files = sorted(Path("parts").glob("*.zip"), key=lambda path: path.name[::-1])
    assert call("merge", *files, "--out", "merged", "--quiet").code == 0
    assert content("merged") == content("one")
    assert "constant" in content("one")[1]["cases"]["mine/mvtec_ad"]["findings"].__repr__()


@pytest.mark.parametrize("n_shards", [2, 5])
def test_what_is_odd_about_maps_and_masks_adds_up_too(odd_dump: Path, call: Call, n_shards: int) -> None:
    words = ("--mask-rule", "=200 ignore=77", "--metrics", ",".join(METRICS))
    assert call("eval", "dump", *PLACE, *words, "--out", "one").code == 0
    tally(call, n_shards, *words)
    assert call("merge", "parts", "--out", "merged", "--quiet").code == 0
    assert content("merged") == content("one")
    findings = str(content("one")[1]["cases"]["mine/mvtec_ad"]["findings"])
    assert "swap rows and columns" in findings
    assert "the defect of 1 of 7 pictures vanishes" in findings


@pytest.mark.parametrize("most", [1, 2])
def test_shards_look_for_sign_and_orientation_by_the_images_of_one_process(
    dump: Path, call: Call, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr("aseg_bench.predictions.checks._MOST_TURNED", most)
    for file in Path("dump").rglob("*.tiff"):
        truth = Path("data", *file.parts[1:2], "ground_truth", *file.parts[3:4], f"{file.stem}_mask.png")
        tifffile.imwrite(file, tifffile.imread(file) - (50 * read_mask(truth) if truth.exists() else 0))
    assert call("eval", "dump", *PLACE, "--out", "one").code == 0
    tally(call, 2)
    assert call("merge", "parts", "--out", "merged", "--quiet").code == 0
    assert content("merged") == content("one")
    assert "inverted" in str(content("one")[1]["cases"]["mine/mvtec_ad"]["findings"])


def test_masks_that_travel_with_maps_are_shared_out_too(dump: Path, call: Call) -> None:
    rng = np.random.default_rng(1)
    Path("own").mkdir()
    for index in range(7):
        mask = np.zeros((1, 16, 16), np.float32)
        mask[:, 4:8, 5:9] = 0.5 + index / 20 if index % 2 else 0
        place = f"bottle/test/{'cut' if index % 2 else 'good'}/{index}.png"
        np.savez(f"own/{index}.npz", filename=place, clsname="bottle", pred=rng.random((1, 16, 16)), mask=mask)
    assert call("eval", "own", "--quiet", "--out", "one").code == 0
    for number in (1, 2, 1):
        assert call("eval", "own", "--quiet", "--out", "parts", "--shard", f"{number}/2").code == 0
    assert call("merge", "parts", "--out", "merged", "--quiet").code == 0
    assert content("merged") == content("one")


def test_what_does_not_add_up_is_one_error(dump: Path, call: Call) -> None:
    for number in (1, 2):
        assert call("eval", "dump", *PLACE, "--out", "parts", "--shard", f"{number}/2").code == 0
    error = call("merge", "parts", "--out", "merged").error
    assert "of 2 shards these files are missing: shard-1-of-2.counts.zip" in error
    tally(call, 2)
    first, second = (Path(f"parts/shard-{number}-of-2.counts.zip") for number in (1, 2))
    copy = Path("again.zip")
    copy.write_bytes(first.read_bytes())
    assert f"{first} and {copy} are both of shard 1/2" in call("merge", "parts", copy, "--out", "merged").error
    other = ("--seed", "7")
    error = call("eval", "dump", *PLACE, *other, "--out", "parts", "--shard", "1/2").error
    assert "differs in seed (7 and 0)" in error
    copy.write_bytes(second.read_bytes()[:-30])
    assert "again.zip is not a file of a shard, or is damaged" in call("merge", "parts", copy, "--out", "merged").error
    with ZipFile(first) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    text = json.loads(members["part.json"])
    text["against"]["bolt"] = "0" * 64
    with ZipFile(first, "w") as archive:
        for name, data in (members | {"part.json": json.dumps(text).encode()}).items():
            archive.writestr(name, data)
    assert f"{first} counted bolt against other first rounds" in call("merge", "parts", "--out", "merged").error
    assert "no file of a shard in data" in call("merge", "data", "--out", "merged").error
    assert not Path("merged").exists()


def test_what_shards_cannot_do_is_refused_before_the_work(dump: Path, call: Call) -> None:
    shard = ("--out", "parts", "--shard", "1/2")
    assert "exact and native, not of unias" in call("eval", "dump", *PLACE, *shard, "--protocol", "unias").error
    assert "'3' is not a shard" in call("eval", "dump", *PLACE, "--out", "parts", "--shard", "3").error
    assert "does not go together" in call("eval", "dump", *PLACE, *shard, "--workers", "2").error
    assert "--keep-going works in one process" in call("eval", "dump", *PLACE, "--workers", "2", "--keep-going").error
    Path("dump/bolt/test/good/000.tiff").unlink()
    assert "bolt/test/good/000" in call("eval", "dump", *PLACE, *shard).error
    assert not list(Path().glob("parts/*"))


@pytest.mark.parametrize(
    "wide", [("good/001",), ("good/001", "good/003", "hole/001")]
)  # some of a shard, and all of it
def test_types_that_differ_are_named(dump: Path, call: Call, wide: tuple[str, ...]) -> None:
    for name in wide:
        file = Path(f"dump/bolt/test/{name}.tiff")
        tifffile.imwrite(file, tifffile.imread(file).astype(np.float64))
    assert call("eval", "dump", *PLACE, "--out", "parts", "--shard", "1/2").code == 0
    error = call("eval", "dump", *PLACE, "--out", "parts", "--shard", "2/2").error
    assert "the maps of bolt are of several types" in error
    assert "float64 (bolt/test/good/001)" in error


def kill_the_first(place: str) -> bytes:
    """A job whose process dies the first time; of the name ``always`` every time, and ``fails`` raises."""
    if place == "fails":
        raise RuntimeError("no luck")
    if place.endswith("always") or not Path(place).exists():
        Path(place).touch()
        os._exit(9)
    return place.encode()


def test_the_work_of_a_process_that_dies_is_done_again_and_a_failing_job_names_its_files(tmp_path: Path) -> None:
    place, always = str(tmp_path / "once"), str(tmp_path / "always")
    with Engine(1) as engine:
        assert engine.results(kill_the_first, [place], lambda job: [job]) == [place.encode()]
        with pytest.raises(ValueError, match="the shard with fails failed: RuntimeError: no luck"):
            engine.results(kill_the_first, ["fails"], lambda job: [job])
        with pytest.raises(ValueError, match=r"a process died 3 times while shards with .*always"):
            engine.results(kill_the_first, [always], lambda job: [job])


def test_workers_end_when_the_process_that_started_them_is_killed(tmp_path: Path) -> None:
    code = """
import os, time
from pathlib import Path
from aseg_bench.runs.engines import Engine

def waiting(place):
    Path(place).write_text(str(os.getpid()))
    time.sleep(60)

if __name__ == "__main__":
    with Engine(1) as engine:
        engine.results(waiting, ["worker"], lambda job: [job])
"""
    (tmp_path / "parent.py").write_text(code)
    place = tmp_path / "worker"
    parent = subprocess.Popen([sys.executable, "parent.py"], cwd=tmp_path)
    wait_for(lambda: place.exists() and place.read_text())
    parent.kill()
    parent.wait()

    def is_gone() -> bool:
        stat = Path("/proc", place.read_text(), "stat")
        return not stat.exists() or " Z " in stat.read_text()

    if sys.platform == "linux":
        wait_for(is_gone)


def wait_for(condition: Callable[[], object], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture
def cluster(dump: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The file of a Dask scheduler with two worker processes."""
    if find_spec("distributed") is None:
        pytest.skip("needs distributed: pip install '.[dask]'")
    monkeypatch.setenv(CACHE_VARIABLE, str(dump / "cache"))
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    dask = [sys.executable, "-m", "distributed.cli.dask_scheduler"]
    worker = [sys.executable, "-m", "distributed.cli.dask_worker"]
    file = ["--scheduler-file", "scheduler.json", "--no-dashboard"]
    started = [subprocess.Popen([*dask, *file, "--host", "127.0.0.1", "--port", "0"], **quiet)]  # type: ignore[call-overload]
    for number in range(2):
        place = ["--no-nanny", "--nthreads", "2", "--local-directory", f"worker{number}"]
        started.append(subprocess.Popen([*worker, *file, *place], **quiet))  # type: ignore[call-overload]
    yield "scheduler.json"
    for process in started:
        process.kill()
        process.wait()


def test_a_dask_cluster_gives_the_bits_of_one_process(cluster: str, call: Call) -> None:
    assert call("eval", "dump", *PLACE, "--out", "one").code == 0
    for _ in range(300):
        if Path(cluster).exists():
            break
        time.sleep(0.1)
    outcome = call("eval", "dump", *PLACE, "--out", "clustered", "--dask", cluster)
    assert outcome.code == 0, outcome.err
    assert content("clustered") == content("one")
    words = [Path(word).absolute().as_uri() if word == "data" else word for word in PLACE]
    outcome = call("eval", Path("dump").absolute().as_uri(), *words, "--out", "fetched", "--dask", cluster)
    assert outcome.code == 0, outcome.err
    assert content("fetched")[0] == content("one")[0]


@pytest.mark.parametrize("protocol", ["exact", "ader"])
def test_processes_of_this_machine_give_the_bits_of_one(dump: Path, call: Call, protocol: str) -> None:
    assert call("eval", "dump", *PLACE, "--protocol", protocol, "--out", "one").code == 0
    shared = call("eval", "dump", *PLACE, "--protocol", protocol, "--out", "shared", "--workers", "2")
    assert shared.code == 0, shared.err
    assert content("shared") == content("one")


def test_only_a_category_of_more_than_a_workers_share_is_cut_and_none_where_the_protocol_needs_it_whole(
    dump: Path,
) -> None:
    source = Source(Path("dump"), "mvtec_ad", Path("data"))
    exact, restated = (Plan.of(source, "mine", 0, protocol, None, 2) for protocol in ("exact", "ader"))
    assert exact.categories["bolt"] > exact.categories["nut"]
    assert (exact.cut, exact.n_jobs) == (["bolt"], 5)
    assert (restated.cut, restated.n_jobs) == ([], 2)
    assert replace(exact, n_shards=1).cut == []
