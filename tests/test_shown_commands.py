"""Every command that README, docs and CONTRIBUTING show works as written, on a tiny data set, and so does their Python.

The methods are replaced by one that takes a blink, after the presets of the real ones have taken the settings; what a
document has made earlier is there for what it says later. Programs other than aseg-bench are only looked up.
"""

import re
import shlex
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aseg_bench.datasets import DATASETS
from aseg_bench.methods import MethodOptions, find_method
from aseg_bench.records import Sample
from aseg_bench.training.settings import settings_for
from tests.conftest import Call, Distance, Installed, write_category
from tests.runs.test_thresholds import write_ad_2
from tests.scoring.test_saturation import write_loco
from tests.test_house import ROOT

DOCUMENTS = ("README.md", "CONTRIBUTING.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")))

PYTHON_ELSEWHERE = (
    "README.md",
    "CONTRIBUTING.md",
    "docs/scale.md",
    "docs/uni_as.md",
)  # test_documents.py of both rooms


def shown_in(document: str) -> Iterator[list[str]]:
    """In order: Python as ``python-block`` with its text, and the words of every line in a shell block, fenced or
    indented; then those of every command in the prose.
    """
    text = (ROOT / document).read_text(encoding="utf-8")
    shown = r"^```(sh|python)\n(.*?)^```|^    ((?:aseg-bench|torchrun|pip|python|make) [^\n]*)$"
    for match in re.finditer(shown, text, flags=re.MULTILINE | re.DOTALL):
        language, block, indented = match.groups(default="")
        if language == "python":
            yield ["python-block", block]
            continue
        for line in (block or indented).splitlines():
            if words := shlex.split(line, comments=True):
                yield words
    for span in re.findall(r"`(aseg-bench (?:run|report|compare|eval|audit) [^`]+)`", text):
        if "..." not in span:  # else a pattern
            yield shlex.split(span)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with data sets and dumps of the names that the documents use."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("bolt", "nut"):
        write_category(tmp_path / "mvtec", name)
    write_ad_2(tmp_path / "mvtec_ad_2")
    write_loco(tmp_path / "loco")
    (tmp_path / "six").symlink_to(tmp_path / "mvtec")

    def find_demo(*_: object) -> list[Sample]:
        return [replace(sample, dataset="demo") for sample in DATASETS["mvtec_ad"].find(tmp_path / "mvtec")]

    monkeypatch.setitem(DATASETS._ours, "demo", replace(DATASETS["demo"], find=find_demo))  # type: ignore[attr-defined]
    rng = np.random.default_rng(0)
    for image in sorted((tmp_path / "mvtec").glob("*/test/*/*.png")):
        category, _, defect, name = image.relative_to(tmp_path / "mvtec").parts
        scores = rng.random((24, 32)).astype(np.float32)
        for number, dump in enumerate(("dump", "dump0", "dump1", "dump2")):
            file = tmp_path / dump / category / "test" / defect / f"{image.stem}.npy"
            file.parent.mkdir(parents=True, exist_ok=True)
            np.save(file, scores + np.float32(number))
        truth = image.parents[2] / "ground_truth" / defect / f"{image.stem}_mask.png"
        mask = np.array(Image.open(truth)) / 255 if truth.exists() else np.zeros((24, 32))
        (tmp_path / "result_eval_temp").mkdir(exist_ok=True)
        np.savez(
            tmp_path / "result_eval_temp" / f"{category}_{defect}_{name}.npz",
            filename=f"{category}/test/{defect}/{name}", clsname=category, pred=scores[None], mask=mask[None],
        )  # fmt: skip
    return tmp_path


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """The live methods under their names, each fast: the facts stay, and so does what takes the settings."""
    real = {name: find_method(name) for name in ("uni_as", "uniad", "patchcore")}
    installed: Installed = request.getfixturevalue("installed")
    for name, facts in real.items():

        def build(options: MethodOptions, name: str = name) -> Distance:
            presets = real[name].presets
            assert presets is not None
            settings_for(presets(), options)
            if options.folder is not None:
                options.folder.mkdir(parents=True, exist_ok=True)  # where a training of the real one would lie
            return Distance(name, options)

        installed.add(replace(facts, build=build))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_a_shown_command_works_as_written(
    fakes: None, place: Path, call: Call, monkeypatch: pytest.MonkeyPatch, document: str
) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    for program, *words in shown_in(document):
        if program == "python-block" and document not in PYTHON_ELSEWHERE:
            exec(words[0], {"results": {"bolt": (np.zeros((5, 24, 32)), [Path(f"{n}.png") for n in range(5)])}})
        if program == "pip":
            assert set(re.findall(r"\[(\w+)\]", " ".join(words))) <= set(extras)
        if program == "torchrun":
            words = words[words.index("aseg-bench") + 1 :]
        elif program != "aseg-bench":
            continue
        shown = " ".join(words)
        if "anomalib" in shown or words[0] in {"predict", "export"}:
            continue  # need a package or a trained model of their own: test_help.py, baselines/test_anomalib.py
        words = [word.replace("s3://bucket", place.as_uri()) for word in words if word != "..."]  # nothing else differs
        words = [re.sub(r"^RUN\b", "runs/demo", word.replace("~", str(place))) for word in words]
        if words[0] == "report" and "runs/seed1" in words:
            for seed in ("1", "2"):  # "and so on"
                data = ("--dataset", "mvtec_ad", "--data-root", "six", "--seed", seed)
                call("run", "--methods", "uni_as", *data, "--out", f"runs/seed{seed}", "--quiet", "--no-page")
        if words[0] == "run" and not {"--dataset", "--config"} & set(words):
            words += ["--dataset", "mvtec_ad", "--data-root", "mvtec", "--out", f"runs/{len(shown)}"]
        fast = ["--no-page"] if words[0] in {"run", "report"} else []
        if words[0] == "audit" and "--protocols" not in words and document != "README.md":  # all of them once is enough
            fast = ["--protocols", "uniad"]
        outcome = call(*words, *fast)
        assert outcome.code == 0, f"{document}: aseg-bench {shown}\n{outcome.err[-2000:]}"
