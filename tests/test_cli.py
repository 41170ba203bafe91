import ast
import html
import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import numpy as np
import pytest
import tifffile

from aseg_bench import __version__
from aseg_bench.cli import COMMANDS, name_of
from aseg_bench.errors import how_to_install
from aseg_bench.runs.scores import read_scores
from tests.conftest import Call, Installed, Outcome, all_commands, facts_of, run_on
from tests.test_house import PACKAGES, ROOT


def test_a_run_prints_the_papers_tables_and_where_the_rest_is(call: Call, installed: Installed, tiny: Path) -> None:
    out = tiny.parent / "out"
    place = ("--dataset", "mvtec_ad", "--data-root", tiny, "--categories", "nut", "--out", out)
    outcome = call("run", "--methods", "near,far", *place)
    assert outcome.code == 0
    (heads,) = [line.split("  ") for line in outcome.out.splitlines() if "Method " in line]
    assert {"Pixel AUROC", "Pixel AP", "AUPRO", "DSC", "Best F1"} <= {head.strip() for head in heads}
    assert all(str(out / name) in outcome.out.splitlines() for name in ("scores.csv", "report/report.html"))
    files = {"tables.md", "tables.tex", "tables.html", "tables.csv", "figures", "report.html"}
    assert {path.name for path in (out / "report").iterdir()} >= files
    assert "scoring near" in outcome.err


def test_a_quiet_run_says_nothing(call: Call, installed: Installed, tiny: Path) -> None:
    assert call(*run_on(tiny)) == Outcome(0, "", "")


def test_runs_of_one_data_set_share_a_folder_without_out(
    call: Call, installed: Installed, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tiny.parent)
    call("run", "--quiet", "--no-page", "--methods", "near", "--dataset", "mvtec_ad", "--data-root", tiny)
    assert (tiny.parent / "runs" / "mvtec_ad" / "scores.csv").is_file()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--methods", "neer"), "no method neer; did you mean near?"),
        (("--methods", "mapped"), "Mapped has no live model of its own here; score the maps of its official code"),
        (("--methods", "near,near"), "--methods names near twice; name each once"),
        (("--methods", ","), "--methods names nothing; give names separated by commas"),
        (("--methods", "a=maps:x,a=maps:y"), "a method is named twice in a, a"),
        (("--methods", "near=model.pt"), "near=model.pt is not NAME, NAME=maps:PATH or NAME=checkpoint:FILE"),
        (("--methods", "other=maps:nowhere"), "there is no file or folder nowhere"),
        (("--methods", "../far=maps:nowhere"), "'../far' cannot name a method"),
        (("--dataset", "mvtec"), "no data set mvtec; did you mean mvtec_ad"),
        (("--categories", "bolts"), "did you mean bolt?"),
        (("--categories", ""), "--categories names nothing"),
        (("--data-root", "nowhere"), "the data root nowhere does not exist"),
        (("--map-size", "images"), "no map size images; did you mean image?"),
        (("--protocol", "exakt"), "no protocol is named exakt; did you mean exact"),
        (("--set", "n_steps=3"), "--set n_steps=3 is not METHOD.FIELD=VALUE"),
        (("--set", "far.n_steps=3"), "--set far."),
        (("--dataset", "demo"), "demo needs no --data-root"),
    ],
)
def test_a_wrong_word_is_one_error_before_any_work(
    call: Call, installed: Installed, tiny: Path, words: tuple[str, str], said: str
) -> None:
    assert said in call(*run_on(tiny), *words).error
    assert installed.diary == []
    assert not (tiny.parent / "out").exists()


def test_a_needed_root_is_asked_for(call: Call, installed: Installed) -> None:
    outcome = call("run", "--methods", "near", "--dataset", "mvtec_ad")
    assert outcome.error.endswith("say where it lies with --data-root FOLDER")


@pytest.mark.parametrize(
    ("command", "place"),
    [
        ("report", "reporting.report.read_results"),
        ("compare", "reporting.comparison.read_results"),
        ("eval", "runs.sources.import_maps"),
        ("audit", "reporting.audit.import_maps"),
    ],
)
def test_ctrl_c_ends_other_commands_with_a_word(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, place: str
) -> None:
    def stop(*given: object, **named: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"aseg_bench.{place}", stop)
    assert call(command, tmp_path, "--out", tmp_path / "out") == Outcome(130, "", "stopped\n")


def test_a_bar_takes_no_name_for_markup(call: Call, installed: Installed, tiny: Path) -> None:
    call(*run_on(tiny, out="other"))
    (tiny / "bolt").rename(tiny / "[red]bolt")
    (tiny.parent / "other/maps/near/mvtec_ad/bolt").rename(tiny.parent / "other/maps/near/mvtec_ad/[red]bolt")
    maps = tiny.parent / "other/maps/near/mvtec_ad"
    words = [word for word in run_on(tiny, methods=f"[bold]x=maps:{maps}") if word != "--quiet"]
    assert "scoring [bold]x" in call(*words).err


def test_maps_of_other_code_stand_beside_live_methods(call: Call, installed: Installed, tiny: Path) -> None:
    call(*run_on(tiny, out="other"))
    maps = tiny.parent / "other/maps/near/mvtec_ad"
    assert call(*run_on(tiny, methods=f"far,mapped=maps:{maps}")).code == 0
    scores = read_scores(tiny.parent / "out/scores.csv")
    assert {score.case.method for score in scores} == {"far", "mapped"}


def test_a_run_of_some_categories_takes_theirs_from_a_dump_of_all(call: Call, installed: Installed, tiny: Path) -> None:
    call(*run_on(tiny, out="other"))
    maps = tiny.parent / "other/maps/near/mvtec_ad"
    some = run_on(tiny, "--categories", "bolt", methods=f"mapped=maps:{maps}")
    outcome = call(*some)
    assert outcome.code == 0
    kept = json.loads((tiny.parent / "out/run.json").read_text())["cases"]["mapped/mvtec_ad"]["of_maps"]
    assert kept[0]["text"].startswith("maps of images that are not in the data set: nut/test/good/000.tiff")
    assert outcome.err == ""
    (maps / "bolt/test/good/000.tiff").unlink()
    assert "bolt: images without a map: bolt/test/good/000" in call(*some, "--overwrite").error


def test_an_out_that_is_a_file_is_an_error_before_any_work(call: Call, installed: Installed, tiny: Path) -> None:
    (tiny.parent / "out").write_text("in the way")
    assert "cannot write into" in call(*run_on(tiny)).error
    assert installed.diary == []


@pytest.mark.parametrize("place", [("file",), ("file", "below"), ("x" * 300,)])
@pytest.mark.parametrize(
    ("words", "kept_from"),
    [
        (("report", "RUN"), "reporting.report._made"),
        (("report", "--paper"), "reporting.report.write_report"),
        (("compare", "RUN"), "reporting.comparison.compare_methods"),
        (("eval", "MAPS"), "runs.evaluation.score_dump"),
        (("audit", "MAPS"), "reporting.audit.audit_dump"),
        (("ablate", "levels", "--method", "uni_as"), "runs.runner._make_maps"),
    ],
)
def test_no_command_works_for_a_place_that_cannot_be_written(
    call: Call,
    tiny: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    kept_from: str,
    place: tuple[str, ...],
) -> None:
    def work(*given: object, **named: object) -> None:
        raise AssertionError("this would be work in vain")

    dump = tiny.parent / "dump"
    for image in tiny.glob("*/test/*/*.png"):
        scores = np.random.default_rng(0).random((24, 32)).astype(np.float32)
        (dump / image.parent.relative_to(tiny)).mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(dump / image.relative_to(tiny).with_suffix(".tiff"), scores)
    call(*run_on(tiny, methods=f"mapped=maps:{dump}"))
    (tiny.parent / "file").write_text("in the way")
    monkeypatch.setattr(f"aseg_bench.{kept_from}", work)
    known = {"RUN": tiny.parent / "out", "MAPS": dump}
    data = ("--dataset", "mvtec_ad", "--data-root", tiny) if words[0] in {"eval", "audit", "ablate"} else ()
    error = call(*(known.get(word, word) for word in words), *data, "--out", tiny.parent.joinpath(*place)).error
    assert any(said in error for said in ("cannot write into", "File name too long"))
    assert len(error.splitlines()) == 1
    assert (tiny.parent / "file").read_text() == "in the way"


@pytest.mark.parametrize(
    ("command", "option"),
    [
        ("report", "--tables"),
        ("report", "--format"),
        ("compare", "--methods"),
        ("eval", "--metrics"),
        ("eval", "--categories"),
        ("audit", "--protocols"),
        ("audit", "--categories"),
    ],
)
def test_lists_are_neither_empty_nor_name_anything_twice(call: Call, tmp_path: Path, command: str, option: str) -> None:
    assert f"{option} names nothing" in call(command, tmp_path, option, " , ").error
    assert f"{option} names x twice" in call(command, tmp_path, option, "x,y,x").error


def test_published_numbers_do_not_replace_a_folder(call: Call, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert "is a folder" in call("published", "--method", "uniad", "--out", tmp_path).error
    assert "cannot write into" in call("published", "--method", "uniad", "--out", tmp_path / "file" / "new.csv").error


def test_a_file_in_the_way_of_a_result_is_one_line(call: Call, installed: Installed, tiny: Path) -> None:
    call(*run_on(tiny))
    tables = tiny.parent / "out/report/tables.md"
    tables.unlink()
    (tables / "inside").mkdir(parents=True)
    assert "tables.md" in call("report", tiny.parent / "out", "--quiet", "--no-page").error


def test_a_full_disk_is_one_error(
    call: Call, installed: Installed, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*words: object, **named: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("aseg_bench.predictions.store.tifffile.imwrite", fail)
    assert "No space left on device" in call(*run_on(tiny)).error


@pytest.mark.parametrize(
    ("package", "way"),
    [("torch", "'.[models]' in the folder"), ("onnx", "'.[export]' in the folder"), ("platformdirs", "platformdirs")],
)
def test_a_missing_package_is_named_with_the_way_to_get_it(
    call: Call, installed: Installed, tiny: Path, package: str, way: str
) -> None:
    def build(options: object) -> None:
        raise ModuleNotFoundError(f"No module named '{package}'", name=package)

    installed.add(facts_of("heavy", build=build, presets=lambda: build(None)))
    hint = f"this needs the package {package}: pip install {way}"
    assert hint in call(*run_on(tiny, methods="near,heavy")).error
    assert installed.diary == []
    assert hint in call("methods", "--show", "heavy").error


def test_an_install_hint_brings_the_package_that_lacks() -> None:
    trees = [ast.parse(path.read_text(encoding="utf-8")) for name in PACKAGES for path in (ROOT / name).rglob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = {name: " ".join(some) for name, some in project["optional-dependencies"].items()}
    brought_by, n_checked = packages_distributions(), 0
    for name in {name.split(".")[0] for name in names} & brought_by.keys() - {*PACKAGES}:
        hint = how_to_install(f"{name}.inner")
        extra = re.fullmatch(r"pip install '\.\[(\w+)\]' in the folder of aseg-bench's sources", hint)
        given = extras[extra[1]] if extra else hint
        packages = [package.lower().replace("_", "-") for package in brought_by[name]]
        assert any(re.search(rf"(?<![\w-]){package}(?![\w-])", given) for package in packages), hint
        n_checked += 1
    assert n_checked > 15


def test_eval_scores_the_maps_of_a_run_alike(call: Call, installed: Installed, tiny: Path) -> None:
    call(*run_on(tiny))
    maps = tiny.parent / "out/maps/near/mvtec_ad"
    again = tiny.parent / "again"
    place = ("--name", "near", "--dataset", "mvtec_ad", "--data-root", tiny, "--out", again)
    assert call("eval", maps, "--quiet", *place).code == 0
    assert (again / "scores.csv").read_text() == (tiny.parent / "out/scores.csv").read_text()


def test_an_odd_threshold_is_said_once_below_the_tables_of_every_command_and_kept(
    call: Call, installed: Installed, tiny: Path
) -> None:
    dump, said = (
        tiny.parent / "dump",
        "dump, bolt, nut: the DSC's threshold calls more than half of all pixels anomalous",
    )
    for image in tiny.glob("*/test/*/*.png"):
        scores = np.ones((24, 32), np.float32)
        scores[8:12, 10:18] = 0  # where the defects are
        (dump / image.parent.relative_to(tiny)).mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(dump / image.relative_to(tiny).with_suffix(".tiff"), scores)
    other = shutil.copytree(dump, tiny.parent / "other")
    tifffile.imwrite(next(other.rglob("*.tiff")), np.ones((24, 32), np.float32) / 2)
    data = ("--dataset", "mvtec_ad", "--data-root", tiny)
    run, again, evaluated, audited, both = (tiny.parent / name for name in ("run", "again", "eval", "audit", "both"))
    for words in (
        ("run", "--methods", f"dump=maps:{dump}", *data, "--out", run),
        ("run", "--methods", f"dump=maps:{other}", *data, "--out", again, "--seed", 1, "--no-page"),
        ("eval", dump, "--name", "dump", *data, "--out", evaluated),
        ("eval", dump, "--name", "dump", *data, "--out", evaluated),
        ("audit", dump, *data, "--protocols", "exact,uniad", "--out", audited),
        ("report", evaluated),
        ("report", run, again, "--out", both),
    ):
        outcome = call(*words)
        assert outcome.code == 0, outcome.err
        assert " ".join(outcome.out.split()).count(said) == 1, words
        assert said not in outcome.err
    kept = [folder / "findings.txt" for folder in (run / "report", evaluated / "report", both)]
    assert all(file.read_text().count(said) == 1 for file in (*kept, audited / "audit.md"))
    for folder in (run / "report", evaluated / "report", both):
        page = html.unescape((folder / "report.html").read_text())
        assert page.count(f'<p class="warning">{said}') == 1
    assert call("run", "--methods", "near", *data, "--out", evaluated, "--quiet", "--no-page").code == 0
    assert (evaluated / "report" / "findings.txt").read_text().count(said) == 1  # another method leaves it there
    for file in dump.rglob("*.tiff"):
        tifffile.imwrite(file, 1 - tifffile.imread(file))
    assert call("run", "--methods", f"dump=maps:{dump}", *data, "--out", evaluated, "--quiet", "--no-page").code == 0
    assert said not in (evaluated / "report" / "findings.txt").read_text()  # it was of other maps


def test_the_record_tells_how_the_run_came_about(call: Call, installed: Installed, tiny: Path) -> None:
    call(*run_on(tiny, "--max-minutes", 3))
    record = json.loads((tiny.parent / "out/run.json").read_text())
    assert record["aseg_bench"] == __version__
    assert record["command"].startswith("aseg-bench run --quiet --no-page --methods near ")
    assert record["datasets"]["mvtec_ad"]["n_train"] == 8
    case = record["cases"]["near/mvtec_ad"]
    assert (case["seed"], case["max_minutes"], case["data"]) == (0, 3, record["datasets"]["mvtec_ad"]["checksum"])
    assert set(case["seconds"]) == {"fit", "predict"}


def test_uni_as_runs_from_images_to_tables(call: Call, tiny: Path) -> None:
    settings = {"n_steps": 2, "channels": 16, "image_size": 64, "ffn_channels": 16}
    words = [word for name, value in settings.items() for word in ("--set", f"uni_as.{name}={value}")]
    assert call(*run_on(tiny, *words, methods="uni_as")).code == 0
    out = tiny.parent / "out"
    scores = read_scores(out / "scores.csv")
    assert {score.case.category for score in scores} == {"bolt", "nut"}
    assert all(0 <= score.value <= 1 for score in scores if score.value is not None)
    case = json.loads((out / "run.json").read_text())["cases"]["uni_as/mvtec_ad"]
    assert case["device"] == "cpu" or "cuda" in case["device"]
    assert case["all_settings"]["n_steps"] == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--set", "uni_as.nsteps=2"), "no setting nsteps; did you mean n_steps"),
        (("--set", "uni_as.n_steps=many"), "setting n_steps = many"),
        (("--set", "uni_as.image_size=60"), "image_size 60 is not a multiple"),
        (("--preset", "cpux"), "no preset cpux; did you mean cpu"),
        (("--backbone-weights", "nowhere.pt"), "no weights at nowhere.pt"),
    ],
)
def test_a_wrong_setting_of_a_model_is_one_error(call: Call, tiny: Path, words: tuple[str, str], said: str) -> None:
    assert said in call(*run_on(tiny, methods="uni_as"), *words).error


@pytest.mark.parametrize(
    ("command", "known"),
    [
        ("methods", "uni_as"),
        ("metrics", "aupro_0.3"),
        ("backbones", "tf_efficientnet_b4"),
        ("datasets", "mvtec_ad"),
        ("readers", "mvtec_tiff"),
        ("protocols", "exact"),
    ],
)
def test_what_can_be_named_is_listed(call: Call, command: str, known: str) -> None:
    outcome = call(command)
    assert outcome.code == 0
    assert known in outcome.out


def test_every_command_explains_itself_with_an_example(call: Call) -> None:
    assert len(set(map(name_of, COMMANDS.values()))) == len(COMMANDS)
    for function, example in COMMANDS.items():
        outcome = call(*filter(None, name_of(example)), "--help")
        assert outcome.code == 0
        assert function.__doc__
        assert "Example:" in outcome.out


def test_documents_show_commands_that_exist() -> None:
    commands = all_commands()
    root = Path(__file__).parents[1]
    shown = [
        match.group(1)
        for document in (root / "README.md", *(root / "docs").glob("*.md"))
        for match in re.finditer(r"aseg-bench ([a-z]+ [^`#\n]*)", document.read_text(encoding="utf-8"))
    ]
    assert len(shown) > 5
    for line in [*shown, *COMMANDS.values()]:
        words = shlex.split(line)
        command = commands[name_of(line)]
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        assert {word for word in words if word.startswith("--")} <= known, line


def test_help_loads_no_room() -> None:
    code = (
        "import sys; sys.argv = ['aseg-bench', '--help']\n"
        "from aseg_bench.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'numba', 'matplotlib', 'pandas', 'sklearn', 'scipy', 'cv2', 'skimage'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
