"""Pickles from strangers give numbers, texts and plain containers, or an error: no crash, no code, no memory."""

import copyreg
import io
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest

from aseg_bench.errors import InputError
from aseg_bench.pickles import PlainArray, load_torch, open_torch, read_plain
from aseg_bench.predictions.loading import read_texts
from aseg_bench.predictions.records import Limits

torch = pytest.importorskip("torch")

NUMBERS = ("?", "i1", "<u2", ">i4", "i8", "f2", "<f4", ">f8", "c8", "S3", "U2")
MIB = 2**20
_READ = """
import resource, sys, time
from pathlib import Path
from aseg_bench.errors import InputError
from aseg_bench.predictions.loading import read_pickle, read_torch
from aseg_bench.predictions.records import Limits

import torch
for path in map(Path, sys.argv[1:]):
    start, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(path.name, end=" ", flush=True)
    try:
        (read_pickle if path.suffix == ".pkl" else read_torch)(path, Limits(2**20, allow_pickle=True))
        print("read", end=" ")
    except InputError as error:
        assert str(path) in str(error), error
        print("refused", end=" ")
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print("quick" if time.process_time() - start < 5 else "slow", "small" if grown < 50 * 2**10 else grown, flush=True)
"""


class Calls:
    """Is pickled as a call, with a state or without."""

    def __init__(self, function: Callable[..., Any], *arguments: Any, state: Any = None) -> None:
        self.how = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self) -> Any:
        return self.how


def an_array(state: Any) -> Calls:
    return Calls(np.empty(0).__reduce__()[0], np.ndarray, (0,), b"b", state=state)


POINTER = b"A" * 8
FLOAT, OBJECT = np.dtype("f8"), np.dtype("O")
RECORD = np.dtype({"names": ["a"], "formats": ["O"], "offsets": [2**20], "itemsize": 2**20 + 8})
HOSTILE = {
    "array_at_a_pointer": Calls(np.ndarray, (1,), "O", POINTER),
    "strides": Calls(np.ndarray, (2**40,), "u1", POINTER, 0, (0,)),
    "out_of_bounds": Calls(np.ndarray, (4,), "u1", POINTER, 0, (2**40,)),
    "objects_from_bytes": an_array((1, (1,), OBJECT, False, POINTER)),
    "fewer_objects": an_array((1, (2**10,), OBJECT, False, ["a"])),
    "fewer_numbers": an_array((1, (2**40,), FLOAT, False, POINTER)),
    "records": an_array((1, (1,), RECORD, False, bytes(2**20 + 8))),
    "nothing_each": an_array((1, (2**60,), Calls(np.dtype, "S0"), False, b"")),
    "negative": an_array((1, (-1, -1), FLOAT, False, POINTER)),
    "born_large": Calls(np.empty(0).__reduce__()[0], np.ndarray, (2**34,), b"f8"),
    "type_with_fields": Calls(np.dtype, "V8", state=(3, "|", None, ("a",), {"a": (OBJECT, 2**40)}, 8, 1, 0)),
    "scalar_of_objects": Calls(np.float64(1).__reduce__()[0], OBJECT, POINTER),
    "types_in_types": Calls(np.dtype, [("a", OBJECT, (2**20,))]),
    "changed_class": Calls(copyreg._reconstructor, PurePosixPath, object, None),  # type: ignore[attr-defined]
    "code": Calls(os.mkdir, "made"),
}  # fmt: skip
BYTES = {
    "key_in_key": b"\x80\x02}" + b")" + b"\x85" * 200_000 + b"K\x01s.",
    "keys_without_end": b"\x80\x02})" + b"2\x86" * 60 + b"K\x01s.",
    "member_in_member": b"\x80\x04\x8f(" + b")" + b"\x85" * 200_000 + b"\x90.",
    "in_a_call_of_set": b"\x80\x02c__builtin__\nset\n]" + b")" + b"\x85" * 200_000 + b"a\x85R.",
    "pairs": b"\x80\x02ccollections\nOrderedDict\n](" + b")" + b"\x85" * 200_000 + b"K\x01\x86e\x85R.",
    "memo": b"\x80\x02]r" + struct.pack("<I", 2**31 - 1) + b".",
    "empty_bytes": b"\x80\x05\x96" + struct.pack("<Q", 2**33) + b".",
    "call_of_bytearray": b"\x80\x02c__builtin__\nbytearray\nJ" + struct.pack("<i", 2**31 - 1) + b"\x85R.",
    "tensor_of_a_size": b"\x80\x02ctorch\nFloatTensor\nJ" + struct.pack("<i", 2**30) + b"\x85R.",
    "attribute": b"\x80\x02cpathlib\nPurePosixPath\nN}X\x05\x00\x00\x00partsK\x01s\x86b.",
    "many_dicts": b"\x80\x02](" + b"}" * 1_000_000 + b"e.",
    "many_calls": b"\x80\x02](c__builtin__\nset\nq\x00" + b"h\x00)R" * 200_000 + b"e.",
    "item_of_a_tensor": b"\x80\x02ctorch._utils\n_rebuild_parameter\n)R" + b"K\x01K\x02s.",
    "nothing": b"",
}


def loaded(content: bytes) -> Any:
    return read_plain(io.BytesIO(content))


def torch_file(path: Path, pickled: bytes, name: str = "archive/data.pkl") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, pickled)
        archive.writestr("archive/byteorder", "little")
        archive.writestr("archive/data/0", bytes(64))
        archive.writestr("archive/version", "3\n")
    return path


@pytest.mark.skipif(sys.platform != "linux", reason="memory is measured as Linux does")
def test_no_pickle_crashes_or_takes_time_or_memory_or_runs_code(tmp_path: Path) -> None:
    pickles = BYTES | {name: pickle.dumps(content, 2) for name, content in HOSTILE.items()}
    files = []
    for name, content in pickles.items():
        (tmp_path / f"{name}.pkl").write_bytes(content)
        files += [tmp_path / f"{name}.pkl", torch_file(tmp_path / f"{name}.pt", content)]
    done = subprocess.run(
        [sys.executable, "-c", _READ, *files], check=False, capture_output=True, text=True, cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-200:] + done.stderr[-2000:]
    outcomes = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert len(outcomes) == len(files)
    assert {name: how for name, how in outcomes.items() if how != "refused quick small"} == {
        "memo.pkl": "read quick small", "memo.pt": "read quick small"
    }  # fmt: skip
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("protocol", range(2, 6))
def test_arrays_of_numbers_and_texts_come_back_from_every_protocol(protocol: int) -> None:
    arrays = [np.arange(6).reshape(2, 3).astype(kind) for kind in NUMBERS]
    texts = np.array(["a", b"b", PurePosixPath("c"), None, 1], object)
    content: list[Any] = [
        *arrays, *(np.asfortranarray(array) for array in arrays), *(array[0, 0] for array in arrays), np.array(3.5),
        texts, np.zeros((0, 4)), {("a", 1): {2, 3}}, OrderedDict(a=[1]), Counter("aab"), PurePosixPath("a/b"), 1j,
    ]  # fmt: skip
    read = loaded(pickle.dumps(content, protocol))
    for found, expected in zip(read, content, strict=True):
        if isinstance(expected, np.ndarray):
            assert found.dtype.newbyteorder("=") == expected.dtype.newbyteorder("=")
            np.testing.assert_array_equal(found, expected)
        else:
            assert found == expected


def test_an_array_is_filled_once_since_others_may_look_at_its_memory() -> None:
    array = loaded(pickle.dumps(np.arange(3.0)))
    assert isinstance(array, PlainArray)
    with pytest.raises(InputError, match="shape"):
        array.__setstate__((1, (3,), np.dtype("f8"), False, bytes(24)))


@pytest.mark.parametrize("is_archive", [True, False])
def test_what_torch_writes_passes_and_a_number_that_a_tensor_has_twice_does_not(
    tmp_path: Path, is_archive: bool
) -> None:
    def saved(content: Any) -> Path:
        torch.save(content, tmp_path / "a.pt", _use_new_zipfile_serialization=is_archive)
        return tmp_path / "a.pt"

    whole = torch.arange(24.0).reshape(4, 6)
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    optimiser = torch.optim.AdamW(model.parameters())
    model(torch.zeros(2, 2)).sum().backward()
    optimiser.step()
    sound = [
        whole, whole[1:, ::2], whole.T, torch.tensor(3), torch.zeros(0, 5), whole.to(torch.bfloat16), whole.bool(),
        torch.nn.Parameter(whole), model.state_dict(), optimiser.state_dict(), whole.shape, torch.float16,
        whole.numpy(), np.float64(2), {"a": [torch.device("cpu")]}, Counter("ab"),
    ]  # fmt: skip
    for content in sound:
        assert isinstance(load_torch(saved(content)), type(content))
    for content in (torch.zeros(1).expand(10**12), torch.zeros(3).as_strided((2, 2), (1, 1))):
        with pytest.raises(InputError, match=r"has more numbers than the [13] that the file holds"):
            load_torch(saved(content))


def test_an_archive_whose_members_readers_could_tell_apart_is_refused(tmp_path: Path) -> None:
    sound = pickle.dumps([], 2)
    for other in ("archive/DATA.PKL", "other/data.pkl"):
        path = torch_file(tmp_path / "a.pt", sound)
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(other, sound)
        with pytest.raises(InputError, match="an archive as torch writes none"):
            load_torch(path)


def test_an_archive_with_a_second_directory_is_refused(tmp_path: Path) -> None:
    sound = torch_file(tmp_path / "a.pt", pickle.dumps([], 2)).read_bytes()
    for content in (sound + sound, b"before" + sound):
        (tmp_path / "a.pt").write_bytes(content)
        with pytest.raises(InputError, match=r"before or behind its directory|an archive as torch writes none"):
            open_torch(tmp_path / "a.pt")


def test_letters_that_unicode_does_not_have_never_become_a_text(tmp_path: Path) -> None:
    wrong = np.array([2**21, 65], np.uint32).view("U2")
    for content in (wrong, wrong[0:1][0:1].reshape(1, 1)):
        for protocol in (2, 5):
            with pytest.raises(InputError, match="letters that Unicode does not have"):
                loaded(pickle.dumps(content, protocol))
        np.savez(tmp_path / "a.npz", names=content)
        with pytest.raises(InputError, match="letters that Unicode does not have"):
            read_texts(tmp_path / "a.npz", ["names"], Limits())
