"""What `predict` writes with a threshold, and what it does with files that are not pictures or cannot be read."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from PIL import Image

from aseg_bench import predict
from aseg_bench.datasets import find_samples
from aseg_bench.errors import InputError
from aseg_bench.runs.folder import RunFolder
from aseg_bench.runs.normal import check_not_trained_on
from aseg_bench.runs.record import CaseRecord, Conditions, DataFacts, FoundThreshold, Record
from aseg_bench.runs.thresholds import held_out
from tests.conftest import save, write_category
from tests.runs.test_regions import decoded


@pytest.fixture
def pictures(tmp_path):
    folder, random = tmp_path / "pictures", np.random.default_rng(0)
    for place, shape in (("a.png", (40, 50, 3)), ("deep, er/b.jpg", (30, 20, 3))):
        save(folder / place, random.integers(0, 255, shape))
    return folder


@pytest.fixture
def data(tmp_path):
    write_category(tmp_path / "data", "bolt")
    return tmp_path / "data"


@pytest.fixture
def in_run(checkpoint, data, tmp_path):
    """The checkpoint in a run on a data set of one category."""
    run = RunFolder(tmp_path / "run")
    run.training("uni_as", "mvtec_ad").mkdir(parents=True)
    run.write_record(Record().with_data("mvtec_ad", DataFacts("checksum", ["bolt"], str(data))))
    return Path(shutil.copy(checkpoint, run.training("uni_as", "mvtec_ad")))


def maps_below(out):
    return np.concatenate([tifffile.imread(path).ravel() for path in sorted((out / "maps").rglob("*.tiff"))])


def test_pixels_above_a_threshold_are_masks_regions_and_rows(checkpoint, pictures, tmp_path):
    out = tmp_path / "out"
    predict(checkpoint, [pictures], out, device="cpu")
    threshold = float(np.quantile(maps_below(out), 0.8))
    table = predict(checkpoint, [pictures], out, threshold=threshold, device="cpu")
    kept, regions = pd.read_csv(out / "predictions.csv"), pd.read_csv(out / "regions.csv")
    content = json.loads((out / "predictions.json").read_text())
    assert kept.to_dict("records") == table.to_dict("records")
    assert list(kept) == [
        *("image", "map", "image_score", "threshold", "anomalous_pixels", "anomalous_area", "n_regions")
    ]
    assert list(regions) == ["image", "x", "y", "width", "height", "area", "highest_score"]
    for row, name, image in zip(kept.itertuples(), ("a", "deep, er/b"), content["images"], strict=True):
        scores = tifffile.imread(row.map)
        mask = scores > threshold
        assert 0 < mask.sum() < mask.size
        assert np.array_equal(np.asarray(Image.open(out / "masks" / f"{name}.png")), mask * np.uint8(255))
        assert row.image_score == pytest.approx(scores.max())
        assert (row.threshold, row.anomalous_pixels) == (threshold, mask.sum())
        assert row.anomalous_area == pytest.approx(mask.mean())
        own = regions[regions["image"] == row.image]
        assert len(own) == row.n_regions
        assert own["area"].sum() == mask.sum()
        assert own["highest_score"].max() == pytest.approx(row.image_score)
        assert (image["file_name"], image["height"], image["width"]) == (row.image, *scores.shape)
        found = [each for each in content["annotations"] if each["image_id"] == image["id"]]
        assert np.array_equal(sum(decoded(each["segmentation"]).astype(int) for each in found), mask)
        assert [each["bbox"] for each in found] == own[["x", "y", "width", "height"]].to_numpy().tolist()


def test_without_a_threshold_there_is_none_and_nothing_of_an_older_one(checkpoint, pictures, tmp_path):
    out = tmp_path / "out"
    predict(checkpoint, [pictures], out, threshold=0.1, device="cpu")
    predict(checkpoint, [pictures], out, device="cpu")
    rows = pd.read_csv(out / "predictions.csv")
    assert rows["image_score"].notna().all()
    assert rows[["threshold", "anomalous_pixels", "anomalous_area", "n_regions"]].isna().all(axis=None)
    assert not (out / "regions.csv").exists()
    assert not (out / "predictions.json").exists()


@pytest.mark.parametrize("is_given", [False, True])
def test_a_threshold_from_normal_pictures_is_the_quantile_of_their_scores(in_run, pictures, data, tmp_path, is_given):
    normal = data / "bolt" / "test" / "good"
    predict(in_run, [normal], tmp_path / "normal", device="cpu")
    scores = maps_below(tmp_path / "normal").astype(np.float64)
    table = predict(
        in_run,
        [pictures],
        tmp_path / "out",
        threshold_from="normal:0.9",
        normal=[normal] if is_given else [],
        device="cpu",
    )
    (threshold,) = set(table["threshold"])
    assert threshold == pytest.approx(np.quantile(scores, 0.9, method="higher"), abs=1e-7)


def test_a_threshold_that_the_run_has_found_is_taken_unless_another_is_given(call, in_run, pictures, tmp_path):
    run, out = RunFolder(tmp_path / "run"), tmp_path / "out"
    words = ("predict", pictures, "--checkpoint", in_run, "--out", out, "--device", "cpu", "--quiet")
    run_of = ("--threshold-from", "run")
    assert "has found no threshold: run it again with --threshold RULE" in call(*words, *run_of).error
    found = FoundThreshold("max", "train", 1, "exact", 0.5, {"bolt": 0.25})
    run.write_record(run.record.with_case("uni_as", "mvtec_ad", CaseRecord(Conditions(), threshold=found)))
    for more, expected in (
        ((), 0.5),
        (run_of, 0.5),
        (("--threshold-from", "run:bolt"), 0.25),
        (("--threshold", "0.125"), 0.125),
    ):
        assert call(*words, *more).code == 0
        assert set(pd.read_csv(out / "predictions.csv")["threshold"]) == {expected}
    assert "no category nut" in call(*words, "--threshold-from", "run:nut").error
    assert "--normal is for" in call(*words, *run_of, "--normal", pictures).error


def test_thresholds_that_cannot_be_used_are_refused_before_the_work(call, checkpoint, in_run, pictures, data, tmp_path):
    out = tmp_path / "out"
    words = ("predict", pictures, "--out", out, "--device", "cpu", "--checkpoint")
    quantile = ("--threshold-from", "normal:0.9")
    assert "does not lie in a run" in call(*words, checkpoint, *quantile).error
    assert "--normal FOLDER" in call(*words, checkpoint, *quantile).error
    assert "exclude each other" in call(*words, in_run, *quantile, "--threshold", "1").error
    assert "give a finite number" in call(*words, in_run, "--threshold", "nan").error
    assert "try normal:0.999" in call(*words, in_run, "--threshold-from", "normal:99.9").error
    assert "--threshold-from normal:0.999" in call(*words, in_run, "--normal", data).error
    trained_on = data / "bolt" / "train" / "good"
    assert "trained on 4 of the normal pictures" in call(*words, in_run, *quantile, "--normal", trained_on).error
    shutil.rmtree(data)
    assert "does not exist; name a folder; give normal pictures" in call(*words, in_run, *quantile).error
    assert not out.exists()


def test_images_that_were_held_out_of_the_training_are_not_called_trained_on(in_run, data, tmp_path):
    train = sorted((data / "bolt" / "train" / "good").iterdir())
    (apart,) = held_out([sample for sample in find_samples("mvtec_ad", data) if sample.split == "train"])
    run = RunFolder(tmp_path / "run")
    with pytest.raises(InputError, match="trained on 4 of"):
        check_not_trained_on(in_run, train)
    run.write_record(run.record.with_case("uni_as", "mvtec_ad", CaseRecord(Conditions(held_out=0.1))))
    with pytest.raises(InputError, match="trained on 3 of"):
        check_not_trained_on(in_run, train)
    check_not_trained_on(in_run, [apart.image_path])


def test_pictures_are_read_with_the_bits_of_the_run(in_run, data, tmp_path):
    run = RunFolder(tmp_path / "run")
    run.write_record(Record().with_data("mvtec_ad", DataFacts("checksum", ["bolt"], str(data), bit_depth=12)))
    eight = np.random.default_rng(0).integers(0, 256, (40, 50))
    save(tmp_path / "eight.png", eight)
    save(tmp_path / "twelve.png", np.round(eight * 4095 / 255), np.uint16)
    pictures = [tmp_path / "eight.png", tmp_path / "twelve.png"]
    same = predict(in_run, pictures, tmp_path / "out", device="cpu")["image_score"]
    assert same[0] == same[1]
    dark = predict(in_run, pictures, tmp_path / "out", bit_depth=16, device="cpu")["image_score"]
    assert dark[0] == same[0] != dark[1]


def test_what_others_leave_is_passed_over_and_what_is_not_a_picture_is_named(call, checkpoint, pictures, tmp_path):
    for name in ("._a.png", ".ipynb_checkpoints/a.png", "@eaDir/a.png", "Thumbs.db"):
        save(pictures / "x.png", np.zeros((8, 8)))
        (pictures / name).parent.mkdir(exist_ok=True)
        (pictures / "x.png").rename(pictures / name)
    (pictures / "notes.txt").write_text("about them")
    out = tmp_path / "out"
    outcome = call("predict", pictures, "--checkpoint", checkpoint, "--out", out, "--device", "cpu", "--threshold", 0)
    assert outcome.out.splitlines() == [
        f"passed over, as they are not pictures: 1 files, {pictures / 'notes.txt'}",
        "above 0: pixels of 2 of 2 pictures",
        f"maps and overlays of 2 pictures: {out}",
    ]
    assert len(pd.read_csv(out / "predictions.csv")) == 2


def test_all_unreadable_pictures_are_named_before_the_work(call, checkpoint, pictures, tmp_path):
    for name in ("c.png", "d.jpg"):
        (pictures / name).write_bytes(b"not a picture")
    out = tmp_path / "out"
    error = call("predict", pictures, "--checkpoint", checkpoint, "--out", out, "--device", "cpu").error
    assert "2 problems in the pictures" in error
    assert "c.png" in error
    assert "d.jpg" in error
    assert not out.exists()


def test_a_picture_that_breaks_behind_its_header_does_not_lose_the_others(call, checkpoint, pictures, tmp_path):
    whole = pictures / "deep, er" / "c.tiff"
    save(whole, np.random.default_rng(0).integers(0, 255, (60, 60, 3)))
    whole.write_bytes(whole.read_bytes()[:5000])
    if not Image.open(whole).size:
        pytest.fail("the header should be readable")
    out = tmp_path / "out"
    error = call("predict", pictures, "--checkpoint", checkpoint, "--out", out, "--device", "cpu").error
    assert "the results of all others are written" in error
    assert "c.tiff" in error
    assert len(pd.read_csv(out / "predictions.csv")) == 2
    assert len(list((out / "overlays").rglob("*.png"))) == 2


def test_two_pictures_of_one_name_keep_their_endings(call, checkpoint, pictures, tmp_path):
    save(pictures / "a.jpg", np.zeros((8, 8)))
    out = pictures / "out"
    for _ in range(2):  # the second time with the results of the first among the pictures
        assert call("predict", pictures, "--checkpoint", checkpoint, "--out", out, "--device", "cpu").code == 0
        maps = sorted(str(path.relative_to(out / "maps")) for path in (out / "maps").rglob("*.tiff"))
        assert maps == ["a.jpg.tiff", "a.png.tiff", "deep, er/b.tiff"]
    words = (pictures / "a.jpg", pictures / "a.jpg", "--checkpoint", checkpoint, "--out", tmp_path / "o")
    assert "would both become" in call("predict", *words, "--device", "cpu").error
