"""What goes wrong outside the program is one line: Ctrl-C at any moment, a full disk, no memory, no descriptors."""

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from aseg_bench.files import written_whole
from aseg_bench.records import AnomalyMap, Sample
from tests.conftest import Call, Distance, Installed, facts_of, run_on


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process")
@pytest.mark.parametrize("delay", [0.12, 0.3])
def test_ctrl_c_while_the_command_line_loads_is_one_line(tmp_path: Path, delay: float) -> None:
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # background jobs ignore it
    code += "import aseg_bench.__main__ as command; print('here', flush=True)\n"
    code += "import time, builtins; whole = builtins.__import__\n"
    code += f"def slow(*given): time.sleep({delay / 20}); return whole(*given)\n"
    code += "builtins.__import__ = slow; command.main()"
    with subprocess.Popen(
        [sys.executable, "-c", code, "methods"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        time.sleep(delay)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate()
    assert (process.returncode, said) == (130, "stopped\n")


class Unlucky(Distance):
    """Fails at its fourth map, as the machine does."""

    fault: Exception = MemoryError()

    def predict(self, samples: Sequence[Sample]) -> Iterator[AnomalyMap]:
        for index, anomaly_map in enumerate(super().predict(samples)):
            if index == 3:
                raise self.fault
            yield anomaly_map


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (MemoryError("unable to allocate 9 GiB"), "out of memory (unable to allocate 9 GiB)"),
        (BrokenProcessPool("a child was killed"), "out of memory (a child was killed)"),
        (OSError(errno.EMFILE, "Too many open files", "x.png"), "raise the limit with `ulimit -n`"),
        (OSError(errno.ENOSPC, "No space left on device", "x.tiff"), "No space left on device: 'x.tiff'"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "Cannot allocate memory"),
    ],
    ids=["memory", "child", "descriptors", "disk", "fork"],
)
def test_what_the_machine_lacks_is_one_line_and_the_same_command_goes_on(
    call: Call, installed: Installed, tiny: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception, said: str
) -> None:
    monkeypatch.setattr(Unlucky, "fault", fault)
    fails = [True, False]
    installed.add(
        facts_of("unlucky", build=lambda options: (Unlucky if fails.pop(0) else Distance)("unlucky", options))
    )
    assert said in call(*run_on(tiny, methods="unlucky")).error
    assert call(*run_on(tiny, methods="unlucky")).code == 0
    assert call("verify", tiny.parent / "out").code == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_named_with_the_file(tmp_path: Path) -> None:
    with (
        pytest.raises(OSError, match=r"No space left on device: '.*table\.csv'"),
        written_whole(tmp_path / "table.csv"),
    ):
        Path("/dev/full").write_text("x")
    assert list(tmp_path.iterdir()) == []
