"""Maps of every type reach the metric core with all their digits, on every way in."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image
from sklearn.metrics import roc_auc_score

from aseg_bench.errors import InputError
from aseg_bench.images import read_mask
from aseg_bench.metrics import DEFAULT_METRICS, evaluate_maps
from aseg_bench.metrics.checks import as_array
from aseg_bench.predictions.checks import finite_map
from aseg_bench.predictions.exact import exact_scores
from aseg_bench.predictions.imported import import_maps
from aseg_bench.predictions.records import Limits
from aseg_bench.records import Sample
from aseg_bench.runs.plan import RunPlan
from aseg_bench.runs.runner import run
from aseg_bench.scoring.dumps import score_dump

Maps = dict[Sample, NDArray[Any]]
EDGE = 80
# neighbours in the type, of which a narrower one makes ties: the first of them, and the step
NEIGHBOURS = {
    "b1": (0, 1), "f2": (1, 2**-10), "f4": (1, 2**-23), "f8": (1, 2**-52), "u1": (240, 1), "i1": (-5, 1),
    "u2": (2**16 - 9, 1), "i2": (2**15 - 9, 1), "u4": (2**32 - 9, 1), "i4": (-(2**31), 1), "u8": (2**61, 1),
    "i8": (2**61, 1),
}  # fmt: skip
DTYPES = [np.dtype(order + name) for name in NEIGHBOURS for order in "<>" if order == "<" or name[1] != "1"]


def ranks(samples: Sequence[Sample]) -> Maps:
    """Integers from 0 to 7, higher on the defects."""
    rng = np.random.default_rng(0)
    maps = {}
    for sample in samples:
        maps[sample] = rng.integers(0, 5, (EDGE, EDGE))
        if sample.mask_path is not None:
            maps[sample] += 3 * (read_mask(sample.mask_path) > 0) * rng.integers(0, 2, (EDGE, EDGE))
    return maps


def of_type(maps: Maps, dtype: np.dtype[Any]) -> Maps:
    """The same ranks as neighbours in a type."""
    first, step = NEIGHBOURS[dtype.str[1:]]
    if dtype.kind == "f":
        return {sample: (first + ranks * step).astype(dtype) for sample, ranks in maps.items()}
    if dtype.kind == "b":
        return {sample: ranks > 3 for sample, ranks in maps.items()}
    return {sample: (ranks.astype(object) * step + first).astype(dtype) for sample, ranks in maps.items()}


def write_npy(folder: Path, maps: Maps) -> None:
    for sample, scores in maps.items():
        file = folder / f"{sample.name}.npy"
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(file, scores)


def write_tiff(folder: Path, maps: Maps) -> None:
    for sample, scores in maps.items():
        file = folder / f"{sample.name}.tiff"
        file.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(file, scores, byteorder=">" if scores.dtype.byteorder == ">" else "<")


def write_npz(
    folder: Path, maps: Maps, save: Callable[..., None] = np.savez, order: Any = "C", name: str = "all"
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    stack = np.array(list(maps.values()), order=order)
    save(folder / f"{name}.npz", segmentations=stack, paths=[f"{sample.name}.png" for sample in maps])


@pytest.mark.parametrize("write", [write_npy, write_tiff, write_npz])
def test_eval_and_run_score_every_type_as_the_arrays_in_memory(
    tmp_path: Path, samples: Sequence[Sample], write: Callable[[Path, Maps], None]
) -> None:
    bottle = [sample for sample in samples if sample.category == "bottle"]
    numbers = ranks(bottle)
    truth = [np.zeros((EDGE, EDGE), bool) if s.mask_path is None else read_mask(s.mask_path) > 0 for s in bottle]
    auroc = roc_auc_score(np.ravel(truth), np.ravel(list(numbers.values())))
    expected, evaluated, dumps = {}, {}, {}
    for dtype in DTYPES:
        maps = of_type(numbers, dtype)
        name = f"{'big' if dtype.byteorder == '>' else 'little'}_{dtype.str[1:]}"
        dumps[name] = tmp_path / "dumps" / name
        write(dumps[name], maps)
        values = evaluate_maps(list(maps.values()), truth, metrics=DEFAULT_METRICS)
        assert dtype.kind == "b" or values["pixel_auroc"] == pytest.approx(auroc, abs=1e-12)
        expected |= {(name, key): value for key, value in values.items()}
        scored = score_dump(import_maps(dumps[name], bottle), name).scores
        evaluated |= {(s.case.method, s.metric): s.value for s in scored if s.case.category == "bottle"}
    root = bottle[0].image_path.parents[3]
    ran = run(RunPlan(list(dumps), "mvtec_ad", tmp_path / "run", root, ["bottle"], maps=dumps))
    assert evaluated == expected
    assert {(s.case.method, s.metric): s.value for s in ran.scores if s.case.category == "bottle"} == expected


@pytest.mark.parametrize(
    ("first", "others", "wide"),
    [
        ("u1", "f4", "f4"),
        ("f4", "f8", "f8"),
        ("i4", "f4", "f8"),
        ("u2", "i8", "i8"),
        ("u8", "i8", "i8"),
        ("u4", "u8", "i8"),
    ],
)
def test_maps_of_several_types_are_read_in_one_that_holds_all(
    tmp_path: Path, samples: Sequence[Sample], first: str, others: str, wide: str
) -> None:
    bottle = [sample for sample in samples if sample.category == "bottle"]
    maps = of_type(ranks(bottle), np.dtype(others))
    maps[bottle[0]] = of_type(ranks(bottle), np.dtype(first))[bottle[0]]
    write_npy(tmp_path, maps)
    read = import_maps(tmp_path, bottle).read("bottle").maps
    assert {scores.dtype for scores in read} == {np.dtype(wide)}
    assert all((scores.astype(object) == maps[s].astype(object)).all() for scores, s in zip(read, bottle, strict=True))


def test_fractions_and_integers_that_no_type_holds_both_are_refused(tmp_path: Path, samples: Sequence[Sample]) -> None:
    bottle = [sample for sample in samples if sample.category == "bottle"]
    maps = of_type(ranks(bottle), np.dtype("i8"))
    maps[bottle[1]] = np.full((EDGE, EDGE), 0.5)
    write_npy(tmp_path, maps)
    with pytest.raises(InputError, match=r"some maps of bottle hold integers beyond 2\*\*53 and others fractions"):
        import_maps(tmp_path, bottle).read("bottle")


@pytest.mark.parametrize(
    ("scores", "complaint"),
    [
        (np.ones((2, 3), complex), "holds complex128, not real numbers"),
        (np.ones((2, 3), object), "holds object, not real numbers"),
        (np.zeros((2, 3), [("score", "f4")]), "not real numbers"),
        (np.zeros((2, 3), "M8[s]"), "not real numbers"),
        (np.zeros((2, 3), "m8[s]"), "not real numbers"),
        (np.full((2, 3), "1"), "not real numbers"),
        (np.ma.masked_less(np.arange(6.0).reshape(2, 3), 2), "is a masked array"),
        ([np.zeros(3), np.zeros(2)], "several types or shapes"),
        ([[1.0], [1.0, 2.0]], "not an array of numbers"),
        (np.full((2, 3), 2**63, np.uint64), "integers beyond 4611686018427387904"),
        (np.full((2, 3), -(2**63), np.int64), "integers beyond 4611686018427387904"),
        (np.zeros((0, 3)), r"has shape \(0, 3\)"),
    ],
)
def test_what_is_no_map_of_numbers_is_refused_in_words(scores: Any, complaint: str) -> None:
    with pytest.raises(InputError, match=f"the map of here .*{complaint}"):
        finite_map(scores, "here")


def test_long_doubles_are_read_where_float64_holds_them() -> None:
    long = np.array([[1, 2]], np.longdouble)
    assert exact_scores(long, "here").dtype == np.float64
    if np.finfo(np.longdouble).nmant > 52:
        with pytest.raises(InputError, match="more digits than float64 has"):
            exact_scores(long + np.finfo(np.longdouble).eps, "here")


def test_booleans_of_odd_bytes_are_zero_and_one() -> None:
    odd = np.frombuffer(bytes([0, 2, 1, 255]), np.bool_).reshape(2, 2)
    assert finite_map(odd, "here").tolist() == [[0, 1], [1, 1]]


@pytest.mark.parametrize("kind", ["bfloat16", "float8_e4m3fn", "float8_e5m2", "float16", "float32", "float64"])
def test_tensors_of_every_float_become_arrays_of_the_same_numbers(kind: str) -> None:
    torch = pytest.importorskip("torch")
    numbers = [0.0, -1.5, 0.0625, 1.75, 28.0, -0.375]
    tensor = torch.tensor(numbers, dtype=torch.float64).to(getattr(torch, kind))
    assert as_array(tensor, "here").astype(np.float64).tolist() == numbers
    if kind in ("float32", "float64", "bfloat16"):
        assert as_array(tensor.requires_grad_(), "here").astype(np.float64).tolist() == numbers
    with pytest.raises(InputError, match="not real numbers"):
        as_array(torch.ones(2, dtype=torch.complex64), "here")


@pytest.mark.parametrize("kind", ["bfloat16", "float32"])
@pytest.mark.parametrize("is_legacy", [False, True])
def test_torch_dumps_in_bfloat16_and_with_gradients_are_read_exactly(
    tmp_path: Path, samples: Sequence[Sample], kind: str, is_legacy: bool
) -> None:
    torch = pytest.importorskip("torch")
    maps = ranks(samples)
    stack = torch.tensor(np.stack(list(maps.values()))).to(getattr(torch, kind)).requires_grad_()
    paths = [f"{sample.name}.png" for sample in maps]
    normal = torch.zeros(stack.shape)
    contents = {
        "anomalib": [{"anomaly_map": stack[:, None], "image_path": paths}],
        "aupimo": {"asmaps": stack, "paths": paths},
        "ader": {
            "anomaly_maps": [stack[:5, None], stack[5:, None]],
            "imgs_masks": [normal[:5], normal[5:]],
            "cls_names": [[sample.category for sample in maps]],
            "img_paths": [paths],
        },
    }
    for reader, content in contents.items():
        file = tmp_path / reader / ("0.pth" if reader == "ader" else "asmaps.pt")
        file.parent.mkdir()
        torch.save(content, file, _use_new_zipfile_serialization=not is_legacy)
        imported = import_maps(file.parent, samples, reader=reader, limits=Limits(allow_pickle=True))
        for category in ("bottle", "metal_nut"):
            read = imported.read(category)
            for sample, scores in zip(read.samples, read.maps, strict=True):
                assert scores.dtype == np.float32
                np.testing.assert_array_equal(scores, maps[sample])


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("order", ["C", "F"])
def test_stacks_are_read_map_by_map_however_they_lie_in_the_file(
    tmp_path: Path, samples: Sequence[Sample], save: Callable[..., None], order: str
) -> None:
    maps = of_type(ranks(samples), np.dtype("f8"))
    for category in ("bottle", "metal_nut"):  # more files than are kept unpacked
        for part in (0, 1):
            some = {s: m for s, m in maps.items() if s.category == category and int(s.stem) == part}
            write_npz(tmp_path, some, save, order, f"{category}{part}")
    imported = import_maps(tmp_path, samples)
    for category in ("bottle", "metal_nut", "bottle"):
        read = imported.read(category)
        for sample, scores in zip(read.samples, read.maps, strict=True):
            np.testing.assert_array_equal(scores, maps[sample])


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_stack_with_a_wrong_byte_is_named_before_anything_is_scored(
    tmp_path: Path, samples: Sequence[Sample], save: Callable[..., None]
) -> None:
    maps = {sample: np.random.default_rng(0).random((EDGE, EDGE)) for sample in samples}
    write_npz(tmp_path, maps, save)
    file = tmp_path / "all.npz"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"cannot read .*all\.npz, member segmentations"):
        import_maps(tmp_path, samples)


MEMORY = """
import sys
from dataclasses import replace
from pathlib import Path
from aseg_bench.scoring.dumps import score_dump
from aseg_bench.scoring.categories import score_category
from aseg_bench.predictions import MapStore, checks, imported, maps_method
from aseg_bench.protocols import meeting
from aseg_bench.records import Case

imported.KEPT, checks._KEPT, meeting.N_BYTES_KEPT = 2**22, 2**19, 2**22  # bytes, so that a small dump is a large one

def peak():  # of this process alone: ru_maxrss starts with that of the parent
    return 1024 * int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])

def score(folder):
    found = imported.import_maps(folder)
    score_dump(found, "mine", metrics=["pixel_auroc"])
    mask = folder / "mask.png"
    samples = [replace(s, image_path=mask, mask_path=mask if s.is_anomalous else None) for s, _ in found.found["screw"]]
    store = MapStore(folder / "store")
    for anomaly_map in maps_method.MapsMethod("mine", folder / "ader.npz").predict(samples):
        store.write("mine", anomaly_map)
    case = Case("mine", "maps", "screw")
    score_category(case, samples, store.maps("mine", samples), metrics=["pixel_auroc"])

score(Path(sys.argv[1]))
before = peak()
score(Path(sys.argv[2]))
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_memory_does_not_grow_with_the_maps_of_a_dump(tmp_path: Path, save: Callable[..., None]) -> None:
    rng = np.random.default_rng(0)
    folders = []
    for n in (24, 96):
        folders.append(tmp_path / str(n))
        folders[-1].mkdir()
        masks = np.zeros((n, 512, 512), np.uint8)
        masks[1::2, 100:150, 200:250] = 1
        Image.fromarray(255 * masks[1]).save(folders[-1] / "mask.png")
        maps = 100 * masks.astype(np.float32)
        maps[..., :32] = rng.integers(0, 50, (n, 512, 32), np.uint8)  # few numbers, which are packed quickly
        paths = [f"screw/test/{'hole' if i % 2 else 'good'}/{i}.png" for i in range(n)]
        save(folders[-1] / "ader.npz", anomaly_maps=maps, imgs_masks=masks, cls_names=["screw"] * n, img_paths=paths)
    command = [sys.executable, "-c", MEMORY, *map(str, folders)]
    runs = (subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True) for _ in range(5))
    # of 94 MB more maps and masks; a peak differs from run to run, upwards only
    assert any(float(run.stdout) <= 0.25 * 72 * 512 * 512 * 5 for run in runs)
