"""Data and maps in a store are those of the disk: fetched once, whole, and never beside their mirror."""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import tifffile

from aseg_bench import read_results, remote
from aseg_bench.datasets import find_samples
from aseg_bench.errors import InputError
from aseg_bench.files import CACHE_VARIABLE, files_below
from aseg_bench.remote import here, is_url, named
from aseg_bench.runs.normal import check_not_trained_on
from aseg_bench.runs.pictures import find_pictures
from tests.conftest import Call, Installed, save, write_category

fsspec = pytest.importorskip("fsspec")
memory = fsspec.filesystem("memory")
ROOT = Path(__file__).parents[1]
DATA, MAPS = "memory://store/data", "memory://store/dump"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    yield tmp_path / "cache"
    memory.store.clear()


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are fetched from memory, in order."""
    names: list[str] = []
    get_file = type(memory).get_file

    def noted(self: Any, name: str, path: str, **others: Any) -> None:
        names.append(name)
        get_file(self, name, path, **others)

    monkeypatch.setattr(type(memory), "get_file", noted)
    return names


@pytest.fixture
def dump(tiny: Path) -> Path:
    """Maps of ``tiny``; both are also in the store."""
    rng, folder = np.random.default_rng(0), tiny.parent / "dump"
    for image in sorted(tiny.glob("*/test/*/*.png")):
        path = folder / image.relative_to(tiny).with_suffix(".tiff")
        path.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(path, rng.integers(0, 90, (24, 32)).astype(np.float32))
    upload(tiny, DATA)
    upload(folder, MAPS)
    return folder


def upload(folder: Path, url: str) -> None:
    for file in files_below(folder):
        memory.pipe(f"{url}/{file.relative_to(folder).as_posix()}", file.read_bytes())


def contents(folder: Path) -> dict[str, bytes]:
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files_below(folder)}


def test_what_lies_in_a_store_is_scored_as_on_the_disk_and_recorded_by_its_url(
    dump: Path, tiny: Path, call: Call
) -> None:
    place = ("--dataset", "mvtec_ad", "--quiet", "--data-root")
    assert call("eval", dump, *place, tiny, "--out", "disk").code == 0
    outcome = call("eval", MAPS, *place, DATA, "--out", "store")
    assert outcome.code == 0, outcome.err
    scores, record = (Path("store", name).read_bytes() for name in ("scores.csv", "run.json"))
    assert scores == Path("disk/scores.csv").read_bytes()
    one, other = json.loads(record), json.loads(Path("disk/run.json").read_text())
    assert one["datasets"]["mvtec_ad"] | {"root": "", "root_from_run": ""} == other["datasets"]["mvtec_ad"] | {
        "root": "", "root_from_run": ""}  # fmt: skip
    assert one["datasets"]["mvtec_ad"]["root"] == DATA
    assert one["cases"]["maps/mvtec_ad"]["maps"] == MAPS
    assert call("verify", "store").code == 0
    memory.pipe(f"{MAPS}/bolt/test/good/000.tiff", memory.cat(f"{MAPS}/bolt/test/good/001.tiff"))
    assert "have changed" in call("verify", "store").out
    audited = call("audit", MAPS, *place, DATA, "--out", "audit", "--protocols", "exact")
    assert audited.code == 0, audited.err


def test_a_run_takes_data_and_maps_from_a_store_and_its_report_finds_them(
    dump: Path, tiny: Path, call: Call, installed: Installed
) -> None:
    words = ("run", "--methods", f"near,mine=maps:{MAPS}", "--dataset", "mvtec_ad", "--data-root", DATA, "--out", "run")
    assert call(*words, "--quiet", "--no-page").code == 0
    (results,) = read_results([Path("run")])
    assert len(results.samples("mvtec_ad")) == 10
    record = json.loads(Path("run/run.json").read_text())
    assert (record["datasets"]["mvtec_ad"]["root"], record["cases"]["mine/mvtec_ad"]["maps"]) == (DATA, MAPS)
    assert f"data-root: {DATA}" in Path("run/config.yaml").read_text()
    diary = list(installed.diary)
    again = call("run", "--config", "run/config.yaml", "--out", "run", "--dry-run")
    assert "its maps are finished" in again.out
    assert installed.diary == diary
    assert call("data", "check", "--dataset", "mvtec_ad", "--data-root", DATA, "--quiet").err == ""


def test_only_what_is_missing_or_has_changed_is_fetched_and_what_is_gone_leaves(fetched: list[str]) -> None:
    files = {"a/1.png": b"one", "a/2.png": b"two", "b/3.png": b"three"}
    memory.pipe({f"{DATA}/{name}": data for name, data in files.items()})
    folder = here(DATA)
    assert contents(folder) == files
    assert here(Path(DATA)) == here(f"{DATA}/") == folder
    assert len(fetched) == 3
    memory.pipe(f"{DATA}/a/2.png", b"TWO")  # of the same size
    (folder / "a/1.png").write_bytes(b"cut")
    (folder / "a/1.png").unlink()
    memory.rm(f"{DATA}/b/3.png")
    memory.pipe(f"{DATA}/b/3.png/deeper", b"folder now")
    here(DATA)
    assert contents(folder) == {"a/1.png": b"one", "a/2.png": b"TWO", "b/3.png/deeper": b"folder now"}
    assert len(fetched) == 6
    memory.rm(f"{DATA}/b", recursive=True)
    here(DATA)
    assert not (folder / "b").exists()
    assert len(fetched) == 6


@pytest.mark.parametrize("name", ["maps.npz", "url", "fetched.jsonl", ".lock"])
def test_a_single_file_keeps_its_name_and_its_ending(name: str, fetched: list[str]) -> None:
    memory.pipe(f"{DATA}/{name}", b"content")
    assert here(f"{DATA}/{name}").name == name
    assert here(f"{DATA}/{name}").read_bytes() == b"content"
    assert len(fetched) == 1
    assert named(here(f"{DATA}/{name}")) == f"{DATA}/{name}"


def test_a_fetching_that_is_interrupted_goes_on_where_it_was(
    fetched: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "_N_TOGETHER", 2)
    memory.pipe({f"{DATA}/{number}.png": b"%d" % number for number in range(8)})
    with monkeypatch.context() as broken:
        whole = type(memory).get_file

        def get_file(self: Any, name: str, path: str, **others: Any) -> None:
            if "5" in name:
                Path(path).write_bytes(b"ha")
                raise TimeoutError("the line is down")
            whole(self, name, path, **others)

        broken.setattr(type(memory), "get_file", get_file)
        with pytest.raises(InputError, match=r"cannot read memory://store/data: the line is down"):
            here(DATA)
    fetched.clear()
    folder = here(DATA)
    assert len(contents(folder)) == 8
    assert len(fetched) <= 4
    notes = folder.parents[1] / "fetched.jsonl"
    notes.write_text(notes.read_text()[:-9])  # as a loss of power leaves it
    fetched.clear()
    here(DATA)
    assert len(fetched) == 1


def test_a_file_whose_fetching_was_killed_is_not_taken_for_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    memory.pipe(f"{DATA}/1.png", b"one")
    folder, before = here(DATA), memory.store["/store/data/1.png"]
    memory.pipe(f"{DATA}/1.png", b"two")

    def killed(*paths: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as dying:
        dying.setattr(remote, "to_disk", killed)
        with pytest.raises(KeyboardInterrupt):
            here(DATA)
    assert contents(folder) == {"1.png": b"two"}
    memory.store["/store/data/1.png"] = before
    here(DATA)
    assert contents(folder) == {"1.png": b"one"}


def test_a_file_that_comes_in_another_size_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    memory.pipe(f"{DATA}/1.png", b"long enough")
    monkeypatch.setattr(type(memory), "get_file", lambda self, name, path, **others: Path(path).write_bytes(b"cut"))
    with pytest.raises(InputError, match="another size"):
        here(DATA)


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/etc/evil", "a//evil", "./evil", "a/./evil", "e\0vil"])
@pytest.mark.parametrize("folder", ["/store/data/", ""])
def test_a_name_that_leads_elsewhere_is_refused_before_anything_is_fetched(
    folder: str, name: str, fetched: list[str], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = {"name": "/store/data/good.png", "type": "file", "size": 4, "created": 1}
    monkeypatch.setattr(type(memory), "ls", lambda *words, **others: [good, {**good, "name": f"{folder}{name}"}])
    with pytest.raises(InputError, match="nothing was fetched"):
        here(DATA)
    assert not fetched
    assert not list(cache.rglob("*evil*"))


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("nothing://bucket/data", "Protocol not known: nothing"),
        ("memory://bucket/data", "cannot read memory://bucket/data: there is no /bucket/data;"),
        ("file:///there/is/none", "No such file"),
        ("memory://user:secret@bucket/data", "cannot read memory://user@bucket/data"),
        ("memory://user:@bucket/data", "there is no /user:@bucket/data;"),
        ("memory://bucket/data?key=secret", "memory://bucket/data?... has a query"),
        ("tar://d::file:///d.tar.gz", "take the archive apart"),
        ("reference://::memory://bucket/data", "take the archive apart"),
        ("zip:///d.zip", "take the archive apart"),
        ("SimpleCache://bucket/data", "take the archive apart"),
    ],
)
def test_what_a_store_refuses_is_one_error_with_its_words(
    url: str, reason: str, call: Call, installed: Installed
) -> None:
    said = call("eval", url, "--out", "out").error
    assert reason in said
    assert "secret" not in said
    assert reason in call("run", "--methods", "near", "--dataset", "mvtec_ad", "--data-root", url, "--out", "out").error


def test_a_missing_package_is_one_error_that_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, call: Call) -> None:
    def plugin(name: str) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr("fsspec.core.get_filesystem_class", plugin)
    assert "Install s3fs to access S3" in call("eval", "s3://bucket/dump", "--out", "out").error
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    said = call("eval", "s3://bucket/dump", "--out", "out").error
    assert "s3://bucket/dump is read with the package fsspec: pip install" in said


def test_a_folder_that_may_not_be_listed_is_an_error_and_takes_nothing_away(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = here(tiny.as_uri())
    assert contents(folder) == contents(tiny)
    ls = fsspec.get_filesystem_class("file").ls

    def closed(self: Any, path: str, **others: Any) -> Any:
        if path.endswith("nut"):
            raise PermissionError(f"Permission denied: {path}")
        return ls(self, path, **others)

    monkeypatch.setattr(fsspec.get_filesystem_class("file"), "ls", closed)
    with pytest.raises(InputError, match="Permission denied"):
        here(tiny.as_uri())
    assert contents(folder) == contents(tiny)


def test_a_password_is_in_no_file_and_in_no_message(dump: Path, tiny: Path, call: Call, installed: Installed) -> None:
    data, maps = "memory://me:secret@host/data", "memory://me:secret@host/dump"
    upload(tiny, data)
    upload(dump, maps)
    place = ("--dataset", "mvtec_ad", "--data-root", data)
    evaluated = call("eval", maps, *place, "--out", "out/eval")
    ran = call("run", "--methods", f"near,mine=maps:{maps}", *place, "--out", "out/run", "--no-page")
    sharded = call("eval", maps, *place, "--out", "out/shards", "--shard", "1/1")
    assert [one.code for one in (evaluated, ran, sharded)] == [0, 0, 0]
    assert not [file for folder in (Path("out"), tiny.parent / "cache") for file in folder.rglob("*")
                if file.is_file() and b"secret" in file.read_bytes()]  # fmt: skip
    assert "secret" not in "".join(text for one in (evaluated, ran, sharded) for text in (one.out, one.err))
    assert json.loads(Path("out/eval/run.json").read_text())["datasets"]["mvtec_ad"]["root"] == "memory://me@host/data"


def test_only_the_categories_that_are_asked_for_are_fetched(tmp_path: Path, fetched: list[str]) -> None:
    for name in ("bottle", "cable"):
        write_category(tmp_path / "data", name)
    upload(tmp_path / "data", DATA)
    assert {sample.category for sample in find_samples("mvtec_ad", Path(DATA), ["bottle"])} == {"bottle"}
    assert not [name for name in fetched if "cable" in name]
    n_fetched = len(fetched)
    assert {sample.category for sample in find_samples("mvtec_ad", Path(DATA))} == {"bottle", "cable"}
    assert len(fetched) == 2 * n_fetched
    find_samples("mvtec_ad", Path(DATA), ["cable"])
    assert len(contents(here(DATA))) == len(fetched) == 2 * n_fetched


def test_a_manifest_comes_with_the_files_that_it_names(tmp_path: Path) -> None:
    for name in ("train", "test"):
        save(tmp_path / "data" / f"{name}.png", np.zeros((8, 8)))
    (tmp_path / "data" / "list.csv").write_text("image,split,label\ntrain.png,train,0\ntest.png,test,0\n")
    upload(tmp_path / "data", DATA)
    assert len(find_samples("manifest", Path(f"{DATA}/list.csv"))) == 2


def test_pictures_come_from_a_store_too(tmp_path: Path) -> None:
    save(tmp_path / "photos" / "a" / "1.png", np.zeros((8, 8)))
    upload(tmp_path / "photos", DATA)
    assert list(find_pictures([Path(DATA)])[0]) == [Path("a/1")]


def test_processes_that_want_one_mirror_fetch_each_file_once(tmp_path: Path, cache: Path) -> None:
    for number in range(60):
        (tmp_path / "store").mkdir(exist_ok=True)
        (tmp_path / "store" / f"{number}.png").write_bytes(b"%d" % number)
    code = (
        "import sys, time, fsspec; from pathlib import Path; from aseg_bench.remote import here\n"
        "local = fsspec.get_filesystem_class('file'); get_file = local.get_file\n"
        "def slow(self, name, path, **others):\n"
        "    time.sleep(0.02); sys.stdout.write(name + chr(10)); get_file(self, name, path, **others)\n"
        "local.get_file = slow; assert len(list(here(sys.argv[1]).iterdir())) == 60"
    )
    command = [sys.executable, "-c", code, (tmp_path / "store").as_uri()]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) for _ in range(2)]
    names = [name for process in started for name in process.communicate(timeout=60)[0].split()]
    assert [process.returncode for process in started] == [0, 0]
    assert len(names) == len(set(names)) == 60


@pytest.mark.parametrize("place", [r"C:\data", "C:/data", "data", "/data", "~/data", "a:b", "patchcore=maps:dump/"])
def test_a_path_is_not_a_url_and_stays_what_it_is(place: str) -> None:
    assert not is_url(place)
    assert here(place) == Path(place)
    assert named(Path(place)) == str(Path(place))


@pytest.mark.parametrize("change", [str, Path])
@pytest.mark.parametrize(
    "url",
    ["s3://bucket/a", "file:///a/b", "local:///a/b", "dbfs:///a/b", "zip://::s3://bucket/a.zip", "gs://bucket/a b"],
)
def test_a_path_holds_a_url_unharmed(url: str, change: Callable[[str], str | Path]) -> None:
    assert is_url(change(url))
    assert named(Path(change(url))) == url


def test_a_password_that_a_store_says_as_it_reads_it_is_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    def ls(*words: Any, **others: Any) -> Any:
        raise PermissionError("se@cret is not the password, nor is se%40cret")

    monkeypatch.setattr(type(memory), "ls", ls)
    with pytest.raises(InputError, match=r"\*\*\* is not the password, nor is \*\*\*;"):
        here("memory://me:se%40cret@host/data")


class Plugged(fsspec.AbstractFileSystem):  # type: ignore[misc, name-defined]
    """A store of a plugin, which bears one reader at a time and lists its root in its root."""

    protocol = "plugged"
    threads: ClassVar[set[int]] = set()

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return path.removeprefix("plugged://root").strip("/")

    def ls(self, path: str, **others: Any) -> list[dict[str, Any]]:
        assert not self.threads, "entered again"
        self.threads.add(threading.get_ident())
        return [
            {"name": "/", "type": "directory"},
            *({"name": f"{n}.png", "type": "file", "mtime": 1} for n in range(8)),
        ]

    def get_file(self, name: str, path: str, **others: Any) -> None:
        self.threads.add(threading.get_ident())
        Path(path).write_bytes(b"one")


def test_a_store_of_a_plugin_is_read_each_folder_once_and_one_file_at_a_time() -> None:
    fsspec.register_implementation("plugged", Plugged, clobber=True)
    assert len(contents(here("plugged://root"))) == 8
    assert len(Plugged.threads) == 1


@pytest.mark.skipif(os.name == "nt", reason="links and pipes of POSIX")
def test_links_of_the_disk_are_followed_but_not_round_in_circles_and_pipes_are_left_out(tmp_path: Path) -> None:
    data, other = tmp_path / "data", tmp_path / "other"
    for file in (data / "a" / "1.png", other / "2.png"):
        file.parent.mkdir(parents=True)
        file.write_bytes(file.name.encode())
    os.mkfifo(data / "pipe.png")
    for name, target in {
        "a/file.png": other / "2.png", "b": other, "c": other, "a/up": data, "above": tmp_path, "dangling": "nowhere",
        "itself": "itself",
    }.items():  # fmt: skip
        (data / name).symlink_to(target)
    (other / "back").symlink_to(data)
    assert contents(here(data.as_uri())) == {
        "a/1.png": b"1.png", "a/file.png": b"2.png", "b/2.png": b"2.png", "c/2.png": b"2.png"}  # fmt: skip


def test_a_file_and_a_folder_come_over_http(tmp_path: Path) -> None:
    pytest.importorskip("aiohttp")
    place = tmp_path / "store" / "my maps"
    (place / "empty").mkdir(parents=True)
    (place / "a b.npz").write_bytes(b"content")
    (tmp_path / "store" / "page").mkdir()
    (tmp_path / "store" / "page" / "1.png").write_bytes(b"one")
    page = '<a href="?C=N;O=D">Name</a> <a href="/">Parent</a> <a href="1.png">1.png</a> <a href="#top">Top</a>'
    (tmp_path / "store" / "page" / "index.html").write_text(page)

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *words: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "store"))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            url = f"http://127.0.0.1:{server.server_port}/my%20maps"
            assert contents(here(url)) == {"a b.npz": b"content"}
            file = here(f"{url}/a%20b.npz")
            assert (file.name, file.read_bytes()) == ("a b.npz", b"content")
            with pytest.raises(InputError, match="holds no file"):
                here(f"{url}/empty")
            assert contents(here(url.replace("my%20maps", "page"))) == {"1.png": b"one"}
        finally:
            server.shutdown()


def test_a_url_in_a_record_is_followed_only_if_it_was_given_to_a_command_here(
    dump: Path, tiny: Path, call: Call, cache: Path
) -> None:
    assert call("eval", MAPS, "--dataset", "mvtec_ad", "--data-root", DATA, "--out", "run", "--quiet").code == 0
    shutil.rmtree(cache)
    for words, url in ((("verify", "run"), DATA), (("verify", "run", "--data-root", tiny), MAPS)):
        outcome = call(*words)
        assert outcome.code == 2
        assert f"doctor --data-root {url}" in outcome.error
        assert not list(cache.rglob("*.*"))
    (results,) = read_results([Path("run")])
    with pytest.raises(InputError, match=f"doctor --data-root {DATA}"):
        results.samples("mvtec_ad")
    assert call("verify", "run", "--data-root", DATA).code == 2
    here(MAPS)  # as doctor does
    assert call("verify", "run").code == 0


def test_maps_whose_store_is_gone_are_not_there_and_verify_goes_on(dump: Path, tiny: Path, call: Call) -> None:
    assert call("eval", MAPS, "--dataset", "mvtec_ad", "--data-root", tiny, "--out", "run", "--quiet").code == 0
    memory.store.clear()
    memory.pseudo_dirs[:] = [""]
    outcome = call("verify", "run")
    assert outcome.code == 1
    assert f"the maps, {MAPS}, are not there" in " ".join(outcome.out.split())


def test_training_images_of_a_store_are_known_by_whatever_url_they_come(
    dump: Path, tiny: Path, call: Call, installed: Installed, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = ("--dataset", "mvtec_ad", "--data-root", DATA, "--out", "run", "--no-page", "--quiet")
    assert call("run", "--methods", "near", *place).code == 0
    checkpoint = Path("run/training/near/mvtec_ad/checkpoint.pt")
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    train = [*find_pictures([Path(f"{DATA}/bolt/train/good")])[0].values()]
    with pytest.raises(InputError, match=r"was trained on .* memory://store/data/bolt/train/good"):
        check_not_trained_on(checkpoint, train)
    check_not_trained_on(checkpoint, find_pictures([Path(f"{DATA}/bolt/test/good")])[0].values())
    memory.store.clear()
    with pytest.raises(InputError, match="cannot read memory://store/data"):
        check_not_trained_on(checkpoint, train)
