"""Thresholds of a run: found on normal images that are neither trained on nor scored, kept, and scored at."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import tifffile

from aseg_bench.datasets import Reading, find_samples
from aseg_bench.datasets.mvtec_ad_2 import light_of
from aseg_bench.images import read_image, read_mask
from aseg_bench.metrics import AT_THRESHOLD
from tests.conftest import run_on, save, write_category

LIGHTS = ("regular", "overexposed", "shift_1")


def write_ad_2(root, objects=("can", "vial"), seed=0):
    """A miniature MVTec AD 2: images of 24 x 32 pixels, a bright defect in the bad ones, no truth of private ones."""
    rng = np.random.default_rng(seed)

    def image(place, stem, is_bad=False):
        pixels = rng.normal(120, 20, (24, 32, 3)).clip(0, 255)
        if is_bad:
            pixels[8:12, 10:18] += 80
        save(place / f"{stem}.png", pixels.clip(0, 255))

    for name in objects:
        folder = root / name
        for index in range(4):
            image(folder / "train/good", f"{index:03}_regular")
        for index in range(3):
            image(folder / "validation/good", f"{index:03}_regular")
        for index, light in enumerate(LIGHTS):
            image(folder / "test_public/good", f"{index:03}_{light}")
            image(folder / "test_public/bad", f"{index:03}_{light}", is_bad=True)
            mask = np.zeros((24, 32))
            mask[8:12, 10:18] = 255
            save(folder / "test_public/ground_truth/bad" / f"{index:03}_{light}_mask.png", mask)
        for index in range(3):
            image(folder / "test_private", f"{index:03}_regular", is_bad=index == 1)
            image(folder / "test_private_mixed", f"{index:03}_mixed", is_bad=index == 1)
    return root


@pytest.fixture
def ad_2(tmp_path):
    return write_ad_2(tmp_path / "ad_2")


def run_ad_2(root, *words, methods="near"):
    return ("run", "--quiet", "--no-page", "--methods", methods, "--dataset", "mvtec_ad_2", "--data-root", root,
            "--out", root.parent / "out", *words)  # fmt: skip


def record_of(out, case):
    return json.loads((out / "run.json").read_text())["cases"][case]


def scores_of(out):
    frame = pd.read_csv(out / "scores.csv")
    return {(row.category, row.metric): row.value for row in frame.itertuples()}


def maps_in(out, method, dataset, category, place):
    folder = out / "maps" / method / dataset / category / place
    return {path.stem: tifffile.imread(path).astype(np.float64) for path in sorted(folder.rglob("*.tiff"))}


def test_a_threshold_is_found_on_the_validation_split_and_scored_at(call, installed, ad_2):
    out = ad_2.parent / "out"
    assert call(*run_ad_2(ad_2, "--threshold", "mean_3std")).code == 0
    assert installed.diary == ["near fit 8", "near predict 18"]  # 12 of the public test, 6 of the validation
    kept = record_of(out, "near/mvtec_ad_2")["threshold"]
    maps = {name: np.stack(list(maps_in(out, "near", "mvtec_ad_2", name, "validation").values()))
            for name in ("can", "vial")}  # fmt: skip
    expected = {name: of.mean() + 3 * of.std() for name, of in maps.items()}
    assert kept["categories"] == pytest.approx(expected)
    both = np.concatenate(list(maps.values()))
    assert kept["value"] == pytest.approx(both.mean() + 3 * both.std())
    assert (kept["rule"], kept["split"], kept["n_images"], kept["protocol"]) == ("mean_3std", "validation", 6, "exact")
    scores = scores_of(out)
    for name, threshold in kept["categories"].items():
        found = maps_in(out, "near", "mvtec_ad_2", name, "test/bad")
        masks = {
            stem: read_mask(ad_2 / name / "test_public/ground_truth/bad" / f"{stem}_mask.png") > 0 for stem in found
        }
        called = {stem: scores > threshold for stem, scores in found.items()}
        good = [scores > threshold for scores in maps_in(out, "near", "mvtec_ad_2", name, "test/good").values()]
        tp = sum(int((called[stem] & masks[stem]).sum()) for stem in found)
        fp = sum(int((called[stem] & ~masks[stem]).sum()) for stem in found) + sum(int(one.sum()) for one in good)
        fn = sum(int(mask.sum()) for mask in masks.values()) - tp
        assert scores[name, "seg_f1"] == pytest.approx(2 * tp / (2 * tp + fp + fn))
        assert scores[name, "recall_at_threshold"] == pytest.approx(tp / (tp + fn))
        assert scores[name, "fp_pixels_at_threshold"] == pytest.approx(np.mean([one.sum() for one in good]))
        assert scores[name, "seg_f1"] <= scores[name, "pixel_f1_max"] + 1e-12
    assert call("verify", out).code == 0


def test_a_threshold_never_sees_test_images(call, installed, ad_2):
    """Other test images, of any scores, leave every digit of the threshold as it is."""
    out = ad_2.parent / "out"
    assert call(*run_ad_2(ad_2, "--threshold", "max")).code == 0
    before = record_of(out, "near/mvtec_ad_2")["threshold"]
    for path in (ad_2 / "can/test_public").glob("[gb]*/*.png"):
        save(path, 255 - read_image(path))
    shutil.rmtree(out)
    assert call(*run_ad_2(ad_2, "--threshold", "max")).code == 0
    assert record_of(out, "near/mvtec_ad_2")["threshold"] == before


def test_a_threshold_is_found_on_clean_images_whatever_the_test_images_suffer(call, installed, ad_2):
    assert call(*run_ad_2(ad_2, "--threshold", "mean_3std")).code == 0
    assert call(*run_ad_2(ad_2, "--threshold", "mean_3std", "--dataset", "mvtec_ad_2+noise@5")).code == 0
    clean, noisy = (record_of(ad_2.parent / "out", f"near/mvtec_ad_2{end}")["threshold"] for end in ("", "+noise@5"))
    assert clean == noisy
    spoilt = find_samples("mvtec_ad_2+noise@5", ad_2, None, Reading(splits=["validation", "test_private"]))
    assert {one.split for one in spoilt if one.corruption} == {"test"}
    assert {light_of(one) for one in spoilt if one.split == "test"} == set(LIGHTS)


def test_without_a_validation_split_a_tenth_of_the_training_images_is_held_out(call, installed, tmp_path):
    root, out = tmp_path / "tiny", tmp_path / "out"
    write_category(root, "bolt", n_train=20)
    write_category(root, "nut", n_train=3)
    words = run_on(root, "--threshold", "max", methods="near,far")
    outcome = call(words[0], *words[2:])  # not quiet
    assert outcome.code == 0
    assert installed.diary == ["near fit 20", "near predict 13", "far fit 20", "far predict 13"]
    said = "3 of 23 training images were held out of the training, for the threshold"
    assert outcome.out.count(said) + (out / "run.json").read_text().count(said) >= 2
    held = {path.stem for path in (out / "maps/near/mvtec_ad/bolt/train/good").glob("*.tiff")}
    assert len(held) == 2
    assert held == {path.stem for path in (out / "maps/far/mvtec_ad/bolt/train/good").glob("*.tiff")}
    for method in ("near", "far"):
        case = record_of(out, f"{method}/mvtec_ad")
        assert (case["held_out"], case["threshold"]["split"], case["threshold"]["n_images"]) == (0.1, "train", 3)
        trained = [read_image(path) for path in sorted((root / "bolt/train/good").glob("*.png"))
                   if path.stem not in held]  # fmt: skip
        trained += [read_image(path) for path in sorted((root / "nut/train/good").glob("*.png"))
                    if not (out / f"maps/{method}/mvtec_ad/nut/train/good/{path.stem}.tiff").exists()]  # fmt: skip
        mean = np.mean(trained, axis=(0, 3))
        for stem, scores in maps_in(out, method, "mvtec_ad", "bolt", "train").items():
            image = read_image(root / "bolt/train/good" / f"{stem}.png").mean(axis=2)
            np.testing.assert_allclose(scores, np.abs(image - mean), rtol=1e-5)
        assert case["threshold"]["value"] == max(case["threshold"]["categories"].values())
    assert "with held_out 0.1, not 0.0" in call(*run_on(root)).error


def test_another_rule_trains_and_maps_nothing_again(call, installed, ad_2):
    out = ad_2.parent / "out"
    assert call(*run_ad_2(ad_2, "--threshold", "max")).code == 0
    done, first = list(installed.diary), scores_of(out)
    assert call(*run_ad_2(ad_2, "--threshold", "max")).code == 0
    assert scores_of(out) == first
    assert call(*run_ad_2(ad_2, "--threshold", "quantile_0.99")).code == 0
    assert installed.diary == done
    now = scores_of(out)
    assert now["can", "recall_at_threshold"] > first["can", "recall_at_threshold"]
    assert now["can", "pixel_ap"] == first["can", "pixel_ap"]
    assert call(*run_ad_2(ad_2)).code == 0  # without a rule, what was found stays
    assert scores_of(out) == now
    assert call(*run_ad_2(ad_2, "--protocol", "native")).code == 0
    assert ("can", "seg_f1") not in scores_of(out)  # it was found under another protocol
    assert call(*run_ad_2(ad_2, "--protocol", "native", "--threshold", "max")).code == 0
    assert record_of(out, "near/mvtec_ad_2")["threshold"]["protocol"] == "native"


def test_normal_images_that_change_under_their_names_give_another_threshold(call, installed, ad_2):
    out, words = ad_2.parent / "out", run_ad_2(ad_2, "--threshold", "max")
    assert call(*words).code == 0
    first = record_of(out, "near/mvtec_ad_2")["threshold"]["categories"]
    spoil(ad_2)
    outcome = call("verify", out)
    assert outcome.code == 1
    assert "near on mvtec_ad_2: the normal images of its threshold have changed" in outcome.out
    assert call(*run_ad_2(ad_2)).code == 0  # without a rule nobody reads them
    assert installed.diary == ["near fit 8", "near predict 18"]
    outcome = call(*words)
    assert outcome.code == 0
    assert "the normal images of the threshold have changed: near makes its maps again" in outcome.err
    found = record_of(out, "near/mvtec_ad_2")["threshold"]["categories"]
    maps = maps_in(out, "near", "mvtec_ad_2", "can", "validation").values()
    assert found == {"can": max(one.max() for one in maps), "vial": first["vial"]} != first
    assert call("verify", out).code == 0
    assert not call(*words).err
    assert len(installed.diary) == 4


def spoil(root):
    path = root / "can/validation/good/001_regular.png"
    save(path, 255 - read_image(path))


def test_a_threshold_follows_from_the_maps_that_the_run_has_kept(call, installed, ad_2):
    out = ad_2.parent / "out"
    assert call(*run_ad_2(ad_2, "--threshold", "max")).code == 0
    whole = json.loads((out / "run.json").read_text())
    file = out / "maps/near/mvtec_ad_2/vial/validation/good/001_regular.tiff"
    scores, said = tifffile.imread(file), "near, mvtec_ad_2 vial, threshold max: "
    tifffile.imwrite(file, 2 * scores)
    assert said in call("verify", out).out
    file.unlink()
    assert "near on mvtec_ad_2: its threshold cannot be found again: near has no map" in call("verify", out).out
    tifffile.imwrite(file, scores)
    assert said not in call("verify", out).out
    found = whole["cases"]["near/mvtec_ad_2"]["threshold"]
    for place, key, text in (
        (found["categories"], "vial", said),
        (found, "value", "near, mvtec_ad_2, threshold max: "),
    ):
        before, place[key] = place[key], 1.5
        (out / "run.json").write_text(json.dumps(whole))
        assert f"{text}1.5 is now {before}" in call("verify", out).out
        place[key] = before


def test_a_held_out_threshold_is_found_again_too(call, installed, tiny):
    assert call(*run_on(tiny, "--threshold", "mean_3std")).code == 0
    assert call("verify", tiny.parent / "out").code == 0
    maps = sorted((tiny.parent / "out/maps/near/mvtec_ad/bolt/train").rglob("*.tiff"))
    tifffile.imwrite(maps[0], tifffile.imread(maps[0]) + 1)
    assert "near, mvtec_ad bolt, threshold mean_3std: " in call("verify", tiny.parent / "out").out


def test_thresholds_on_other_images_are_not_compared(call, installed, ad_2):
    for seed in range(2):
        words = ("--threshold", "max", "--seed", seed, "--out", ad_2.parent / f"out{seed}")
        assert call(*run_ad_2(ad_2, *words)).code == 0
        spoil(ad_2)
    both = (ad_2.parent / "out0", ad_2.parent / "out1")
    assert "with normal_checksum " in call("report", *both, "--no-page").error
    error = call("gate", both[0], "--against", both[1], "--metrics", "pixel_ap,seg_f1").error
    assert "with normal_checksum " in error
    assert call("gate", both[0], "--against", both[1], "--metrics", "pixel_ap").code == 0


def test_a_threshold_may_come_later(call, installed, ad_2):
    assert call(*run_ad_2(ad_2)).code == 0
    assert ("can", "seg_f1") not in scores_of(ad_2.parent / "out")
    assert call(*run_ad_2(ad_2, "--threshold", "max")).code == 0
    assert ("can", "seg_f1") in scores_of(ad_2.parent / "out")


def test_maps_of_other_code_bring_those_of_the_validation_images(call, installed, ad_2):
    out = ad_2.parent / "out"
    assert call(*run_ad_2(ad_2, "--threshold", "max")).code == 0
    dump = ad_2.parent / "dump"
    shutil.copytree(out / "maps/near/mvtec_ad_2", dump, ignore=shutil.ignore_patterns(".*"))
    assert call(*run_ad_2(ad_2, "--threshold", "max", methods=f"mapped=maps:{dump}")).code == 0
    assert record_of(out, "mapped/mvtec_ad_2")["threshold"] == record_of(out, "near/mvtec_ad_2")["threshold"]
    shutil.rmtree(dump / "can/validation")
    shutil.rmtree(out)
    error = call(*run_ad_2(ad_2, "--threshold", "max", methods=f"mapped=maps:{dump}")).error
    assert "can/validation/good/000_regular" in error
    assert not out.exists()


def test_what_cannot_have_a_threshold_is_refused_before_the_work(call, installed, tiny, tmp_path):
    assert "no threshold rule maxi; did you mean max?" in call(*run_on(tiny, "--threshold", "maxi")).error
    error = call(*run_on(tiny, "--threshold", "max", "--protocol", "anomalib_2_7")).error
    assert "rescales maps by the scores of the test images, and --threshold needs scores as they are" in error
    dump = tmp_path / "dump"
    dump.mkdir()
    save(dump / "x.tiff", np.zeros((4, 4)))
    error = call(*run_on(tiny, "--threshold", "max", methods=f"mapped=maps:{dump}")).error
    assert "mvtec_ad has no validation split" in error
    shutil.rmtree(tiny / "nut")
    write_category(tiny, "nut", n_train=1)
    assert "nut has one training image" in call(*run_on(tiny, "--threshold", "max")).error
    assert installed.diary == []


def test_named_metrics_at_a_threshold_without_one_say_why(call, installed, tiny):
    assert call(*run_on(tiny, "--metrics", ",".join(AT_THRESHOLD))).code == 0
    reasons = set(pd.read_csv(tiny.parent / "out/scores.csv")["undefined_because"])
    assert "no threshold was found on normal images" in reasons


def test_the_report_has_them_beside_the_best_f1_and_says_how_they_were_found(call, installed, ad_2):
    out = ad_2.parent / "out"
    words = run_ad_2(ad_2, "--threshold", "mean_3std", methods="near,far")
    assert call(words[0], *words[2:]).code == 0
    tables = (out / "report/tables.md").read_text()
    assert "mean + 3 deviations on 6 normal images of the validation split." in tables
    assert "The thresholds of DSC and Best F1 are chosen on the test images; that of SegF1 is found on" in tables
    assert call(*run_ad_2(ad_2, "--threshold", "max", methods="far")).code == 0
    shown = call("report", out, "--tables", "thresholds", "--no-page").out
    assert "| Method" not in shown
    said = " ".join(shown.split())
    ways = ("mean + 3 deviations on 6 normal images of the validation split (Near)", "(Far)", "maximum on 6 normal")
    for text in (*ways, "SegF1", "Best F1", "Boundary IoU", "shares in per cent"):
        assert text in said


def test_the_report_has_the_seg_f1_of_each_light(call, installed, ad_2):
    out = ad_2.parent / "out"
    words = (*run_ad_2(ad_2, "--threshold", "quantile_0.95"), "--page")
    assert call(*(word for word in words if word != "--no-page")).code == 0
    kept = record_of(out, "near/mvtec_ad_2")["threshold"]["categories"]
    f1 = {light: [] for light in LIGHTS}
    for name, threshold in kept.items():
        good, bad = (maps_in(out, "near", "mvtec_ad_2", name, f"test/{kind}") for kind in ("good", "bad"))
        for stem, scores in bad.items():
            mask = read_mask(ad_2 / name / "test_public/ground_truth/bad" / f"{stem}_mask.png") > 0
            called, tp = scores > threshold, ((scores > threshold) & mask).sum()
            fp = (called & ~mask).sum() + (good[stem] > threshold).sum()
            f1[stem.partition("_")[2]].append(2 * tp / (tp + fp + mask.sum()))
    tables = pd.read_csv(out / "report/tables.csv")
    shown = tables[tables["table"] == "lights_mvtec_ad_2"]
    found = {row.row: float(row.text) for row in shown.itertuples()}
    assert found == pytest.approx({light: 100 * np.mean(values) for light, values in f1.items()}, abs=0.005)
    assert list(found) == sorted(LIGHTS)
    cost = tables[(tables["table"] == "cost") & (tables["column"] == "ms per image")]
    seconds = record_of(out, "near/mvtec_ad_2")["seconds"]["predict"]
    assert [float(text) for text in cost["text"]] == pytest.approx([1000 * seconds / 18], abs=0.05)  # 12 and 6 images


def test_runs_with_other_rules_are_not_seeds_of_one_another(call, installed, ad_2):
    for seed, rule in enumerate(("max", "mean_3std")):
        words = run_ad_2(ad_2, "--threshold", rule, "--seed", seed, "--out", ad_2.parent / f"out{seed}")
        assert call(*words).code == 0
    both = (ad_2.parent / "out0", ad_2.parent / "out1")
    assert "with threshold mean_3std and max; only seeds can be merged" in call("report", *both, "--no-page").error


def test_a_dry_run_says_on_which_images(call, installed, ad_2):
    outcome = call(*(word for word in run_ad_2(ad_2, "--threshold", "max", "--dry-run") if word != "--quiet"))
    assert "the threshold is found on 6 normal images of the validation split, by max" in outcome.out
    assert "maps 18 images" in outcome.out


def test_a_list_of_files_may_name_a_validation_split(call, installed, ad_2, tmp_path):
    lines = ["image,split,mask,category"]
    for path in sorted(ad_2.glob("can/*/good/*.png")) + sorted(ad_2.glob("can/test_public/bad/*.png")):
        split = path.relative_to(ad_2).parts[1].replace("test_public", "test")
        mask = ad_2 / "can/test_public/ground_truth/bad" / f"{path.stem}_mask.png" if "bad" in path.parts else ""
        lines.append(f"{path},{split},{mask},can")
    for name, kept in (("with", lines), ("without", [line for line in lines if ",validation," not in line])):
        (tmp_path / f"{name}.csv").write_text("\n".join(kept) + "\n")
        words = ("--dataset", "manifest", "--data-root", tmp_path / f"{name}.csv", "--out", tmp_path / name)
        run = ("run", "--methods", "near", "--quiet", "--no-page", "--threshold", "max", *words)
        assert call(*run).code == 0
    kept = {name: record_of(tmp_path / name, "near/manifest")["threshold"] for name in ("with", "without")}
    assert (kept["with"]["split"], kept["with"]["n_images"]) == ("validation", 3)
    assert (kept["without"]["split"], kept["without"]["n_images"]) == ("train", 1)
    others = [line.removesuffix(",can") + ",cap" for line in lines[1:] if ",validation," not in line]
    (tmp_path / "some.csv").write_text(
        "\n".join([*lines, *(line.replace("/can/", "/vial/") for line in others)]) + "\n"
    )
    words = ("--dataset", "manifest", "--data-root", tmp_path / "some.csv", "--out", tmp_path / "some")
    error = call("run", "--methods", "near", "--threshold", "max", *words).error
    assert "validation images of some categories and none of cap" in error
    assert not (tmp_path / "some").exists()


def test_a_damaged_threshold_in_the_record_is_one_error(call, installed, ad_2):
    out = ad_2.parent / "out"
    assert call(*run_ad_2(ad_2, "--threshold", "max")).code == 0
    whole = json.loads((out / "run.json").read_text())
    for damaged in ({"rule": "max"}, 0.5, {**whole["cases"]["near/mvtec_ad_2"]["threshold"], "value": "high"}):
        whole["cases"]["near/mvtec_ad_2"]["threshold"] = damaged
        (out / "run.json").write_text(json.dumps(whole))
        assert "run.json is damaged" in call("report", out, "--no-page").error
