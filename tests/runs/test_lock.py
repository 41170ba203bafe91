"""One writer at a time, and nothing half-written is ever read."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from aseg_bench.errors import InputError
from aseg_bench.runs.lock import held, holder
from tests.conftest import Call, Installed, run_on

HOLD = "import sys, time; from pathlib import Path; from aseg_bench.runs.lock import held\n"
HOLD += "with held(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"


def test_a_held_folder_says_who_holds_it_until_the_process_dies(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with subprocess.Popen([sys.executable, "-c", HOLD, out], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        assert str(holder(out)).startswith(f"process {other.pid} on ")
        with pytest.raises(InputError, match=rf"out is in use by process {other.pid} on .* since .*; wait"), held(out):
            pass
        other.send_signal(signal.SIGTERM if os.name == "nt" else signal.SIGKILL)
    assert holder(out) is None
    with held(out):
        assert holder(out) is not None
    assert list(out.iterdir()) == []


def test_a_folder_into_which_nothing_came_is_not_left(tmp_path: Path) -> None:
    with held(tmp_path / "a" / "b"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_whoever_holds_a_folder_for_a_moment_is_waited_for(tmp_path: Path) -> None:
    code = HOLD.replace("60", "0.3")
    with subprocess.Popen([sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        other.stdout.readline()
        started = time.monotonic()
        with held(tmp_path):
            assert time.monotonic() - started < 5


def test_a_second_command_is_one_error(call: Call, installed: Installed, tiny: Path) -> None:
    call(*run_on(tiny))
    with held(tiny.parent / "out"):
        for words in (run_on(tiny), ("report", tiny.parent / "out", "--no-page")):
            assert "out is in use by process" in call(*words).error
        assert "in use by process" in call("status", tiny.parent / "out").out


def test_what_a_killed_process_has_left_is_removed_and_never_read(call: Call, installed: Installed, tiny: Path) -> None:
    call(*run_on(tiny))
    out = tiny.parent / "out"
    files = sorted(out.rglob("*"))
    left = [out / ".aseg-bench-new-abcd1234", out / "maps/near/mvtec_ad/bolt/test/hole/.aseg-bench-new-0_9zyxwv"]
    for folder in left:
        folder.mkdir()
        (folder / "000.tiff").write_bytes(b"half")
    kept = out / "maps/.new-projects"  # a name of the user's
    kept.mkdir()
    assert call("verify", out).code == 0
    assert call(*run_on(tiny), "--dry-run").code == 0
    assert all(folder.exists() for folder in left)
    assert call(*run_on(tiny)).code == 0
    assert sorted(out.rglob("*")) == sorted([*files, kept])
