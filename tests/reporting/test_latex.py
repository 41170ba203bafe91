import shutil
import subprocess
from pathlib import Path

import pytest

from aseg_bench.records import Case, Score
from aseg_bench.reporting import report_tables
from aseg_bench.reporting.latex import escape, latex
from aseg_bench.reporting.tables import Cell, Table

EVERY_CHARACTER = "".join(map(chr, range(32, 127))) + "äöß– ± × é 中 \n"

needs_pdflatex = pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")


def compile_tables(folder: Path, text: str) -> str:
    """Compile a text as ``\\input`` by a bare article; the words of the page, or its log where it fails."""
    (folder / "tables.tex").write_text(text, encoding="utf-8")
    document = r"\documentclass{article}\usepackage{booktabs}\begin{document}\input{tables}\end{document}"
    (folder / "paper.tex").write_text(document)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", check=False)
    assert run.returncode == 0, run.stdout[-2000:]
    return run.stdout


@needs_pdflatex
def test_tables_of_any_name_compile_as_they_are(tmp_path: Path) -> None:
    scores = [
        Score(Case(method, dataset, category), metric, 0.5, 9, "exact")
        for method in ("[x]", "*", EVERY_CHARACTER)
        for dataset in ("*set", EVERY_CHARACTER)
        for category in ("[1ex]", EVERY_CHARACTER, "mean")
        for metric in ("pixel_auroc", "pixel_ap", "dsc", "anomaly_rate")
    ]
    compile_tables(tmp_path, latex(report_tables([scores])))


@needs_pdflatex
def test_a_hundred_tables_compile(tmp_path: Path) -> None:
    rows = [[Cell("a", aside="b"), Cell("1.00", "best", "a")]] * 15
    table = Table(
        "table1", "Caption.", [Cell("Method"), Cell("Mean")], [("", rows), ("Published", rows)], {"a": "note"}
    )
    assert "Warning: Float too large" not in compile_tables(tmp_path, latex([table] * 100))


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a_b & 5%", r"a\_b \& 5\%"),
        (r"\input{x}", r"\textbackslash{}input\{x\}"),
        ("a--b", "a-{}-b"),
        ("中", "(U+4E2D)"),
    ],
)
def test_metacharacters_are_escaped(text: str, escaped: str) -> None:
    assert escape(text) == escaped


def test_a_label_has_only_safe_characters() -> None:
    table = Table("my_set/pixel ap%", "Caption.", [Cell("a")], [("", [[Cell("1")]])])
    assert r"\label{tab:my-set-pixel-ap-}" in latex([table])
