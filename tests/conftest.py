import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import typer
from PIL import Image

from aseg_bench import cli, methods
from aseg_bench.analysis.scored_maps import ScoredMaps, by_category, stored_maps
from aseg_bench.images import picture_of
from aseg_bench.methods import MethodFacts, MethodOptions
from aseg_bench.predictions.store import MapStore
from aseg_bench.records import AnomalyMap, Case, Sample
from tests.categories import make_category

if "PYTEST_XDIST_WORKER" in os.environ:  # as many processes as cores: one thread of torch and OpenMP for each
    os.environ.setdefault("OMP_NUM_THREADS", "1")


class Outcome(NamedTuple):
    """What a call of the command line left."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one error, after a check that it is one and the user's."""
        assert self.code == 2
        assert self.err.count("error: ") == 1
        assert "Traceback" not in self.err
        return self.err.split("error: ")[1].strip()


Call = Callable[..., Outcome]


@dataclass
class Distance:
    """A method in a blink: distance of a pixel from the mean training image. It keeps a diary of its work."""

    name: str
    options: MethodOptions
    diary: list[str] = field(default_factory=list)
    interrupt: str = ""

    def fit(self, train: Sequence[Sample]) -> None:
        self.diary.append(f"{self.name} fit {len(train)}")
        self._stop_at("fit")
        self._mean = np.mean([picture_of(sample) for sample in train], axis=(0, 3))

    def predict(self, samples: Sequence[Sample]) -> Iterator[AnomalyMap]:
        self.diary.append(f"{self.name} predict {len(samples)}")
        for index, sample in enumerate(samples):
            if index == 3:
                self._stop_at("predict")
            distance = np.abs(picture_of(sample).mean(axis=2) - self._mean)
            yield AnomalyMap(sample, distance.astype(np.float32))

    def _stop_at(self, place: str) -> None:
        if self.interrupt == f"{self.name} {place}":
            raise KeyboardInterrupt


@dataclass
class Installed:
    """The methods that entry points name during a test, and what they did."""

    diary: list[str] = field(default_factory=list)
    interrupt: str = ""
    points: list[Any] = field(default_factory=list)

    def add(self, facts: object, name: str = "") -> None:
        name = name or facts.name  # type: ignore[attr-defined]
        self.points.append(Point(name, f"somewhere:{name.upper()}", lambda: facts))

    def add_live(self, name: str) -> None:
        def build(options: MethodOptions) -> Distance:
            return Distance(name, options, self.diary, self.interrupt)

        self.add(facts_of(name, build=build))


class Point(NamedTuple):
    """Stands in for an entry point."""

    name: str
    value: str
    load: Callable[[], object]


def facts_of(name: str, **others: Any) -> MethodFacts:
    return MethodFacts(name, name.title(), "Venue 2020", "a method", "https://example.org", "MIT", **others)


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Installed:
    """Two live methods, ``near`` and ``far``, and ``mapped`` without a live model; no other is installed."""
    methods_now = Installed()
    methods_now.add_live("near")
    methods_now.add_live("far")
    methods_now.add(facts_of("mapped", reader="plain", protocol="exact"))
    monkeypatch.setattr(methods, "entry_points", lambda group: methods_now.points)
    return methods_now


def all_commands() -> dict[tuple[str, str], Any]:
    """Every command of the command line by its group, empty for most, and its name."""
    found = {}
    for name, command in typer.main.get_command(cli.app).commands.items():  # type: ignore[attr-defined]
        inner = getattr(command, "commands", None)
        found |= {("", name): command} if inner is None else {(name, one): inner[one] for one in inner}
    return found


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Call the command line in this process, as the installed script does."""

    def call_it(*words: object) -> Outcome:
        monkeypatch.setattr("sys.argv", ["aseg-bench", *map(str, words)])
        capfd.readouterr()
        code = 0
        try:
            cli.main()
        except SystemExit as left:
            code = int(left.code or 0)
        return Outcome(code, *capfd.readouterr())

    return call_it


def run_on(root: Path, *words: object, methods: str = "near", out: str = "out") -> tuple[object, ...]:
    place = ("--dataset", "mvtec_ad", "--data-root", root, "--out", root.parent / out)
    return ("run", "--quiet", "--no-page", "--methods", methods, *place, *words)


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A data set of two categories in the MVTec-AD layout, images of 24 x 32 pixels with a bright defect."""
    root = tmp_path / "tiny"
    for category in ("bolt", "nut"):
        write_category(root, category)
    return root


def write_category(root: Path, category: str, n_train: int = 4, n_good: int = 2, n_hole: int = 3) -> None:
    rng = np.random.default_rng(len(category))
    for place, count in (("train/good", n_train), ("test/good", n_good), ("test/hole", n_hole)):
        for index in range(count):
            image = rng.normal(120, 20, (24, 32, 3)).clip(0, 255)
            mask = np.zeros((24, 32))
            if "hole" in place:
                mask[8:12, 10:18] = 255
                image[mask > 0] = 240
                save(root / category / "ground_truth" / "hole" / f"{index:03}_mask.png", mask)
            save(root / category / place / f"{index:03}.png", image)


def save(path: Path, pixels: Any, dtype: type = np.uint8) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels).astype(dtype)).save(path)


@pytest.fixture(scope="session")
def category(tmp_path_factory: pytest.TempPathFactory) -> list[ScoredMaps]:
    return make_category(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="session")
def stored(tmp_path_factory: pytest.TempPathFactory) -> list[list[ScoredMaps]]:
    """Four categories read from a store of maps."""
    folder = tmp_path_factory.mktemp("stored")
    store, samples = MapStore(folder / "maps"), []
    for name in ("bottle", "cable", "grid", "screw"):
        maps = make_category(folder, name, n_images=3, size=32, methods=("good",))[0]
        for i, sample in enumerate(maps.samples):
            path = folder / f"{name}{i}_mask.png"
            Image.fromarray(maps.masks[i]).save(path)
            samples.append(replace(sample, mask_path=path if sample.is_anomalous else None))
            store.write("good", AnomalyMap(samples[-1], maps.scores[i]))
    return [[stored_maps(store, Case("good", *place), some)] for place, some in by_category(samples).items()]
