import re
import shutil
import subprocess
from pathlib import Path

import pytest

from aseg_bench.records import Case, Score
from aseg_bench.reporting import report_tables
from aseg_bench.reporting.cells import Cell, Table
from aseg_bench.reporting.latex import escape, latex

EVERY_CHARACTER = "".join(map(chr, range(32, 127))) + "äöß– ± × é 中 \n"

needs_pdflatex = pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")


def compile_tables(folder: Path, text: str, options: str = "") -> str:
    """Compile a text as ``\\input`` by a bare article; the words of the page, or its log where it fails."""
    (folder / "tables.tex").write_text(text, encoding="utf-8")
    document = rf"\documentclass{options}{{article}}\usepackage{{booktabs}}"
    if options:
        document += r"\setlength{\textwidth}{6.875in}\setlength{\columnsep}{0.3125in}"  # as most conferences have it
    document += r"\begin{document}\input{tables}\end{document}"
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


@needs_pdflatex
def test_a_table_longer_than_a_page_goes_on_in_another_with_its_own_footnotes(tmp_path: Path) -> None:
    rows = [[Cell(f"method {i}", notes=chr(97 + i % 26)), Cell("97.51")] for i in range(60)]
    notes = {chr(97 + i): f"source {i}, which takes a line or two of small print below the table" for i in range(26)}
    text = latex([Table("t", "Caption.", [Cell("Method"), Cell("Mean")], [("Published", rows)], notes)])
    assert "Float too large" not in compile_tables(tmp_path, text)
    assert text.count("method ") == 60
    first, *others = text.split(r"\end{table}")
    assert "source 25" not in first
    assert all("(Continued.)" in other for other in others[:-1])


@needs_pdflatex
@pytest.mark.parametrize("n_methods", [2, 4, 6, 9])
def test_tables_stay_in_their_column(tmp_path: Path, n_methods: int) -> None:
    names = [f"Method {number}" for number in range(n_methods)]
    header = [Cell("Category"), Cell("AR (%)"), *(Cell(name, notes="a") for name in names)]
    plain = [[Cell("metal_nut"), Cell("1.82"), *(Cell("97.51 ± 0.22", "best") for _ in names)]] * 3
    intervals = [
        [Cell("metal_nut"), Cell("1.82"), *(Cell("97.51", notes="b,c", aside="96.51 to 98.32") for _ in names)]
    ]
    notes = {"a": "a note that is long enough to be broken into several lines of a column"}
    tables = [
        Table(key, "Caption.", header, [("", rows)], notes) for key, rows in (("plain", plain), ("in", intervals))
    ]
    log = compile_tables(tmp_path, latex(tables), "[twocolumn]")
    assert [float(width) for width in re.findall(r"Overfull \\hbox \(([\d.]+)pt", log) if float(width) > 5] == []


def test_what_stands_in_parentheses_gets_a_line_of_its_own_where_it_is_too_wide() -> None:
    row = [Cell("bottle"), *[Cell("97.51", aside="96.51 to 98.32")] * 6]
    text = latex([Table("t", "Caption.", [Cell(str(i)) for i in range(7)], [("", [row])])])
    assert r"bottle & 97.51 & 97.51" in text
    assert r" & {\scriptsize (96.51 to 98.32)} & {\scriptsize (96.51" in text


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
