"""Whatever a file of a stranger holds, reading it ends soon, in its values or in one error that names it."""

import io
import json
import logging
import pickle
import resource
import sys
import time
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from aseg_bench.analysis.scored_maps import LevelCounts
from aseg_bench.cli.config import read_config
from aseg_bench.errors import AsegBenchError, InputError
from aseg_bench.images import check_complete, image_size, orientation, read_image, read_mask
from aseg_bench.predictions.imported import import_maps
from aseg_bench.predictions.records import Limits
from aseg_bench.predictions.store import MapStore
from aseg_bench.records import Case, Finding, Sample, Score
from aseg_bench.runs.folder import Ablation, RunFolder
from aseg_bench.runs.record import CaseRecord, Conditions, DataFacts, Record
from aseg_bench.runs.scores import read_scores, write_scores
from aseg_bench.runs.shard_files import merged, tally
from aseg_bench.runs.shards import Plan
from aseg_bench.runs.sources import Source

torch = pytest.importorskip("torch")

LIMITS = Limits(max_bytes=2**20, allow_pickle=True)
MOST_SECONDS, MOST_GROWTH = 5, 200 * 2**10  # in units of 1024 bytes, as Linux says it
EXTREMES = [
    bytes(1),
    b"\xff" * 2,
    bytes(4),
    b"\xff" * 4,
    b"\xff\xff\xff\x7f",
    b"\x00\x10\x00\x00",
    b"\xff" * 8,
    b"(" * 50,
]
EDITS = ("flip", "cut", "insert", "remove", "copy", "write")
EDGE, SIZE = 8, (16, 16)

Edit = tuple[str, float, int]


@dataclass(frozen=True)
class Kind:
    """A file that is read: its name, a valid one, and who reads it; that returns whatever it likes."""

    name: str
    content: bytes
    read: Callable[[Path], Any]


def mutated(content: bytes, edits: list[Edit], inner: float | None = None) -> bytes:
    """Content after some edits; with ``inner`` that of a member of a zip file, whose sums stay right."""
    if inner is not None and content[:2] == b"PK":
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = [(info, archive.read(info)) for info in archive.infolist()]
        chosen, changed = int(inner * len(members)), io.BytesIO()
        with zipfile.ZipFile(changed, "w") as archive:
            for index, (info, held) in enumerate(members):
                archive.writestr(info.filename, mutated(held, edits) if index == chosen else held, info.compress_type)
        return changed.getvalue()
    for kind, where, choice in edits:
        place = int(where * (len(content) + 1))
        extreme = EXTREMES[choice % len(EXTREMES)]
        other = choice * 7919 % (len(content) + 1)
        match kind:
            case "flip":
                content = (
                    content[:place]
                    + bytes(one ^ (1 << choice % 8) for one in content[place : place + 1])
                    + content[place + 1 :]
                )
            case "cut":
                content = content[:place]
            case "insert":
                content = content[:place] + extreme + content[place:]
            case "remove":
                content = content[:place] + content[place + 1 + choice % 64 :]
            case "copy":
                content = content[:place] + content[other : other + 1 + choice % 64] + content[place:]
            case "write":
                content = content[:place] + extreme + content[place + len(extreme) :]
    return content


def saved(save: Callable[[io.BytesIO], Any]) -> bytes:
    buffer = io.BytesIO()
    save(buffer)
    return buffer.getvalue()


def torch_saved(content: Any, is_archive: bool = True) -> bytes:
    return saved(lambda file: torch.save(content, file, _use_new_zipfile_serialization=is_archive))


def picture(name: str, mode: str = "RGB", **options: Any) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 255, (*SIZE, 3), np.uint8)
    return saved(lambda file: Image.fromarray(pixels).convert(mode).save(file, name, **options))


@pytest.fixture(autouse=True)
def few_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit of pictures as low as that of maps."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", LIMITS.max_bytes // 2)


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    """Two normal pictures and one with a defect."""
    root, found = tmp_path_factory.mktemp("data"), []
    truth = np.zeros(SIZE, np.uint8)
    truth[2:6, 3:9] = 255
    for defect, stem in (("good", "000"), ("good", "001"), ("hole", "002")):
        path, mask = root / f"{stem}.png", root / f"{stem}_mask.png"
        path.write_bytes(picture("PNG"))
        Image.fromarray(truth).save(mask)
        found.append(Sample("mvtec_ad", "bolt", "test", defect, stem, path, mask if defect == "hole" else None))
    return found


@pytest.fixture(scope="module")
def kinds(samples: list[Sample], tmp_path_factory: pytest.TempPathFactory) -> list[Kind]:
    """One valid file of every reader, and of everything in the folder of a run."""
    scores = np.random.default_rng(0).random((len(samples), *SIZE), np.float32)
    places = [f"bolt/test/{sample.defect}/{sample.stem}.png" for sample in samples]
    masks = [np.zeros(SIZE, np.uint8)] * len(samples)
    tensors, by_place = torch.from_numpy(scores), dict(zip(places, scores, strict=True))

    def dump(name: str, reader: str, content: bytes, has_truth: bool = False) -> Kind:
        of = None if has_truth else samples[: 1 if name.startswith("bolt_test") else None]

        def read(path: Path) -> int:
            imported = [import_maps(path, of, reader=key, limits=LIMITS) for key in (reader, "auto")]
            assert all(len(one.problem_text) < 10**5 for one in imported)
            return sum(len(one.read(category).maps) for one in imported for category in one.found)

        return Kind(name, content, read)

    def npz(**arrays: Any) -> bytes:
        return saved(lambda file: np.savez(file, **arrays))

    def packed(**arrays: Any) -> bytes:
        return saved(lambda file: np.savez_compressed(file, **arrays))

    def npy(array: Any) -> bytes:
        return saved(lambda file: np.save(file, array))

    def tiff(array: Any, **options: Any) -> bytes:
        return saved(lambda file: tifffile.imwrite(file, array, **options))

    ader = {"anomaly_maps": [tensors], "cls_names": [["bolt"] * 3], "imgs_masks": [tensors > 2], "img_paths": [places]}
    one, shown, packings = scores[0], "bolt/test/good/000.png", (None, "zlib", "lzw", "zstd", "lzma", "packbits")
    dumps = [
        dump("000.npz", "uniad", npz(filename=shown, clsname="bolt", pred=one[None], mask=masks[0]), has_truth=True),
        dump("bolt.npz", "patchcore", npz(segmentations=scores, paths=places, scores=np.zeros(3))),
        dump("bolt.npz", "anomalib", packed(anomaly_map=scores, image_path=np.array(places, object))),
        dump("bolt.npz", "stack", packed(maps=scores, masks=np.array(masks))),
        dump("bolt.npy", "stack", npy(scores)),
        dump("bolt.npy", "stack", npy(np.asfortranarray(scores.astype(">f8")))),
        dump("bolt.pkl", "adeval", pickle.dumps({key: (held, 0.5, None) for key, held in by_place.items()}, 2)),
        dump("bolt.pkl", "adeval", pickle.dumps({key: (held, 0.5, None) for key, held in by_place.items()}, 5)),
        dump("asmaps.pt", "aupimo", torch_saved({"asmaps": tensors, "paths": places})),
        dump("p.pt", "anomalib", torch_saved([{"anomaly_map": tensors, "image_path": places}])),
        dump("p.pt", "torch", torch_saved(by_place)),
        dump("bolt.pt", "torch", torch_saved(tensors.half(), is_archive=False)),
        dump("0.pth", "ader", torch_saved(ader), has_truth=True),
        dump("bolt_test_good_000.npy", "plain", npy(one)),
        dump("bolt_test_good_000.npz", "plain", packed(one=one)),
        dump("bolt_test_good_000.csv", "plain", saved(lambda file: np.savetxt(file, one, delimiter=","))),
        dump("bolt_test_good_000.png", "plain", picture("PNG", "L")),
        *(dump("bolt_test_good_000.tiff", "plain", tiff(one, compression=how)) for how in packings),
        dump("bolt_test_good_000.tiff", "mvtec_tiff", tiff(one, compression="zlib", predictor=True, tile=(16, 16))),
    ]  # fmt: skip

    def whole_image(path: Path) -> int:
        n_read = 0
        for read in (image_size, orientation, check_complete, read_image, read_mask):
            with suppress(InputError):
                read(path)
                n_read += 1
        return n_read

    pictures = [("PNG", "P"), ("PNG", "L"), ("JPEG", "L"), ("GIF", "L"), ("TIFF", "L"), ("PCX", "L")]
    pictures += [(name, "RGB") for name in ("PNG", "BMP", "TIFF", "WEBP", "JPEG2000", "TGA", "PPM", "QOI")]
    images = [Kind(f"a.{name.lower()}", picture(name, mode), whole_image) for name, mode in pictures]
    deep = Image.fromarray(np.arange(256, dtype=np.uint16).reshape(SIZE) * 255)
    images.append(Kind("a.png", saved(lambda file: deep.save(file, "PNG")), whole_image))
    images.append(Kind("a.tiff", picture("TIFF", "RGB", compression="tiff_lzw"), whole_image))
    polygon = {"shape_type": "polygon", "points": [[1, 1], [9, 2], [5, 9]]}
    drawn = {"imageHeight": SIZE[0], "imageWidth": SIZE[1], "shapes": [polygon]}
    images.append(Kind("a.json", json.dumps(drawn).encode(), read_mask))

    out, case = tmp_path_factory.mktemp("run"), Case("near", "mvtec_ad", "bolt")
    folder = RunFolder(out)
    about = CaseRecord(
        Conditions(data="0f", settings={"a": "1"}), {"device": "cpu"}, {"fit": 1.5}, [Finding("a", "b", case)]
    )
    folder.write_record(Record({"mvtec_ad": DataFacts("0f", ["bolt"], None)}, {("near", "mvtec_ad"): about}))
    write_scores(
        folder.scores_file, [Score(case, "pixel_ap", 0.5, 3, "exact"), Score(case, "dsc", None, 3, "exact", "no")]
    )
    folder.write_ablation(Ablation("levels", "near", ["a", "b"], [0]))
    counts = LevelCounts(0.5, [], [], np.arange(3.0), *(np.ones((2, 4), np.int64) for _ in range(3)), np.arange(2))
    counts.save(out / "counts.npz", "key")

    def of_run(name: str, read: Callable[[RunFolder, Path], Any], content: bytes | None = None) -> Kind:
        return Kind(
            name,
            (out / name).read_bytes() if content is None else content,
            lambda path: read(RunFolder(path.parent), path),
        )

    np.savez(out / "own.npz", maps=scores, masks=np.array(masks))
    source = Source(out / "own.npz")
    plan = Plan.of(source, "near", 0, "exact", None)
    for _ in ("looks", "counts"):
        tally(source, plan, plan.shards[0], out / "shards", lambda: None)
    rounds = sorted((out / "shards").iterdir())
    of_shards = [
        Kind(path.name, path.read_bytes(), lambda path, other=other: merged([path, other]))
        for path, other in (rounds, rounds[::-1])
    ]

    options = {key: SimpleNamespace(name=key, is_flag=False, multiple=False) for key in ("methods", "seed", "out")}
    run = [
        of_run("run.json", lambda run, _: run.record),
        of_run("scores.csv", lambda _, path: read_scores(path)),
        of_run("ablation.json", lambda run, _: run.ablation),
        of_run("counts.npz", lambda _, path: LevelCounts.load(path, "key")),
        of_run("log.csv", lambda run, path: run.table(path), b"step,loss,seconds\n1,0.5,0.1\n2,,0.2\n"),
        of_run("curve.csv", lambda run, path: run.table(path), b"step,seconds,pixel_ap,n_images\n1,0.5,0.1,3\n"),
        of_run("config.yaml", lambda _, path: read_config(path, options), b"methods: [a, b]\nseed: 1\nout: 'x'\n"),
        Kind("000.tiff", tiff(one), lambda path: MapStore(path.parent).read("near", samples[0])),
    ]
    return [*dumps, *images, *run, *of_shards]


def placed(kind: Kind, root: Path) -> Path:
    """Where a file must lie to be read: a map of a run has its place."""
    return root / "near/mvtec_ad/bolt/test/good/000.tiff" if kind.name == "000.tiff" else root / kind.name


def read_hostile(kind: Kind, content: bytes, root: Path) -> str:
    """Read a file in an otherwise empty folder, and say how that ended.

    Raises:
        AssertionError: it took long or much memory, or wrote.
        Exception: whatever is not an error of ours.
    """
    path = placed(kind, root)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    where = root if kind.name == "000.tiff" else path.parent
    target = where / "x" if kind.name == "000.tiff" else path
    start, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        found = kind.read(target)
        how = "empty" if found is None or (isinstance(found, int) and found == 0) else "read"
    except AsegBenchError:
        how = "refused"
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert time.process_time() - start < MOST_SECONDS
    assert grown < MOST_GROWTH
    assert [file for file in root.rglob("*") if file.is_file()] == [path]
    path.unlink()
    return how


edits = st.lists(st.tuples(st.sampled_from(EDITS), st.floats(0, 1), st.integers(0, 255)), max_size=4)


def test_every_file_is_read_as_it_was_written(kinds: list[Kind], tmp_path: Path) -> None:
    for number, kind in enumerate(kinds):
        assert read_hostile(kind, kind.content, tmp_path / str(number)) == "read", kind.name


@pytest.mark.skipif(sys.platform != "linux", reason="memory is measured as Linux does")
def test_a_damaged_or_hostile_file_ends_in_its_values_or_in_one_error(kinds: list[Kind], tmp_path: Path) -> None:
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)

    @settings(max_examples=250, deadline=None, derandomize=True, database=None)
    @given(st.integers(0, len(kinds) - 1), edits, st.none() | st.floats(0, 0.999))
    def law(number: int, chosen: list[Edit], inner: float | None) -> None:
        content = kinds[number].content
        read_hostile(kinds[number], mutated(content, chosen, inner), tmp_path)

    law()
