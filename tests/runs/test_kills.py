"""A process may be killed at any change of the file system: the same command then ends as if nothing had happened.

Each try is a fork of this process, which has everything loaded, and a hook of the interpreter kills it before one
change. Every so many-th change is tried, as all of them would take minutes; set ``every`` to 1 to try all.
"""

import csv
import json
import os
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from aseg_bench import cli
from aseg_bench.files import written_whole
from aseg_bench.records import Sample
from tests.conftest import Call, Distance, Installed, facts_of, write_category

CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "os.link", "os.symlink", "shutil.rmtree"}
DATA = ("--dataset", "mvtec_ad", "--data-root", "{tiny}")
RUN = ("run", "--methods", "kept,far", *DATA, "--out", "out", "--quiet", "--no-page")
EVAL = ("eval", "out/maps/kept/mvtec_ad", *DATA, "--name", "kept", "--out", "evaluated", "--quiet")
REPORT = ("report", "out", "--quiet", "--no-page")

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="a try is a fork")


class Kept(Distance):
    """Keeps what it has learned, and goes on from it, as trained methods do."""

    def fit(self, train: Sequence[Sample]) -> None:
        assert self.options.folder is not None
        file = self.options.folder / "checkpoint.pt"
        if not file.exists():
            super().fit(train)
            with written_whole(file) as temporary, temporary.open("wb") as stream:
                np.save(stream, self._mean)
        self._mean = np.load(file)


@pytest.fixture
def tiny(tmp_path: Path, installed: Installed) -> Path:
    installed.add(facts_of("kept", build=lambda options: Kept("kept", options)))
    write_category(tmp_path / "tiny", "bolt", n_train=2, n_good=1, n_hole=1)
    return tmp_path / "tiny"


def in_a_fork(folder: Path, words: Sequence[str], tiny: Path, kill_at: int = 0) -> int:
    """Call the command line in a process of its own, killed before one of its changes.

    Returns:
        How many changes the process has made; -1 where it was killed.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        n_changes = 0

        def count(event: str, given: tuple[object, ...]) -> None:
            nonlocal n_changes
            writes = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
            if event in CHANGES or (event == "open" and isinstance(given[2], int) and given[2] & writes):
                n_changes += 1
                if n_changes == kill_at:
                    os.kill(os.getpid(), signal.SIGKILL)

        code: object = 1
        try:
            os.chdir(folder)
            sys.argv = ["aseg-bench", *(word.format(tiny=tiny) for word in words)]
            sys.addaudithook(count)
            cli.main()
        except SystemExit as left:
            code = left.code or 0
        finally:
            os.write(writing, str(n_changes).encode())
            os._exit(int(code))  # type: ignore[call-overload]
    os.close(writing)
    with os.fdopen(reading) as told:
        n_changes = int(told.read() or -1)
    _, status = os.waitpid(child, 0)
    assert n_changes == -1 or os.waitstatus_to_exitcode(status) == 0, f"{words}, killed at {kill_at}: see what it said"
    return n_changes


def left_in(folder: Path) -> dict[str, object]:
    """All paths of a folder, and the content of those in which no time and no date stands."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        content: object = None
        if path.suffix in {".tiff", ".pt"} or path.name == "scores.csv":
            content = path.read_bytes()
        elif path.name == "tables.csv":
            content = [row for row in csv.reader(path.open()) if row[0] != "cost"]
        elif path.name == "run.json":
            content = without_times(json.loads(path.read_bytes()))
        found[path.relative_to(folder).as_posix()] = content
    return found


def without_times(record: object) -> object:
    """A record without what differs each time: dates, seconds and memory."""
    if isinstance(record, dict):
        times = ("date", "seconds", "peak_bytes")
        return {key: without_times(value) for key, value in record.items() if key not in times}
    return record


@pytest.mark.parametrize(
    ("before", "words", "every"),
    [((), RUN, 19), ((RUN,), EVAL, 11), ((RUN,), REPORT, 11)],
    ids=["run", "eval", "report"],
)
def test_after_a_kill_the_same_command_ends_as_an_undisturbed_one(
    tiny: Path,
    tmp_path: Path,
    call: Call,
    monkeypatch: pytest.MonkeyPatch,
    before: Sequence[Sequence[str]],
    words: Sequence[str],
    every: int,
) -> None:
    start, undisturbed, tried = tmp_path / "start", tmp_path / "undisturbed", tmp_path / "tried"
    start.mkdir()
    for earlier in before:
        in_a_fork(start, earlier, tiny)
    monkeypatch.chdir(copy(start, tmp_path / "warm"))
    call(*(word.format(tiny=tiny) for word in words))  # here: what it loads and compiles, all forks have then
    n_changes = in_a_fork(copy(start, undisturbed), words, tiny)
    expected, n_kills = left_in(undisturbed), 0
    for kill_at in range(every // 2 + 1, n_changes + 1, every):
        n_kills += in_a_fork(copy(start, tried), words, tiny, kill_at) == -1
        in_a_fork(tried, words, tiny)
        assert left_in(tried) == expected, f"killed at change {kill_at} of {n_changes}"
    assert n_kills > 3


def copy(start: Path, to: Path) -> Path:
    shutil.rmtree(to, ignore_errors=True)
    return Path(shutil.copytree(start, to))
