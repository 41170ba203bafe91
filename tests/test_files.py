from pathlib import Path

import pytest

from aseg_bench.errors import InputError
from aseg_bench.files import files_below, is_folder_name, is_utf8, same_text, written_whole


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


def write_empty(*files: Path) -> None:
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"")


def test_what_systems_and_viewers_leave_in_folders_is_passed_over(tmp_path: Path) -> None:
    kept = [tmp_path / "a" / "0.png", tmp_path / "b.txt"]
    left = "._0.png a/.DS_Store a/Thumbs.db @eaDir/0.png .ipynb_checkpoints/0.png __MACOSX/a/0.png a/desktop.ini"
    write_empty(*kept, *(tmp_path / name for name in left.split()))
    assert files_below(tmp_path) == kept


def test_a_hidden_root_is_read(tmp_path: Path) -> None:
    write_empty(tmp_path / ".cache" / "0.png")
    assert files_below(tmp_path / ".cache") == [tmp_path / ".cache" / "0.png"]
    assert files_below(tmp_path / ".cache" / "0.png") == [tmp_path / ".cache" / "0.png"]


def test_links_are_followed_once_and_broken_ones_listed(tmp_path: Path) -> None:
    root = tmp_path / "root"
    write_empty(tmp_path / "far" / "0.png", root / "own.png")
    (root / "folder").symlink_to(tmp_path / "far")
    (root / "back").symlink_to(root)
    (root / "gone.png").symlink_to(tmp_path / "nowhere.png")
    assert files_below(root) == [root / "folder" / "0.png", root / "gone.png", root / "own.png"]


def test_a_path_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no file or folder"):
        files_below(tmp_path / "nothing")


def test_composed_and_decomposed_names_are_the_same_text() -> None:
    composed, decomposed = "\ubcfc\ud2b8 \u00e9", "\u1107\u1169\u11af\u1110\u1173 e\u0301"
    assert composed != decomposed
    assert same_text(decomposed) == same_text(composed) == composed
