"""What a long work says: a bar in a terminal, a line per minute elsewhere."""

import warnings

import pytest
from rich.console import Console

from aseg_bench import progress
from aseg_bench.progress import progress_bar, track


@pytest.fixture
def minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that goes on by half a minute whenever it is looked at."""
    now = iter(range(0, 10**6, 30))
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(now)))


def test_without_a_terminal_a_line_per_minute_says_how_far_it_is(
    minutes: None, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress_bar() as bar:
        task = bar.add_task("training", total=10, note="")
        for step in range(10):
            bar.update(task, note=f"loss {step / 10:.3f}")
            bar.advance(task)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("training:")]
    assert lines[0].startswith("training: 10 %, 1 of 10, loss 0.100")
    assert lines[-1].startswith("training: 90 %, 9 of 10, loss 0.900")
    assert all(line.endswith("min left") for line in lines[1:])
    assert len(lines) == 9


def test_what_takes_less_than_a_minute_is_one_line_at_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(track(range(5), "maps", 5)) == [0, 1, 2, 3, 4]
    (line,) = capsys.readouterr().err.splitlines()
    assert "5/5" in line


def test_a_quiet_work_says_nothing(minutes: None, capsys: pytest.CaptureFixture[str]) -> None:
    list(track(range(50), "maps", 50, quiet=True))
    assert capsys.readouterr().err == ""


def test_a_terminal_has_the_bar_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "Console", lambda **how: Console(force_terminal=True, **how))
    assert type(progress_bar()) is progress.Progress


def test_a_notebook_has_lines_as_its_widgets_are_a_package_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    assert type(progress_bar()) is not progress.Progress
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert list(track(range(3), "maps", 3)) == [0, 1, 2]
