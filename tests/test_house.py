"""The house plan: who may import whom, and what no file may hold."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from token import NAME, OP
from tokenize import tokenize

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("aseg_bench", "baselines", "uni_as")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
DEVELOPERS = sorted([ROOT / "benchmark.py", *(ROOT / "benchmarks").rglob("*.py")])  # what the wheel does not carry
WITH_TORCH = {"training", "integrations"}  # the only rooms that import it
TORCH = {"torch", "torchvision", "timm", "lightning_fabric", "torchmetrics", "onnx", "onnxruntime"}
FLOORS = (
    {"errors"},
    {"corruptions", "files", "progress", "records"},
    {"labelme"},
    {"images", "methods", "pickles", "remote"},
    {"datasets", "metrics", "protocols"},
    {"predictions", "training"},
    {"scoring", "analysis", "integrations"},
    {"runs"},
    {"reporting"},
    {"cli"},
    {"__main__"},
)  # a room of aseg_bench imports only from floors below its own


def imports(path: Path, anywhere: bool = True) -> Iterator[str]:
    """Modules that a file imports: at its top, and unless told otherwise inside functions."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree) if anywhere else tree.body:
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            assert node.module is not None
            yield from (f"{node.module}.{name.name}" for name in node.names)


def room(path: Path) -> str:
    """The room of ``aseg_bench`` in which a file lies."""
    return path.relative_to(ROOT / "aseg_bench").parts[0].removesuffix(".py")


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


OURS = [path for path in MODULES if path.is_relative_to(ROOT / "aseg_bench")]


@pytest.mark.parametrize("path", OURS, ids=named)
def test_the_toolkit_never_imports_its_guests(path: Path) -> None:
    assert not [name for name in imports(path) if name.split(".")[0] in {"baselines", "uni_as"}]


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_what_is_packaged_never_imports_what_is_not(path: Path) -> None:
    assert not [name for name in imports(path) if name.split(".")[0] in {"benchmark", "benchmarks", "tests"}]


@pytest.mark.parametrize("path", OURS, ids=named)
def test_rooms_import_only_from_the_floors_below(path: Path) -> None:
    if room(path) == "__init__":
        return
    floor = {name: number for number, floor in enumerate(FLOORS) for name in floor}
    assert room(path) in floor, "a new room needs a place in FLOORS"
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "aseg_bench" and parts[1] in floor and parts[1] != room(path):
            assert floor[parts[1]] < floor[room(path)], f"{room(path)} imports {name}"


@pytest.mark.parametrize("path", [path for path in OURS if room(path) not in WITH_TORCH], ids=named)
def test_only_its_rooms_import_torch(path: Path) -> None:
    reads_files_of_torch = room(path) == "predictions" or path.stem == "pickles"  # and imports it inside functions
    tops = {name.split(".")[0] for name in imports(path, anywhere=not reads_files_of_torch)}
    assert not tops & TORCH


@pytest.mark.parametrize("path", [path for path in MODULES if path not in OURS], ids=named)
def test_guests_never_import_each_other(path: Path) -> None:
    package, guest, *_ = (*path.relative_to(ROOT).with_suffix("").parts, "")
    own = "uni_as." if package == "uni_as" else f"baselines.{guest}."
    others = [name for name in imports(path) if name.split(".")[0] in {"baselines", "uni_as"}]
    assert all(f"{name}.".startswith(own) for name in others)


def run_fresh(code: str) -> None:
    result = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 0, result.stderr


def test_the_package_loads_neither_torch_nor_numba() -> None:
    run_fresh("import sys, aseg_bench\nassert not {'torch', 'numba', 'matplotlib', 'pandas'} & set(sys.modules)")


def test_no_other_room_loads_torch() -> None:
    rooms = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in OURS
        if room(path) not in WITH_TORCH
    ]
    run_fresh(
        f"import sys, importlib\nfor room in {rooms}: importlib.import_module(room)\nassert 'torch' not in sys.modules"
    )


def test_listing_methods_and_their_presets_loads_no_torch() -> None:
    run_fresh(
        "import sys; from aseg_bench.methods import find_methods\n"
        "for facts in find_methods().values(): facts.presets and facts.presets()\n"
        "assert 'torch' not in sys.modules"
    )


def test_files_have_names_that_say_what_they_hold() -> None:
    names = {path.stem for path in (*MODULES, *DEVELOPERS)}
    assert not {"utils", "helpers", "common", "base", "misc", "tools"} & names


def test_every_private_name_and_every_constant_is_used() -> None:
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in (*MODULES, *DEVELOPERS)}
    points = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    used = set(re.findall(r"(?<=:)[A-Z_]+(?=\")", points))  # what entry points name
    for node in (node for tree in trees.values() for node in ast.walk(tree)):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            used.add(node.id)
        elif isinstance(node, ast.Attribute):
            used.add(node.attr)
        elif isinstance(node, ast.alias):
            used.add(node.name)
    unused = [
        f"{named(path)}: {name}"
        for path, tree in trees.items()
        for name in top_names(tree)
        if name not in used and (name.isupper() or (name.startswith("_") and not name.endswith("__")))
    ]
    assert unused == []


def top_names(tree: ast.Module) -> Iterator[str]:
    """Names that a module defines at its top, except what a decorator hands to somebody else."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield from [node.name] if isinstance(node, ast.ClassDef) or not node.decorator_list else []
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name))


@pytest.mark.parametrize("table", ["METRICS", "DATASETS", "PROTOCOLS"])
def test_there_is_one_table_of_each_kind(table: str) -> None:
    assigned = [
        (path, node)
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name) and target.id == table
    ]
    assert len(assigned) == 1
    value = assigned[0][1].value
    table_of = value.args[0] if isinstance(value, ast.Call) else value  # other packages may add to it
    assert isinstance(table_of, ast.Dict | ast.DictComp)


def test_no_file_speaks_of_a_machine() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], check=False, capture_output=True, cwd=ROOT)
    if listed.returncode:
        pytest.skip("no git checkout, so no list of the project's files")
    place = re.compile(rb"(?<![\w.~])/(?:home|root|work|Users)/\w|[A-Z]:\\Users\\")
    files = [ROOT / name.decode() for name in listed.stdout.split(b"\0") if name]
    found = [named(path) for path in files if path.is_file() and place.search(path.read_bytes())]
    assert found == []


def test_prose_is_in_the_words_that_a_colleague_would_use() -> None:
    """In comments, texts and documents: will, again, zero, is not an X; "is no longer" and "there is no X" are fine."""
    stilted = re.compile(
        r"there\s+(?:is|are)\s+no\b|(\b(?:shall|anew|nought|can\s+but|(?:is|are)\s+no\s+(?!longer|more|less|one)\w+))\b",
        re.IGNORECASE,
    )
    folders = [*PACKAGES, "benchmarks", "docs", "examples", "tests"]
    files = [*ROOT.glob("*.py"), *ROOT.glob("*.md"), *(path for name in folders for path in (ROOT / name).rglob("*.*"))]
    found = []
    for path in sorted(files):
        if path.suffix == ".md" and path.name != "CHANGELOG.md":
            texts = [path.read_text(encoding="utf-8")]
        elif path.suffix == ".py" and path != Path(__file__):
            with path.open("rb") as file:
                texts = [token.string for token in tokenize(file.readline) if token.type not in (NAME, OP)]
        else:
            continue
        words = (match[1] for text in texts for match in stilted.finditer(text) if match[1])
        found += [f"{named(path)}: {' '.join(word.split())}" for word in words]
    assert found == []
