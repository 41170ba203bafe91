"""Files from strangers: limits hold before memory is taken, and no code from a file runs."""

import io
import os
import pickle
import sys
import tracemalloc
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any
from zipfile import ZIP_BZIP2, ZIP_DEFLATED, ZipFile

import numpy as np
import pytest
import tifffile
from PIL import Image

from aseg_bench.errors import InputError
from aseg_bench.predictions import loading
from aseg_bench.predictions.loading import (
    checksum_of_files,
    flattened,
    npz_members,
    read_npy,
    read_npz,
    read_pickle,
    read_torch,
)
from aseg_bench.predictions.pictures import read_picture
from aseg_bench.predictions.records import Limits

TRUSTED = Limits(allow_pickle=True)
SMALL = Limits(max_bytes=2**20, allow_pickle=True)


class Bomb:
    """Runs code when a careless unpickler loads it."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> Any:
        return Path.touch, (self.place,)


def test_a_zip_bomb_is_refused_by_its_declared_size(tmp_path: Path) -> None:
    with ZipFile(tmp_path / "bomb.npz", "w", ZIP_DEFLATED) as archive, archive.open("pred.npy", "w") as member:
        np.lib.format.write_array(member, np.zeros(4 * 2**20, np.uint8))
    assert (tmp_path / "bomb.npz").stat().st_size < 2**16
    with pytest.raises(InputError, match=r"would take 0\.0039 GiB, more than the limit of 0\.00098; raise --max-gib"):
        read_npz(tmp_path / "bomb.npz", ["pred"], SMALL)
    assert read_npz(tmp_path / "bomb.npz", ["pred"], Limits())[0].nbytes == 4 * 2**20


@pytest.mark.parametrize("shape", [(2**40, 8), (10**6, 10)])
def test_a_huge_declared_shape_takes_no_memory(tmp_path: Path, shape: tuple[int, int]) -> None:
    with (tmp_path / "huge.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": shape})
        file.write(bytes(100))
    with pytest.raises(InputError, match=r"more than the limit|declares 80000000 bytes"):
        read_npy(tmp_path / "huge.npy", Limits(max_bytes=2**30))


@pytest.mark.parametrize("metadata", [None, {}], ids=["plain", "shaped"])
def test_the_pages_of_a_tiff_file_take_no_memory(tmp_path: Path, metadata: dict[str, Any] | None) -> None:
    pages = np.zeros((200, 100, 100), np.float32)
    tifffile.imwrite(tmp_path / "a.tiff", pages, compression="zlib", metadata=metadata)
    with pytest.raises(InputError, match=r"a\.tiff holds 200 pages; write a file for each map"):
        read_picture(tmp_path / "a.tiff", Limits(max_bytes=pages[0].nbytes))
    tifffile.imwrite(tmp_path / "a.tiff", pages[0] + 3)
    np.testing.assert_array_equal(read_picture(tmp_path / "a.tiff", Limits(max_bytes=pages[0].nbytes)), pages[0] + 3)
    with pytest.raises(InputError, match="more than the limit"):
        read_picture(tmp_path / "a.tiff", Limits(max_bytes=pages[0].nbytes - 1))


def test_arrays_come_back_as_they_were_saved(tmp_path: Path) -> None:
    array = np.arange(12, dtype=np.int16).reshape(3, 4)
    np.savez_compressed(tmp_path / "a.npz", plain=array, fortran=np.asfortranarray(array), name="bottle")
    plain, fortran, name = read_npz(tmp_path / "a.npz", ["plain", "fortran", "name"], Limits())
    np.testing.assert_array_equal(plain, array)
    np.testing.assert_array_equal(fortran, array)
    assert str(name) == "bottle"
    assert npz_members(tmp_path / "a.npz") == ("plain", "fortran", "name")


def test_truncated_files_are_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", pred=np.zeros((50, 50)))
    np.save(tmp_path / "a.npy", np.zeros((50, 50)))
    tifffile.imwrite(tmp_path / "a.tiff", np.zeros((50, 50), np.float32))
    for name in ("a.npz", "a.npy", "a.tiff"):
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    for read in (
        lambda: read_npz(tmp_path / "a.npz", ["pred"], Limits()),
        lambda: read_npy(tmp_path / "a.npy", Limits()),
        lambda: read_picture(tmp_path / "a.tiff", Limits()),
    ):
        with pytest.raises(InputError, match=r"a\.(npz|npy|tiff)"):
            read()


def test_object_arrays_are_refused_even_where_pickle_is_allowed(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", pred=np.array([[1], [2, 3]], dtype=object))
    with pytest.raises(InputError, match="holds Python objects"):
        read_npz(tmp_path / "a.npz", ["pred"], TRUSTED)


@pytest.mark.parametrize("protocol", range(2, 6))
def test_pickles_of_arrays_and_plain_containers_are_read(tmp_path: Path, protocol: int) -> None:
    content = {"a": [np.arange(3.0), np.float32(2)], "b": (1, "x", None, {2}), "c": np.array(["u", "vw"])}
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(content, protocol=protocol))
    read = read_pickle(tmp_path / "a.pkl", TRUSTED)
    np.testing.assert_array_equal(read["a"][0], content["a"][0])
    assert read["b"] == content["b"]
    assert list(read["c"]) == ["u", "vw"]
    with pytest.raises(InputError, match="pass --allow-pickle"):
        read_pickle(tmp_path / "a.pkl", Limits())


def test_a_pickle_that_carries_code_is_refused_and_nothing_runs(tmp_path: Path) -> None:
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"a.png": Bomb(tmp_path / "ran")}))
    with pytest.raises(InputError, match="which is neither an array nor a plain container, so it is not loaded"):
        read_pickle(tmp_path / "a.pkl", TRUSTED)
    assert not (tmp_path / "ran").exists()


def test_a_torch_file_that_carries_code_is_refused_and_nothing_runs(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.save([Bomb(tmp_path / "ran")], tmp_path / "a.pt")
    with pytest.raises(
        InputError, match=r"asks for builtins\.getattr, which is neither a tensor nor an array nor a plain"
    ) as said:
        read_torch(tmp_path / "a.pt", TRUSTED)
    assert "weights_only" not in str(said.value)
    assert not (tmp_path / "ran").exists()
    torch.save({"maps": torch.zeros(2**20)}, tmp_path / "b.pt")
    with pytest.raises(InputError, match="more than the limit"):
        read_torch(tmp_path / "b.pt", SMALL)


def test_a_checksum_is_that_of_names_and_contents_wherever_they_lie(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        for name in ("a/0.npy", "b/0.npy"):
            (tmp_path / folder / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / folder / name).write_text(name)
    first = checksum_of_files(tmp_path / "one")
    assert first == checksum_of_files(tmp_path / "two")
    (tmp_path / "two/b/0.npy").write_text("b/1.npy")
    assert checksum_of_files(tmp_path / "two") != first
    (tmp_path / "one/b/0.npy").rename(tmp_path / "one/b/1.npy")
    assert checksum_of_files(tmp_path / "one") not in {first, checksum_of_files(tmp_path / "two")}
    assert checksum_of_files(tmp_path / "one/a/0.npy") == checksum_of_files(tmp_path / "two/a/0.npy")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_name_that_is_not_utf8_has_a_checksum(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9.npy")).write_text("")
    assert checksum_of_files(tmp_path) != checksum_of_files(tmp_path / os.fsdecode(b"caf\xe9.npy"))


def test_a_link_that_leads_nowhere_is_called_that(tmp_path: Path) -> None:
    (tmp_path / "a.npy").symlink_to(tmp_path / "cache" / "a.npy")
    with pytest.raises(InputError, match=r"cannot read .*a\.npy: it is gone, or a link that leads nowhere"):
        read_npy(tmp_path / "a.npy", Limits())


def replace_data(path: Path, data: bytes, **tags: int) -> None:
    """Give the one strip or tile of a TIFF other data, and some of its tags other values."""
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        page, place = tiff.pages.first, path.stat().st_size
        tiff.filehandle.seek(place)
        tiff.filehandle.write(data)
        part = "Tile" if page.is_tiled else "Strip"
        for name, value in {f"{part}Offsets": [place], f"{part}ByteCounts": [len(data)], **tags}.items():
            page.tags[name].overwrite(value)


def test_a_tiff_unpacks_to_no_more_than_the_limit(tmp_path: Path) -> None:
    path, small = tmp_path / "a.tiff", np.zeros((16, 16), np.float32)
    tifffile.imwrite(path, small, compression="zlib", tile=(16, 16))
    replace_data(path, zlib.compress(bytes(2**24)), TileWidth=2048, TileLength=2048)
    with pytest.raises(InputError, match=r"would take 0\.016 GiB, more than the limit"):
        read_picture(path, SMALL)
    buffer = io.BytesIO()
    Image.new("L", (4096, 4096)).save(buffer, "PNG")
    tifffile.imwrite(path, small.astype(np.uint8), compression="png")
    replace_data(path, buffer.getvalue())
    with pytest.raises(InputError, match="is compressed as PNG, which is for photographs; write numbers with no"):
        read_picture(path, SMALL)
    for how in ("zlib", "lzw", "zstd", "lzma"):
        tifffile.imwrite(path, small, compression=how)
        tifffile.imwrite(tmp_path / "b.tiff", np.zeros((2048, 2048), np.float32), compression=how, rowsperstrip=2048)
        with tifffile.TiffFile(tmp_path / "b.tiff") as large:
            packed = (tmp_path / "b.tiff").read_bytes()[large.pages.first.dataoffsets[0] :]
        replace_data(path, packed)
        tracemalloc.start()
        with suppress(InputError):
            read_picture(path, SMALL)
        assert tracemalloc.get_traced_memory()[1] < 2**21
        tracemalloc.stop()


def test_an_npz_of_many_members_or_of_other_compressions_is_refused(tmp_path: Path) -> None:
    with ZipFile(tmp_path / "many.npz", "w") as archive:
        for number in range(2000):
            archive.writestr(f"{number}.npy", b"")
    with ZipFile(tmp_path / "packed.npz", "w", ZIP_BZIP2) as archive:
        archive.writestr("a.npy", b"")
    for name, why in (("many", "lists more than 1000 members"), ("packed", "compressed in a way that its kind")):
        with pytest.raises(InputError, match=why):
            npz_members(tmp_path / f"{name}.npz")


def test_lists_that_hold_each_other_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "_MOST_PARTS", 2**12)
    parts: list[object] = []
    for _ in range(60):
        parts = [parts, parts]
    with pytest.raises(InputError, match="lists within lists"):
        list(flattened(parts))
    parts[0] = parts
    with pytest.raises(InputError, match="lists within lists"):
        list(flattened(parts))
    assert list(flattened([1, [2, (3, [])], [], [[4]], 5])) == [1, 2, 3, 4, 5]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names are of Unix")
def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.npy")
    with pytest.raises(InputError, match="is not a file, but a folder, a pipe or a device"):
        read_npy(tmp_path / "pipe.npy", Limits())
