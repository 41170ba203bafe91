"""What the command ``run`` says of images and masks that are not what they should be."""

import json
import re
import shutil
from collections.abc import Callable, Sequence
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aseg_bench.methods import NOT_LEARNED
from aseg_bench.records import Case, Finding, Sample
from aseg_bench.runs.scores import read_scores
from tests.conftest import Call, Distance, Installed, facts_of, run_on, save, write_category


def remove_image(root: Path) -> None:
    (root / "bolt/test/hole/001.png").unlink()


def remove_mask(root: Path) -> None:
    (root / "bolt/ground_truth/hole/001_mask.png").unlink()


def crop_mask(root: Path) -> None:
    save(root / "bolt/ground_truth/hole/001_mask.png", np.zeros((24, 24)))


def cut_image(root: Path) -> None:
    file = root / "bolt/test/hole/001.png"
    file.write_bytes(file.read_bytes()[:100])


def write_text_as_image(root: Path) -> None:
    (root / "bolt/train/good/001.png").write_text("no picture")


def write_floats_as_image(root: Path) -> None:
    (root / "bolt/test/hole/001.png").unlink()
    save(root / "bolt/test/hole/001.tiff", np.ones((24, 32)), np.float32)


def colour_mask(root: Path) -> None:
    save(root / "bolt/ground_truth/hole/001_mask.png", np.arange(24 * 32 * 3).reshape(24, 32, 3) % 251)


def empty_training(root: Path) -> None:
    for image in (root / "bolt/train/good").iterdir():
        image.unlink()


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (remove_image, ["bolt/ground_truth/hole/001_mask.png has no image in"]),
        (remove_mask, ["bolt/test/hole/001.png has no mask; expected", "bolt/ground_truth/hole/001_mask.png"]),
        (crop_mask, ["001_mask.png is 24 x 24 pixels but its image 32 x 24"]),
        (cut_image, ["cannot read", "bolt/test/hole/001.png"]),
        (write_text_as_image, ["cannot read", "bolt/train/good/001.png"]),
        (write_floats_as_image, ["bolt/test/hole/001.tiff holds 32-bit values"]),
        (colour_mask, ["001_mask.png is a colour picture"]),
        (empty_training, ["bolt/train/good holds no images"]),
    ],
)
def test_a_flawed_data_set_is_one_error_before_any_work(
    call: Call, installed: Installed, tiny: Path, harm: Callable[[Path], None], said: list[str]
) -> None:
    harm(tiny)
    error = call(*run_on(tiny)).error
    assert all(part in error for part in said)
    assert installed.diary == []


def test_grey_16_bit_and_transparent_images_are_read(call: Call, installed: Installed, tiny: Path) -> None:
    grey = np.asarray(Image.open(tiny / "bolt/test/hole/000.png").convert("L"))
    save(tiny / "bolt/test/hole/000.png", grey)
    save(tiny / "bolt/test/hole/001.png", grey.astype(np.uint16) * 257, np.uint16)
    save(tiny / "bolt/test/hole/002.png", np.dstack([grey] * 3 + [np.full_like(grey, 9)]))
    assert call(*run_on(tiny)).code == 0
    scores = {score.metric: score.value for score in read_scores(tiny.parent / "out/scores.csv")}
    assert scores["pixel_auroc"] == 1


def grey_mask(root: Path) -> None:
    path = root / "bolt/ground_truth/hole/001_mask.png"
    mask = np.asarray(Image.open(path)).copy()
    mask[7, 10:18] = 90
    save(path, mask)


def own_photo(root: Path) -> None:
    (root / "bolt/test/hole/photo.heic").write_bytes(b"")


@pytest.mark.parametrize(
    ("harm", "kind", "said"),
    [
        (grey_mask, "mask_grey", "1 of 6 masks hold grey levels between black and white, first bolt/test/hole/001: "),
        (own_photo, "files_left_out", "are left out, as they are not pictures by their endings, first bolt/test/hole"),
    ],
)
def test_what_is_odd_about_the_data_is_said_by_every_command_and_kept(
    call: Call, installed: Installed, tiny: Path, harm: Callable[[Path], None], kind: str, said: str
) -> None:
    harm(tiny)
    out, place = tiny.parent / "out", ("--dataset", "mvtec_ad", "--data-root", tiny)
    printed = [call("run", "--methods", "near", *place, "--out", out).out, (out / "report/findings.txt").read_text()]
    assert re.search(rf'<p class="warning">[^<]*{re.escape(said)}', unescape((out / "report/report.html").read_text()))
    printed.append(call("report", out, "--no-page", "--out", tiny.parent / "report").out)
    printed.append(call("eval", out / "maps/near", *place, "--out", tiny.parent / "eval").out)
    printed.append(
        call("audit", out / "maps/near", *place, "--protocols", "native", "--out", tiny.parent / "audit").out
    )
    for text in printed:
        assert " ".join(text.split()).count(said) == 1
    for folder in (out, tiny.parent / "eval"):
        assert kind in [
            found["kind"] for found in json.loads((folder / "run.json").read_text())["datasets"]["mvtec_ad"]["findings"]
        ]


def test_maps_are_scored_without_training_images_and_models_trained_without_test_images(
    call: Call, installed: Installed, tiny: Path
) -> None:
    assert call(*run_on(tiny, "--train-only", methods="near,far")).code == 0
    assert installed.diary == ["near fit 8", "far fit 8"]
    assert not (tiny.parent / "out/scores.csv").exists()
    assert call(*run_on(tiny, methods="near,far")).code == 0
    empty_training(tiny)
    maps = (tiny.parent / "out/maps/near", "--dataset", "mvtec_ad", "--data-root", tiny)
    assert call("eval", *maps, "--quiet", "--out", tiny.parent / "eval").code == 0
    assert read_scores(tiny.parent / "eval/scores.csv")[0].value == read_scores(tiny.parent / "out/scores.csv")[0].value
    shutil.rmtree(tiny / "nut")
    shutil.rmtree(tiny / "bolt/test")
    write_category(tiny, "nut")
    error = call(*run_on(tiny, "--train-only", methods="near=maps:nowhere")).error
    assert "--train-only trains live methods; leave out near" in error


def test_a_model_is_trained_where_there_is_no_test_folder(call: Call, installed: Installed, tiny: Path) -> None:
    for category in ("bolt", "nut"):
        shutil.rmtree(tiny / category / "test")
        shutil.rmtree(tiny / category / "ground_truth")
    assert "bolt/test holds no images" in call(*run_on(tiny)).error
    outcome = call(*[word for word in run_on(tiny, "--train-only") if word != "--quiet"])
    assert outcome.out == f"trained: {tiny.parent / 'out/training/near/mvtec_ad'}\n"


def test_a_report_reads_images_as_the_run_has(call: Call, installed: Installed, tiny: Path) -> None:
    for category in ("bolt", "nut"):
        for split in ("train", "test"):
            (tiny / category / split / "good").rename(tiny / category / split / "OK")
    assert "give --normal-folder OK" in call(*run_on(tiny)).error
    assert call(*run_on(tiny, "--normal-folder", "OK")).code == 0
    assert call("report", tiny.parent / "out", "--quiet").code == 0
    scores = {score.metric: score.value for score in read_scores(tiny.parent / "out/scores.csv")}
    assert scores["image_auroc"] == 1


def test_names_with_commas_and_paths_from_home_are_understood(
    call: Call, installed: Installed, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tiny.parent))
    (tiny / "nut").rename(tiny / "nut, M6")
    assert call(*run_on(tiny, "--categories", '"nut, M6"')).code == 0
    (tiny.parent / "out").rename(tiny.parent / "a,b")
    place = ("--dataset=mvtec_ad", "--data-root=~/tiny", "--out=~/again", "--categories", '"nut, M6"')
    assert call("run", "--quiet", "--no-page", "--methods", '"mine=maps:~/a,b/maps/near"', *place).code == 0
    assert {score.case.category for score in read_scores(tiny.parent / "again/scores.csv")} == {"nut, M6"}


def test_a_method_that_has_not_learned_is_named_kept_and_marked(call: Call, installed: Installed, tiny: Path) -> None:
    class Flat(Distance):
        """A model that stands still on one category."""

        def fit(self, train: Sequence[Sample]) -> None:
            super().fit(train)
            self.findings = [Finding(NOT_LEARNED, "has not learned: it is flat", Case(self.name, "mvtec_ad", "nut"))]

    installed.add(facts_of("flat", build=lambda options: Flat("flat", options)))
    out = tiny.parent / "out"
    words = ("run", "--methods", "near,flat", "--dataset", "mvtec_ad", "--data-root", tiny, "--out", out)
    for again in ((), ("--protocol", "native")):  # scored again, without training
        assert " ".join(call(*words, *again).out.split()).count("Flat, nut: has not learned: it is flat") == 1
        tables = (out / "report/tables.md").read_text()
        assert tables.count("<sup>a</sup> has not learned") > 3
        assert "nut: has not learned" in tables
        nut = next(line for line in tables.splitlines() if line.startswith("| nut"))
        assert nut.count("<sup>a</sup>") == 1
    assert json.loads((out / "run.json").read_text())["cases"]["flat/mvtec_ad"]["of_maps"][0]["kind"] == "not_learned"
    assert '<p class="warning">Flat, nut: has not learned' in unescape((out / "report/report.html").read_text())
