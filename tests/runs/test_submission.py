"""A submission to the server of MVTec AD 2: what its rules ask for, and what float16 costs."""

import shutil
from dataclasses import dataclass

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.metrics import average_precision_score

from aseg_bench.images import read_image
from aseg_bench.runs.submission import N_VALUES, rescaling
from aseg_bench.runs.submission_rules import N_IMAGES, check_submission, stems_of
from tests.conftest import Distance, facts_of, run_on, save
from tests.runs.test_thresholds import record_of, run_ad_2, write_ad_2

NATIVE = ("--protocol", "native", "--threshold")
OBJECTS = {"can": 3, "vial": 3}
few = settings(max_examples=25, deadline=None)


@dataclass(frozen=True)
class Preset:
    """The settings of a method that has none."""


@pytest.fixture
def made(call, installed, tmp_path):
    """A run on a miniature, and its submission."""
    root, out = write_ad_2(tmp_path / "ad_2"), tmp_path / "sent"
    assert call(*run_ad_2(root, *NATIVE, "quantile_0.99")).code == 0
    outcome = call("submit", "mvtec_ad_2", tmp_path / "out", "--out", out)
    assert outcome.code == 0
    return root, out, outcome.out


def test_a_submission_has_the_names_types_sizes_and_masks_that_the_server_wants(made, tmp_path, installed):
    root, out, told = made
    assert installed.diary == ["near fit 8", "near predict 18", "near fit 8", "near predict 12"]
    mean = np.mean([read_image(path) for path in sorted(root.glob("*/train/good/*.png"))], axis=(0, 3))
    thresholds = record_of(tmp_path / "out", "near/mvtec_ad_2")["threshold"]["categories"]
    expected = set()
    for name, threshold in thresholds.items():
        pairs = []
        for split, ending in (("test_private", "regular"), ("test_private_mixed", "mixed")):
            for number in range(3):
                stem = f"{name}/{split}/{number:03}_{ending}"
                expected |= {f"anomaly_images/{stem}.tiff", f"anomaly_images_thresholded/{stem}.png"}
                image = read_image(root / f"{stem}.png")
                scores = np.abs(image.mean(axis=2) - mean).astype(np.float32)
                sent = tifffile.imread(out / f"anomaly_images/{stem}.tiff")
                mask = np.asarray(Image.open(out / f"anomaly_images_thresholded/{stem}.png"))
                assert (sent.dtype, sent.shape, mask.dtype, mask.shape) == ("float16", (24, 32), "uint8", (24, 32))
                assert np.array_equal(mask, (scores > threshold) * 255)
                pairs.append((scores.ravel(), sent.ravel()))
        scores, sent = (np.concatenate(each) for each in zip(*pairs, strict=True))
        assert np.array_equal(np.unique(scores, return_inverse=True)[1], np.unique(sent, return_inverse=True)[1])
    assert {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()} == expected
    assert check_submission(out, OBJECTS) == []
    assert "the server takes all 8 objects with 2,045 images in either split; of these the run has 0 whole" in told


def test_whoever_stops_goes_on_where_he_was(call, installed, tmp_path):
    root = write_ad_2(tmp_path / "ad_2")
    assert call(*run_ad_2(root, *NATIVE, "max")).code == 0
    words = ("submit", "mvtec_ad_2", tmp_path / "out", "--out", tmp_path / "sent", "--quiet")
    installed.interrupt = "near predict"
    assert call(*words).code == 130
    installed.interrupt = ""
    assert call(*words).code == 0
    assert installed.diary[-1] == "near predict 9"  # of 12, as three were there
    first = {path: path.read_bytes() for path in (tmp_path / "sent").rglob("*.*")}
    shutil.rmtree(tmp_path / "sent")
    assert call(*words).code == 0
    assert installed.diary[-1] == "near predict 9"
    assert {path: path.read_bytes() for path in (tmp_path / "sent").rglob("*.*")} == first
    assert call("verify", tmp_path / "out").code == 0  # the run is as it was


def test_private_images_that_change_under_their_names_are_mapped_again(made, call, installed, tmp_path):
    root, out, _ = made
    stem = "can/test_private/001_regular"
    save(root / f"{stem}.png", 255 - read_image(root / f"{stem}.png"))
    before = tifffile.imread(out / f"anomaly_images/{stem}.tiff")
    assert call("submit", "mvtec_ad_2", tmp_path / "out", "--out", out).code == 0
    assert installed.diary[-1] == "near predict 12"
    assert not np.array_equal(before, tifffile.imread(out / f"anomaly_images/{stem}.tiff"))
    assert call("submit", "mvtec_ad_2", tmp_path / "out", "--out", out).code == 0
    assert installed.diary.count("near predict 12") == 2


def test_a_dump_is_read_as_the_run_has_read_it_and_again_where_it_has_changed(call, installed, tmp_path):
    torch = pytest.importorskip("torch")
    root, out, dump = write_ad_2(tmp_path / "ad_2", objects=("can",)), tmp_path / "out", tmp_path / "batches.pt"

    def write(seed):
        rng = np.random.default_rng(seed)
        paths = [path for path in sorted(root.rglob("*.png")) if "ground_truth" not in path.parts]
        maps = torch.from_numpy(rng.random((len(paths), 24, 32)).astype(np.float32))
        torch.save([{"anomaly_map": maps, "image_path": list(map(str, paths))}], dump)

    write(0)
    as_read = (*NATIVE, "max", "--allow-pickle", "--allow-clamped", "--categories", "can")
    assert call(*run_ad_2(root, *as_read, methods=f"mapped=maps:{dump}")).code == 0
    submit = ("submit", "mvtec_ad_2", out, "--out", tmp_path / "sent", "--quiet")
    assert "pass --allow-pickle" in call(*submit).error
    outcome = call(*submit, "--allow-pickle")
    assert (outcome.code, outcome.err) == (0, "")
    sent = {path: path.read_bytes() for path in (tmp_path / "sent").rglob("*.tiff")}
    write(1)
    said = "batches.pt has changed since the run has read it"
    assert said in " ".join(call(*submit, "--allow-pickle").err.split())
    assert all(path.read_bytes() != before for path, before in sent.items())


@few
@given(st.lists(st.lists(st.floats(-(2.0**99), 2.0**99, width=32), min_size=1, max_size=9), min_size=1, max_size=5))
def test_few_scores_keep_their_order_and_stay_apart(maps):
    scores = [np.array([each], np.float32) for each in maps]
    rescaled, n_scores, n_kept = rescaling(scores)
    before, after = (
        np.concatenate(scores, axis=1)[0] + 0,
        np.concatenate([rescaled(each) for each in scores], axis=1)[0],
    )
    assert np.isfinite(after).all()
    assert np.array_equal(np.unique(before, return_inverse=True)[1], np.unique(after, return_inverse=True)[1])
    assert n_scores == n_kept == len(np.unique(before))


def test_many_scores_fill_all_of_float16_and_keep_their_ap():
    rng = np.random.default_rng(0)
    masks = rng.random((40, 100, 100)) < 0.02
    scores = rng.lognormal(size=masks.shape) ** 2 * (1 + 4 * masks)
    rescaled, n_scores, n_kept = rescaling(list(scores))
    sent = rescaled(scores)
    order = np.argsort(scores, axis=None)
    assert (np.diff(sent.ravel()[order].astype(np.float64)) >= 0).all()
    assert n_scores == scores.size > n_kept == N_VALUES
    ap, kept = (average_precision_score(masks.ravel(), of.ravel().astype(np.float64)) for of in (scores, sent))
    rounded = average_precision_score(
        masks.ravel(), (scores / scores.max()).astype(np.float16).ravel().astype(np.float64)
    )
    assert abs(kept - ap) < 1e-4
    assert abs(kept - ap) < abs(rounded - ap)


def test_what_cannot_be_submitted_is_refused(call, installed, tiny, tmp_path):
    root, out, sent = write_ad_2(tmp_path / "ad_2"), tmp_path / "out", tmp_path / "sent"
    submit = ("submit", "mvtec_ad_2")
    assert call(*run_ad_2(root)).code == 0
    assert "with --protocol native --threshold mean_3std" in call(*submit, out, "--out", sent).error
    assert call(*run_ad_2(root, "--threshold", "max")).code == 0
    done = list(installed.diary)
    said = "score the run again with --protocol native --threshold max, which trains nothing again"
    assert said in " ".join(call(*submit, out, "--out", sent).error.split())
    assert call(*run_ad_2(root, "--protocol", "native")).code == 0  # keeps what was found under exact
    assert said in " ".join(call(*submit, out, "--out", sent).error.split())
    assert call(*run_ad_2(root, *NATIVE, "max")).code == 0
    assert installed.diary == done
    assert call(*run_ad_2(root, *NATIVE, "max", methods="near,far")).code == 0
    assert "holds near, far; say which with --method" in call(*submit, out, "--out", sent).error
    assert "did you mean far?" in call(*submit, out, "--out", sent, "--method", "fra").error
    assert "lies in the run" in call(*submit, out, "--out", out / "sent").error
    assert "--out FOLDER" in call(*submit, out).error
    assert "no server is known for visa" in call("submit", "visa", out, "--out", sent).error
    assert call(*run_on(tiny, out="other")).code == 0
    assert "is not a run on mvtec_ad_2" in call(*submit, tmp_path / "other", "--out", sent).error
    dump = tmp_path / "dump"
    shutil.copytree(out / "maps/near/mvtec_ad_2", dump, ignore=shutil.ignore_patterns(".*"))
    assert call(*run_ad_2(root, *NATIVE, "max", methods=f"mapped=maps:{dump}")).code == 0
    assert "can/test_private" in call(*submit, out, "--out", sent, "--method", "mapped").error
    assert not sent.exists()


def test_a_training_that_is_gone_is_not_done_again_in_silence(call, installed, tmp_path):
    def build(options):
        return Distance("kept", options, installed.diary)

    installed.add(facts_of("kept", build=build, presets=lambda: {"cpu": Preset()}))
    root, out, sent = write_ad_2(tmp_path / "ad_2"), tmp_path / "out", tmp_path / "sent"
    assert call(*run_ad_2(root, *NATIVE, "max", methods="kept")).code == 0
    done = list(installed.diary)
    submit = ("submit", "mvtec_ad_2", out, "--out", sent)
    assert "training/kept/mvtec_ad_2 is gone" in "".join(call(*submit).error.split("\n"))
    assert installed.diary == done
    (out / "training/kept/mvtec_ad_2").mkdir(parents=True)
    assert call(*submit).code == 0


def test_a_training_that_has_changed_is_not_that_of_the_run(call, installed, tmp_path):
    class Keeping(Distance):
        def fit(self, train):
            super().fit(train)
            self.options.folder.mkdir(parents=True, exist_ok=True)
            (self.options.folder / "checkpoint.pt").write_bytes(b"weights")

    installed.add(facts_of("kept", build=lambda options: Keeping("kept", options), presets=lambda: {"cpu": Preset()}))
    root, out = write_ad_2(tmp_path / "ad_2", objects=("can",)), tmp_path / "out"
    assert call(*run_ad_2(root, *NATIVE, "max", methods="kept")).code == 0
    (out / "training/kept/mvtec_ad_2/checkpoint.pt").write_bytes(b"others")
    error = call("submit", "mvtec_ad_2", out, "--out", tmp_path / "sent").error
    assert "checkpoint.pt has changed since the run has made its maps" in " ".join(error.split())


FAULTS = {
    "lacks 1 folders: anomaly_images": lambda out: shutil.rmtree(out / "anomaly_images"),
    "has 1 files or folders too many: log.txt": lambda out: (out / "log.txt").write_text("x"),
    "lacks 1 objects: vial": lambda out: shutil.rmtree(out / "anomaly_images/vial"),
    "has 1 files or folders too many: cans": lambda out: (out / "anomaly_images/cans").mkdir(),
    "lacks 1 splits: test_private_mixed": lambda out: shutil.rmtree(out / "anomaly_images/can/test_private_mixed"),
    "lacks 1 images: 002_regular.tiff": lambda out: at(out, "anomaly_images", "002_regular.tiff").unlink(),
    "too many: 003_regular.png": lambda out: write_mask(out, "003_regular", 0),
    "are float32, not float16": lambda out: write_map(out, np.zeros((24, 32), np.float32)),
    "have several channels": lambda out: write_map(out, np.zeros((24, 32, 2), np.float16)),
    "not finite": lambda out: write_map(out, np.full((24, 32), np.inf, np.float16)),
    "have another size than their image": lambda out: write_map(out, np.zeros((12, 16), np.float16)),
    "other values than 0 and 255": lambda out: write_mask(out, "001_regular", 1),
    "cannot be read": lambda out: at(out, "anomaly_images_thresholded", "001_regular.png").write_bytes(b"x"),
}  # fmt: skip


def at(out, kind, name):
    return out / kind / "can/test_private" / name


def write_mask(out, stem, value):
    save(at(out, "anomaly_images_thresholded", f"{stem}.png"), np.full((24, 32), value))


def write_map(out, scores):
    tifffile.imwrite(at(out, "anomaly_images", "001_regular.tiff"), scores, photometric="minisblack")


def test_every_fault_that_the_server_would_refuse_is_found(made, tmp_path):
    _, out, _ = made
    sizes = {(name, split, stem): (24, 32) for name in OBJECTS for split in ("test_private", "test_private_mixed")
             for stem in stems_of(3, split)}  # fmt: skip
    assert check_submission(out, OBJECTS, sizes) == []
    for number, (said, spoil) in enumerate(FAULTS.items()):
        spoilt = tmp_path / f"spoilt{number}"
        shutil.copytree(out, spoilt)
        spoil(spoilt)
        problems = check_submission(spoilt, OBJECTS, sizes)
        assert [said in text for text in problems] == [True], (said, problems)


def test_private_images_with_a_gap_in_their_numbers_are_one_problem(made):
    _, out, _ = made
    sizes = {(name, split, stem): (24, 32) for name in OBJECTS for split in ("test_private", "test_private_mixed")
             for stem in stems_of(3, split) if not stem.startswith("001")}  # fmt: skip
    (problem,) = check_submission(out, OBJECTS, sizes)
    assert "8 files are of no image of the data set, first anomaly_images/can/test_private/001" in problem


def test_a_finished_folder_is_checked_by_the_rules_of_the_server(call, made, tmp_path):
    _, out, _ = made
    outcome = call("submit", "mvtec_ad_2", "--check", out)
    assert outcome.code == 1
    assert "anomaly_images lacks 6 objects: fabric, fruit_jelly, rice, sheet_metal, wallplugs" in outcome.out
    assert "anomaly_images/can/test_private lacks 318 images: 003_regular.tiff" in outcome.out
    assert "writes nothing" in call("submit", "mvtec_ad_2", "--check", out, "--out", tmp_path / "x").error
    assert "there is no folder" in call("submit", "mvtec_ad_2", "--check", tmp_path / "x").error
    assert stems_of(N_IMAGES["can"], "test_private_mixed")[-1] == "320_mixed"
    assert sum(N_IMAGES.values()) == 2045
