from pathlib import Path

import pytest

from aseg_bench.files import is_folder_name, is_utf8, written_whole


def test_a_file_appears_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "table.csv"
    with written_whole(path) as temporary:
        temporary.write_text("whole")
        assert temporary.suffix == path.suffix
        assert not path.exists()
    assert path.read_text() == "whole"
    assert list(path.parent.iterdir()) == [path]


def write_half(path: Path, error: type[BaseException]) -> None:
    with written_whole(path) as temporary:
        temporary.write_text("half")
        raise error


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_the_older_file_and_nothing_else(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "table.csv"
    path.write_text("older")
    with pytest.raises(error):
        write_half(path, error)
    assert path.read_text() == "older"
    assert list(tmp_path.iterdir()) == [path]


def test_a_newer_file_replaces_an_older_one(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("older")
    with written_whole(path) as temporary:
        temporary.write_text("newer")
    assert path.read_text() == "newer"


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    with written_whole(tmp_path / "set") as temporary:
        (temporary / "inner").mkdir(parents=True)
        assert not (tmp_path / "set").exists()
    assert (tmp_path / "set" / "inner").is_dir()


def test_a_name_may_be_as_long_as_the_disk_allows(tmp_path: Path) -> None:
    with written_whole(tmp_path / ("x" * 255)) as temporary:
        temporary.write_text("whole")
    assert (tmp_path / ("x" * 255)).read_text() == "whole"


def test_bytes_that_are_no_text_are_not_utf8() -> None:
    assert all(map(is_utf8, ["", "café", "ネジ"]))
    assert not is_utf8("caf\udce9")


def test_a_folder_name_is_no_path() -> None:
    assert all(map(is_folder_name, ["bolt", "..bolt", "a b", "=1+1"]))
    assert not any(map(is_folder_name, ["", " ", ".", "..", "/", "a/b", "a/", "../a", "a\\b", "a\nb", "\x1b[1m"]))
