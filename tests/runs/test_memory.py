"""The peak of memory is that of the time since it was started again, and of a live method's work."""

import sys
from pathlib import Path

import numpy as np
import pytest

from aseg_bench.runs import memory
from aseg_bench.runs.folder import RunFolder
from aseg_bench.runs.memory import peak_bytes, restart_peak
from tests.conftest import Call, Installed, run_on

MUCH = 100_000_000


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
def test_a_peak_holds_what_was_taken_since_it_was_started_again() -> None:
    assert restart_peak()
    before = peak_bytes()
    np.ones(MUCH, np.uint8).sum()
    assert before + 0.9 * MUCH < peak_bytes() < before + 1.5 * MUCH
    restart_peak()
    assert peak_bytes() < before + 0.5 * MUCH


def test_a_live_method_has_its_peak_in_the_record_where_the_system_tells(
    call: Call, installed: Installed, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call(*run_on(tiny)).code == 0
    assert call(*run_on(tiny, methods=f"read=maps:{tiny.parent / 'out/maps/near/mvtec_ad'}", out="read")).code == 0
    (near,) = RunFolder(tiny.parent / "out").record.cases.values()
    (read,) = RunFolder(tiny.parent / "read").record.cases.values()
    assert near.about["peak_bytes"] > 10_000_000 if sys.platform == "linux" else "peak_bytes" not in near.about
    assert "peak_bytes" not in read.about
    monkeypatch.setattr(memory, "_PROCESS", tiny / "nowhere")
    assert not restart_peak()
    assert call(*run_on(tiny, out="elsewhere")).code == 0
    (near,) = RunFolder(tiny.parent / "elsewhere").record.cases.values()
    assert "peak_bytes" not in near.about
