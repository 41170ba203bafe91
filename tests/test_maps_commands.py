"""eval, audit and ``run NAME=maps:PATH`` on the command line."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from aseg_bench.cli import main
from aseg_bench.runs.scores import read_scores


@pytest.fixture
def data(tmp_path: Path) -> tuple[Path, Path]:
    """A data set of one category in MVTec's layout, and UniAD's dump for it."""
    rng = np.random.default_rng(0)
    root, dump = tmp_path / "data", tmp_path / "dump"
    dump.mkdir()
    for split, defect, count in (("train", "good", 1), ("test", "good", 2), ("test", "cut", 3)):
        for index in range(count):
            image = root / "bottle" / split / defect / f"{index}.png"
            image.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(image)
            mask = np.zeros((32, 32), np.uint8)
            if defect == "cut":
                mask[5 + index : 9, 4:20] = 255
                path = root / "bottle" / "ground_truth" / defect / f"{index}_mask.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(mask).save(path)
            if split == "test":
                np.savez(
                    dump / f"bottle_{defect}_{index}.npz", filename=f"bottle/test/{defect}/{index}.png",
                    clsname="bottle", pred=(rng.random((1, 32, 32)) + mask / 200).astype(np.float32),
                    mask=(mask[None] / 255).astype(np.float32),
                )  # fmt: skip
    return root, dump


def call(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["aseg-bench", *map(str, words)])
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def test_eval_and_run_give_the_same_scores_for_the_same_maps(
    tmp_path: Path, data: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, dump = data
    place = ("--dataset", "mvtec_ad", "--data-root", root)
    assert call(monkeypatch, "eval", dump, "--out", tmp_path / "own", "--name", "mine", "--quiet") == 0
    assert call(monkeypatch, "eval", dump, *place, "--out", tmp_path / "eval", "--name", "mine", "--quiet") == 0
    assert call(monkeypatch, "run", "--methods", f"mine=maps:{dump}", *place, "--out", tmp_path / "run", "--quiet") == 0
    own, evaluated, ran = (
        {(score.case.category, score.metric): score.value for score in read_scores(tmp_path / name / "scores.csv")}
        for name in ("own", "eval", "run")
    )
    assert evaluated == ran == own
    assert (tmp_path / "eval" / "report" / "tables.md").is_file()


def test_a_folder_of_scores_refuses_a_second_protocol_unless_mixed(
    tmp_path: Path, data: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, dump = data
    out = ("--out", tmp_path / "out", "--quiet")
    assert call(monkeypatch, "eval", dump, "--name", "a", *out) == 0
    with monkeypatch.context() as patch:
        patch.delattr("aseg_bench.scoring.dumps.score_category")  # it is refused before any work
        assert call(patch, "eval", dump, "--name", "b", "--protocol", "rd4ad", *out) == 2
    assert "--mixed" in capsys.readouterr().err
    assert {score.case.method for score in read_scores(tmp_path / "out" / "scores.csv")} == {"a"}
    assert call(monkeypatch, "eval", dump, "--name", "b", "--protocol", "rd4ad", "--mixed", *out) == 0
    scores = read_scores(tmp_path / "out" / "scores.csv")
    assert {(score.case.method, score.protocol) for score in scores} == {("a", "exact"), ("b", "rd4ad@2")}


@pytest.mark.parametrize("name", ["", " ", "a/b", "../a", "a\nb", "\x1b[1m"])
def test_what_names_no_folder_names_no_evaluated_maps(
    tmp_path: Path,
    data: tuple[Path, Path],
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _, dump = data
    assert call(monkeypatch, "eval", dump, "--name", name, "--out", tmp_path / "out") == 2
    assert f"{name!r} cannot name a method" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_evaluated_maps_do_not_take_the_name_of_a_method_of_the_run(
    tmp_path: Path, data: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root, dump = data
    out = tmp_path / "out"
    place = ("--dataset", "mvtec_ad", "--data-root", root, "--out", out, "--quiet")
    assert call(monkeypatch, "run", "--methods", f"mine=maps:{dump}", "--no-page", *place) == 0
    before = (out / "scores.csv").read_bytes()
    assert call(monkeypatch, "eval", dump, "--name", "mine", *place) == 2
    assert "holds the maps of a method mine already; choose another --name or --out" in capsys.readouterr().err
    (out / "run.json").unlink()
    assert call(monkeypatch, "eval", dump, "--name", "mine", *place) == 2
    assert (out / "scores.csv").read_bytes() == before
    assert call(monkeypatch, "eval", dump, "--name", "other", *place) == 0
    assert call(monkeypatch, "eval", dump, "--name", "other", *place) == 0  # evaluated maps may be evaluated again


def test_evaluated_maps_of_other_images_do_not_enter_one_folder(
    tmp_path: Path, data: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root, dump = data
    out, other = tmp_path / "out", tmp_path / "other"
    words = ("--dataset", "mvtec_ad", "--quiet", "--out", out, "--data-root")
    shutil.copytree(root, other)
    Image.new("RGB", (32, 32)).save(other / "bottle/test/good/0.png")
    assert call(monkeypatch, "eval", dump, *words, root, "--name", "a") == 0
    facts = json.loads((out / "run.json").read_text())["datasets"]["mvtec_ad"]
    assert (facts["root"], facts["categories"], facts["n_train"], facts["n_test"]) == (str(root), ["bottle"], 1, 5)
    before = (out / "scores.csv").read_bytes()
    for command in (["eval", dump, "--name", "b"], ["run", "--methods", f"b=maps:{dump}"]):
        assert call(monkeypatch, *command, *words, other) == 2
        assert "holds a on other images or categories of mvtec_ad; choose another --out" in capsys.readouterr().err
    assert (out / "scores.csv").read_bytes() == before
    assert call(monkeypatch, "run", "--methods", f"b=maps:{dump}", "--no-page", *words, root) == 0
    assert call(monkeypatch, "report", out, "--quiet", "--no-page") == 0
    assert call(monkeypatch, "eval", dump, *words, other, "--name", "a") == 2
    assert "holds b on other images" in capsys.readouterr().err
    assert call(monkeypatch, "eval", dump, "--quiet", "--out", tmp_path / "own") == 0
    record = json.loads((tmp_path / "own" / "run.json").read_text())
    assert (record["datasets"], record["cases"]["maps/maps"]["data"]) == ({}, "")  # the truth came with the maps


def test_audit_writes_table_csv_and_plot(
    tmp_path: Path, data: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, dump = data
    out = tmp_path / "[b]" / "a[/x]"
    assert call(monkeypatch, "audit", dump, "--protocols", "exact,uniad,adeval1000", "--out", out) == 0
    said = capsys.readouterr().out
    assert "adeval1000" in said
    assert f"written: {out / 'audit.csv'}" in said
    assert {path.name for path in out.iterdir()} == {"audit.csv", "audit.md", "audit.svg"}


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["eval", "nowhere"], "there is no file or folder nowhere"),
        (["eval", ".", "--protocol", "unia"], "did you mean"),
        (["eval", ".", "--data-root", "."], "--data-root needs --dataset"),
        (["run", "--methods", "a=dump"], "is not NAME, NAME=maps:PATH or NAME=checkpoint:FILE"),
        (["audit", ".", "--protocols", "nothing"], "no protocol"),
    ],
)
def test_mistakes_on_the_command_line_are_one_line(
    words: list[str], complaint: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, *words) == 2
    error = capsys.readouterr().err
    assert complaint in error
    assert "Traceback" not in error


def test_a_mask_rule_goes_from_the_command_to_every_table(
    tmp_path: Path, data: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Masks with 1 where anomalous and 255 where void have the scores of the rest, in run, eval, report and compare."""
    root, dump = data
    for path in (root / "bottle/ground_truth/cut").iterdir():
        mask = np.asarray(Image.open(path)) // 255
        mask[20:, :] = 255
        Image.fromarray(mask).save(path)
    place = ("--dataset", "mvtec_ad", "--data-root", root, "--quiet")
    rule, stamp = ("--mask-rule", "=1 ignore=255"), "exact[=1 ignore=255]"
    for name, way in (("a", ("run", "--methods", f"a=maps:{dump}")), ("b", ("eval", dump, "--name", "b"))):
        assert call(monkeypatch, *way, *place, *rule, "--out", tmp_path / name) == 0
    ran, evaluated = (
        {(score.metric, score.protocol): score.value for score in read_scores(tmp_path / name / "scores.csv")}
        for name in ("a", "b")
    )
    assert ran == evaluated
    maps = [np.load(dump / f"bottle_{kind}_{i}.npz") for kind, n in (("good", 2), ("cut", 3)) for i in range(n)]
    rows = [slice(None)] * 2 + [slice(0, 20)] * 3
    truth = np.concatenate([of["mask"][0, row].ravel() > 0 for of, row in zip(maps, rows, strict=True)])
    scores = np.concatenate([of["pred"][0, row].ravel() for of, row in zip(maps, rows, strict=True)])
    assert ran["pixel_auroc", stamp] == pytest.approx(roc_auc_score(truth, scores), abs=1e-12)
    assert ran["anomaly_rate", stamp] == pytest.approx(truth.mean(), abs=1e-12)

    run = ("run", "--methods", f"a=maps:{dump}", *place)
    before = (tmp_path / "a/scores.csv").read_bytes()
    assert call(monkeypatch, *run, *rule, "--out", tmp_path / "a") == 0  # nothing to do
    assert (tmp_path / "a/scores.csv").read_bytes() == before
    assert call(monkeypatch, "run", "--methods", f"c=maps:{dump}", *place, "--out", tmp_path / "a") == 2
    assert "--mixed" in capsys.readouterr().err
    assert call(monkeypatch, "run", "--methods", f"c=maps:{dump}", *place, "--mixed", "--out", tmp_path / "a") == 0
    tables = (tmp_path / "a/report/tables.md").read_text()
    assert r"a \[exact\[=1 ignore=255\]\]" in tables
    assert r"c \[exact\]" in tables
    assert "{[}exact{[}=1 ignore=255]]" in (tmp_path / "a/report/tables.tex").read_text()
    assert "exact[=1 ignore=255]" in (tmp_path / "a/report/tables.html").read_text()
    assert call(monkeypatch, *run, "--out", tmp_path / "a2", *rule, "--methods", f"a=maps:{dump},d=maps:{dump}") == 0
    assert call(monkeypatch, "compare", tmp_path / "a2", "--out", tmp_path / "compared", "--quiet") == 0
    assert call(monkeypatch, *run, "--out", tmp_path / "a2") == 2  # d stays under the rule
    assert call(monkeypatch, "report", tmp_path / "a2", "--out", tmp_path / "report", "--quiet") == 0


def test_masks_that_travel_with_maps_are_questioned(
    tmp_path: Path, data: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, dump = data
    for path in dump.glob("bottle_cut_*.npz"):
        stored = dict(np.load(path))
        np.savez(path, **stored | {"mask": stored["mask"] * 0.5 + (stored["pred"] == stored["pred"].max())})
    said = "of 3 masks hold grey levels between black and white, first bottle/test/cut/"
    for words in (("eval", dump), ("audit", dump, "--protocols", "exact")):
        assert call(monkeypatch, *words, "--out", tmp_path / words[0]) == 0
        assert " ".join(capsys.readouterr().out.split()).count(said) == 1


def test_an_audit_under_a_mask_rule_stands_on_the_exact_protocol_under_it(
    tmp_path: Path, data: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, dump = data  # masks of 0 and 1 travel with the maps
    out = ("--out", tmp_path / "audit", "--quiet")
    assert call(monkeypatch, "audit", dump, "--mask-rule", "ignore=1", *out) == 2
    assert "knows no void pixels" in capsys.readouterr().err
    assert call(monkeypatch, "audit", dump, "--mask-rule", ">0.5", "--protocols", "exact,native,rd4ad", *out) == 0
    ruled = pd.read_csv(tmp_path / "audit/audit.csv")
    assert set(ruled["protocol"]) == {"exact[>0.5]", "native[>0.5]", "rd4ad[>0.5]"}
    assert (ruled[ruled["protocol"] == "exact[>0.5]"]["points"] == 0).all()
    assert call(monkeypatch, "audit", dump, "--protocols", "exact,native,rd4ad", *out) == 0
    plain = pd.read_csv(tmp_path / "audit/audit.csv")
    assert ruled["value"].tolist() == plain["value"].tolist()  # 0 and 1 mean the same by both rules
    assert call(monkeypatch, "eval", dump, "--mask-rule", "127", *out) == 2
    assert "the mask rule '127' has no meaning" in capsys.readouterr().err


def test_maps_are_not_called_inverted_where_the_mask_rule_turns_the_truth(
    tmp_path: Path, data: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root, dump = data
    large = np.zeros((32, 32), np.uint8)
    large[5:25] = 255
    for path in (root / "bottle/ground_truth/cut").iterdir():
        Image.fromarray(255 - large).save(path)  # white means normal
    for path in dump.glob("bottle_cut_*.npz"):
        stored = dict(np.load(path))
        np.savez(path, **stored | {"pred": stored["pred"] + large / np.float32(50)})
    words = ("eval", dump, "--dataset", "mvtec_ad", "--data-root", root, "--out", tmp_path / "out")
    assert call(monkeypatch, *words) == 0
    assert "do these mark what is normal?" in " ".join(capsys.readouterr().out.split())
    assert call(monkeypatch, *words, "--mask-rule", "=0", "--out", tmp_path / "ruled") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "mark what is normal" not in said
    assert "negate them" not in said


def test_what_looks_wrong_in_maps_is_told_and_kept_by_every_command(
    tmp_path: Path, data: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root, _ = data
    dump = tmp_path / "odd"
    for index, image in enumerate(sorted((root / "bottle" / "test").rglob("*.png"))):
        file = dump / image.relative_to(root).with_suffix(".npy")
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(file, np.full((32, 32), index, np.float32))
    (dump / "notes.txt").write_text("")
    place = ("--dataset", "mvtec_ad", "--data-root", root)
    texts = ("5 of 5 maps are constant", "1 files hold no map and were left out, first ")
    ran = ("run", "--methods", f"mine=maps:{dump}", *place, "--out", tmp_path / "run")
    for words in (
        ("eval", dump, *place, "--out", tmp_path / "eval", "--name", "mine"),
        ran,
        (*ran, "--protocol", "native"),  # scored again, with the maps as they are
        ("audit", dump, *place, "--protocols", "exact", "--out", tmp_path / "audit"),
    ):
        assert call(monkeypatch, *words) == 0
        said = " ".join(capsys.readouterr().out.split())
        assert all(text in said for text in texts), words
    page = (tmp_path / "run" / "report" / "report.html").read_text(encoding="utf-8")
    record = (tmp_path / "run" / "run.json").read_text()
    assert all(text in page and text in record for text in texts)


def test_run_reads_pickles_and_clamped_maps_and_keeps_limits_as_eval_does(
    tmp_path: Path, data: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    torch = pytest.importorskip("torch")
    root, dump = data
    saved = tmp_path / "batches.pt"
    parts = [np.load(file) for file in sorted(dump.iterdir())]
    batch = {"anomaly_map": torch.from_numpy(np.concatenate([part["pred"].clip(0, 1) for part in parts])).bfloat16(),
             "image_path": [str(part["filename"]) for part in parts]}  # fmt: skip
    torch.save([batch], saved)
    place = ("--dataset", "mvtec_ad", "--data-root", root, "--quiet")
    ran = ("run", "--no-page", "--methods", f"mine=maps:{saved}", *place, "--out", tmp_path / "run")
    for more, complaint in (([], "--allow-pickle"), (["--allow-pickle"], "--allow-clamped"),
                            (["--allow-pickle", "--max-gib", 0.001, "--allow-clamped"], "")):  # fmt: skip
        assert call(monkeypatch, *ran, *more) == (2 if complaint else 0)
        assert complaint in capsys.readouterr().err
    trusted = ("--allow-pickle", "--allow-clamped", "--name", "mine")
    assert call(monkeypatch, "eval", saved, *place, *trusted, "--out", tmp_path / "eval") == 0
    evaluated, scored = (
        {(score.case.category, score.metric): score.value for score in read_scores(tmp_path / name / "scores.csv")}
        for name in ("eval", "run")
    )
    assert evaluated == scored
    np.savez(tmp_path / "large.npz", anomaly_map=np.zeros((300, 32, 32)), image_path=["a"] * 300)
    large = ("run", "--no-page", "--methods", f"large=maps:{tmp_path / 'large.npz'}", *place, "--out", tmp_path / "x")
    assert call(monkeypatch, *large, "--max-gib", 0.001) == 2
    assert "raise --max-gib" in capsys.readouterr().err


def remembered(out: Path) -> list[str]:
    return (out / "report" / "findings.txt").read_text(encoding="utf-8").splitlines()


def test_pictures_without_a_mask_enter_image_metrics_alone_in_every_command(
    tmp_path: Path, data: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root, dump = data
    (root / "bottle/ground_truth/cut/1_mask.png").unlink()
    stored = {file.name: np.load(file) for file in dump.iterdir()}
    known = [one for name, one in stored.items() if name != "bottle_cut_1.npz"]
    truth, scores = (np.concatenate([one[key].ravel() for one in known]) for key in ("mask", "pred"))
    by_hand = {
        "pixel_auroc": roc_auc_score(truth > 0, scores),
        "image_auroc": roc_auc_score(
            ["cut" in name for name in stored], [one["pred"].max() for one in stored.values()]
        ),
    }
    place = ("--dataset", "mvtec_ad", "--data-root", root, "--image-level", "--quiet")
    commands = {"eval": ("eval", dump), "run": ("run", "--no-page", "--methods", f"mine=maps:{dump}")}
    for name, command in commands.items():
        out = tmp_path / name
        assert call(monkeypatch, *command, *place, "--out", out) == 0
        made = {score.metric: score.value for score in read_scores(out / "scores.csv")}
        assert {key: made[key] for key in by_hand} == pytest.approx(by_hand)
        assert any("1 of 3 pictures that show a defect have no mask" in text for text in remembered(out))
        with monkeypatch.context() as patch:
            patch.delattr("aseg_bench.predictions.maps_method.MapsMethod.predict")  # it is refused before any work
            assert call(patch, *command, *place, "--protocol", "uniad", "--out", tmp_path / f"{name}2") == 2
        assert "which the protocol uniad does not know" in capsys.readouterr().err


def test_a_mask_of_another_size_than_its_picture_is_refused_by_every_command(
    tmp_path: Path, data: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root, dump = data
    mask = root / "bottle/ground_truth/cut/1_mask.png"
    Image.fromarray(np.zeros((20, 40), np.uint8)).save(mask)
    place = ("--dataset", "mvtec_ad", "--data-root", root, "--out", tmp_path / "out", "--quiet")
    for command in (["eval", dump], ["audit", dump], ["run", "--methods", f"mine=maps:{dump}"]):
        assert call(monkeypatch, *command, *place) == 2
        assert f"mask {mask} is 40 x 20 pixels but its image 32 x 32" in capsys.readouterr().err


def test_an_audit_does_not_call_training_images_left_out(
    tmp_path: Path, data: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root, dump = data
    words = (
        "audit",
        dump,
        "--dataset",
        "mvtec_ad",
        "--data-root",
        root,
        "--protocols",
        "exact",
        "--out",
        tmp_path / "a",
    )
    assert call(monkeypatch, *words) == 0
    assert "left out" not in capsys.readouterr().out


def test_a_run_that_goes_on_under_another_mask_rule_says_what_is_odd_under_that(
    tmp_path: Path, data: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, dump = data
    for path in (root / "bottle/ground_truth/cut").iterdir():
        Image.fromarray(255 - np.asarray(Image.open(path))).save(path)  # white means normal
    for path in dump.glob("bottle_good_*.npz"):
        stored = dict(np.load(path))
        np.savez(path, **stored | {"pred": stored["pred"] + 1})
    out = tmp_path / "out"
    words = ("run", "--methods", f"mine=maps:{dump}", "--dataset", "mvtec_ad", "--data-root", root, "--out", out)
    for rule, is_odd in ((">0", True), ("=0", False), (">0", True)):
        assert call(monkeypatch, *words, "--no-page", "--quiet", "--mask-rule", rule) == 0
        said = "\n".join(remembered(out))
        assert ("call most of the picture" in said) == ("do these mark what is normal?" in said) == is_odd
