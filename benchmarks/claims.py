"""The claims of the source paper, tested on categories of the user's own with what a small machine can train."""

import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from tabulate import tabulate

from aseg_bench import MethodOptions, RunPlan, read_results, run
from aseg_bench.analysis.scored_maps import ScoredMaps
from aseg_bench.errors import InputError
from aseg_bench.files import written_whole
from aseg_bench.methods import find_methods
from aseg_bench.records import LazySequence, Place
from aseg_bench.runs.ablation import PAPER_LEVELS, ablate_components, ablate_levels, level_maps
from benchmarks.differences import System, difference, resampled, system_of

_RANDOM = {"coreset": "random"}
# label and settings of PatchCore for every way in which nearest neighbours are tried; the first is its preset
NEIGHBOURS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "neighbours": ("neighbours: all levels, greedy bank of 10 %", {}),
    "random": ("neighbours: all levels, random bank of 10 %", _RANDOM),
    "random_deep": (
        "neighbours: levels 2 to 4, random bank of 12,000",
        {**_RANDOM, "bank_size": "12000", "levels": "4,8,16"},
    ),
    "product": (
        "neighbours: product of levels, random banks of 12,000",
        {**_RANDOM, "bank_size": "12000", "combination": "product"},
    ),
}
MIRRORED = ("neighbours: the first, borders mirrored", {"borders": "mirrored"})
OTHERS = ("uniad",)
LINES = (
    "plain transformer, fused features",
    "+ levels",
    "+ SAR query",
    "+ one 3 x 3 convolution",
    "+ branches without gates",
    "+ MGG-CNN, the full model",
)
_GOOD_AUROC, _GOOD_AP, _ALIKE = 0.9, 0.5, 0.9
_HEAD = """# The paper's claims, at this scale

Written by `{command}` on {machine}: {n_categories} categories in one
model, {n_images} test images, frozen EfficientNet-Lite0, 224 x 224 pixels, preset `cpu` (Tables 4 and 5: `quick` with
half its steps). A verdict is of this scale and of these images: the paper trains 1000 epochs on EfficientNet-B4 and
MVTec-AD. The settings of UniAS were chosen with a view to test images; [uni_as.md](uni_as.md) says how, and what longer
and wider trainings bring.

Differences are points of mean pixel AP, with a 95 % interval over images (resampled within each category, the same ones
for both sides) and over seeds; what was trained with one seed is given the spread of UniAS over its own. A claim is
supported where the interval lies above zero, not supported where it lies below, and else not decidable here.
"""
_NEIGHBOURS = """
Minutes are those of the training by the clock, whatever else the machine did.

Nearest neighbours are PatchCore with the settings named. Its pooling of 3 x 3 cells ends in zeros at the border, as in
the authors' code, which brings down the distances of the patches there; where no defect lies at a border, that alone
removes false alarms. With a mirror in the place of the zeros the same bank has what the last line says.
"""


@dataclass(frozen=True)
class Scale:
    """How much is trained: seeds of UniAS, settings of all methods that have them, and steps for Tables 4 and 5."""

    seeds: Sequence[int]
    settings: Mapping[str, str]
    ablation_steps: int


FULL = Scale((0, 1, 2), {}, 300)
QUICK = Scale((0, 1), {"n_steps": "2", "image_size": "64", "neighbour_size": "3", "bank_size": "50"}, 2)


@dataclass(frozen=True)
class Verdict:
    """A claim, what was found, and what follows."""

    claim: str
    found: str
    verdict: str


def write_report(out: Path, work: Path, roots: Sequence[Path], *, ablations: bool = True, quick: bool = False) -> None:
    """Train whatever is not trained yet, and write the verdicts.

    Args:
        out: the Markdown file.
        work: keeps runs and maps; finished ones are not done again.
        roots: folders in MVTec-AD's layout, all of whose categories are taken together; none takes the embedded demo.
        ablations: train and test the lines of Tables 4 and 5.
        quick: two steps of training on small images, to try this program.

    Raises:
        InputError: two roots have a category of the same name.
    """
    scale = QUICK if quick else FULL
    root = joined(work / "data", roots) if roots else None

    def plan(place: str, methods: Sequence[str], seed: int = 0, settings: Mapping[str, str] | None = None) -> RunPlan:
        presets = {name: find_methods()[name].presets for name in methods}
        known = {name: vars(found()["cpu"]) for name, found in presets.items() if found}
        given = {
            name: {k: v for k, v in {**scale.settings, **(settings or {})}.items() if k in known[name]}
            for name in known
        }
        options, dataset = MethodOptions(seed=seed, quiet=True), "mvtec_ad" if roots else "demo"
        return RunPlan(methods, dataset, work / place, root, options=options, settings=given)

    for seed in scale.seeds:
        run(plan(f"seed{seed}", ("uni_as",), seed))
    for name, (_, settings) in {**NEIGHBOURS, "mirrored": MIRRORED}.items():
        run(plan(f"{name}/seed0", ("patchcore",), settings=settings))
    for name in OTHERS:
        run(plan("others/seed0", (name,)))
    for what, ablate in (("components", ablate_components), ("levels", ablate_levels)) if ablations else ():
        whole = plan(what, ("uni_as",), settings={"n_steps": str(scale.ablation_steps)})
        ablate(replace(whole, options=replace(whole.options, preset="quick")), [0])
    with written_whole(out) as temporary:
        temporary.write_text(_text(work, scale, _command(roots, ablations, quick), ablations), encoding="utf-8")


def joined(folder: Path, roots: Sequence[Path]) -> Path:
    """A folder with links to the categories of all roots.

    Raises:
        InputError: two roots have a category of the same name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for category in sorted(path.resolve() for root in roots for path in root.iterdir() if path.is_dir()):
        link = folder / category.name
        if not link.exists():
            link.symlink_to(category, target_is_directory=True)
        elif link.resolve() != category:
            raise InputError(f"{category} and {link.resolve()} have one name; rename one, or choose another --work")
    return folder


def _command(roots: Sequence[Path], ablations: bool, quick: bool) -> str:
    words = ["python benchmark.py claims", *(f"--data-root {root.name}" for root in roots)]
    return " ".join([*words, *["--no-ablations"] * (not ablations), *["--quick"] * quick])


def _text(work: Path, scale: Scale, command: str, ablations: bool) -> str:
    labels = {name: facts.label for name, facts in find_methods().items()}
    seeds = [work / f"seed{seed}" for seed in scale.seeds]
    uni_as = system_of(labels["uni_as"], seeds, "uni_as")
    others = [system_of(labels[name], [work / "others/seed0"], name) for name in OTHERS]
    neighbours = [system_of(label, [work / name / "seed0"], "patchcore") for name, (label, _) in NEIGHBOURS.items()]
    mirrored = system_of(MIRRORED[0], [work / "mirrored/seed0"], "patchcore")
    best = max(neighbours, key=System.score)
    everyone = [uni_as, *others, best]
    verdicts = [_inflation(everyone), _ranks(everyone)]
    compared = [
        *((f"UniAS segments better than {system.label}", uni_as, system) for system in others),
        (f"UniAS segments better than the best of the nearest neighbours ({best.label})", uni_as, best),
        ("UniAS segments better than nearest neighbours whose borders are mirrored", uni_as, mirrored),
    ]
    parts = ["## What was compared\n", _table([uni_as, *others, *neighbours, mirrored]), _NEIGHBOURS]
    if ablations:
        lines = [system_of(text, [work / f"components/line{n}/seed0"], "uni_as") for n, text in enumerate(LINES, 1)]
        *fewer, whole = _level_systems(work / "levels/seed0")
        strongest = max(fewer, key=System.score)
        compared += [
            *(
                (f"Table 4: with {more.label[2:]} better than the line before", more, less)
                for less, more in pairwise(lines)
            ),
            ("Table 4: the full model segments better than the plain transformer", lines[-1], lines[0]),
            (f"Table 5: all levels segment better than any fewer (the best: {strongest.label})", whole, strongest),
        ]
        parts += ["## Tables 4 and 5\n", _table([*lines, *fewer, whole]), ""]
    for claim, first, second in compared:
        apart = difference(first, second, spread_of=uni_as)
        verdicts.append(Verdict(claim, apart.text, apart.verdict))

    (results, *_) = read_results(seeds)
    head = _HEAD.format(
        command=command,
        machine=f"{platform.machine()}, {os.cpu_count()} cores",
        n_categories=len(uni_as.places),
        n_images=sum(len(results.samples(dataset)) for dataset in results.datasets),
    )
    table = tabulate([(v.claim, v.found, v.verdict) for v in verdicts], ("claim", "found", "verdict"), tablefmt="pipe")
    return "\n".join([head, table, "", *parts])


def _inflation(systems: Sequence[System]) -> Verdict:
    """How often a high pixel AUROC goes with a low pixel AP."""

    def share(auroc: NDArray[np.float64], ap: NDArray[np.float64]) -> float:
        is_high = auroc >= _GOOD_AUROC
        return float((ap[is_high] < _GOOD_AP).mean()) if is_high.any() else np.nan

    value, low, high = _over_images(systems, share)
    return Verdict(
        "Pixel AUROC inflates: of methods and categories where it is 90 % or more, most have a pixel AP below 50 %",
        f"{100 * value:.0f} % of them ({100 * low:.0f} to {100 * high:.0f})",
        "supported" if low > 0.5 else "not supported" if high < 0.5 else "not decidable here",
    )


def _ranks(systems: Sequence[System]) -> Verdict:
    """How alike pixel AUROC and pixel AP rank methods and categories."""

    def correlation(auroc: NDArray[np.float64], ap: NDArray[np.float64]) -> float:
        return float(stats.spearmanr(auroc.ravel(), ap.ravel())[0])

    def reversals(auroc: NDArray[np.float64], ap: NDArray[np.float64]) -> float:
        pairs = combinations(range(len(auroc)), 2)
        return float(np.mean([(auroc[i] > auroc[j]) != (ap[i] > ap[j]) for i, j in pairs]))

    value, low, high = _over_images(systems, correlation)
    changed, *_ = _over_images(systems, reversals)
    return Verdict(
        "Pixel AUROC hides what pixel AP shows: their rank correlation over methods and categories is below 0.9",
        f"{value:.2f} ({low:.2f} to {high:.2f}); {100 * changed:.0f} % of the pairs of methods change places",
        "supported" if high < _ALIKE else "not supported" if low > _ALIKE else "not decidable here",
    )


def _over_images(
    systems: Sequence[System], statistic: Callable[[NDArray[np.float64], NDArray[np.float64]], float]
) -> tuple[float, float, float]:
    """A statistic of pixel AUROC and AP, (systems, categories) each, of the first seeds; with its 95 % interval."""
    auroc, ap = (np.array([system.values(metric) for system in systems]) for metric in ("pixel_auroc", "pixel_ap"))
    values = [statistic(auroc[:, :, i], ap[:, :, i]) for i in range(auroc.shape[2])]
    low, high = np.nanquantile(values[1:], [0.025, 0.975])
    return values[0], min(float(low), values[0]), max(float(high), values[0])


def _level_systems(folder: Path) -> list[System]:
    """The product of every set of levels of Table 5, all of them last."""
    (results,) = read_results([folder])
    store, systems = level_maps(folder), []
    for levels in PAPER_LEVELS:
        numbers = {}
        for place, (maps,) in results.maps(["uni_as"]).items():
            numbers[place] = resampled(_product(maps, [store.maps(str(level), maps.samples) for level in levels]))
        systems.append(System(f"levels {', '.join(map(str, sorted(levels)))}", [numbers]))
    return systems


def _product(maps: ScoredMaps, levels: Sequence[Sequence[NDArray[np.floating]]]) -> ScoredMaps:
    def product(index: int) -> NDArray[np.float32]:
        return np.asarray(np.prod([level[index] for level in levels], axis=0, dtype=np.float32))

    return replace(maps, scores=LazySequence(len(maps.samples), product))


def _table(systems: Sequence[System]) -> str:
    places: Sequence[Place] = systems[0].places
    rows = []
    for system in systems:
        spread = f" ± {100 * np.std(system.by_seed, ddof=1):.1f}" if len(system.runs) > 1 else ""
        means = [f"{100 * system.mean(metric).estimate:.1f}" for metric in ("pixel_auroc", "pixel_ap")]
        values = [f"{100 * system.value('pixel_ap', place):.1f}" for place in places]
        minutes = f"{system.minutes:.1f}" if system.minutes else ""
        rows.append((system.label, len(system.runs), minutes, means[0], means[1] + spread, *values))
    heads = ("", "seeds", "minutes", "pixel AUROC", "pixel AP", *(category for _, category in places))
    return tabulate(rows, heads, tablefmt="pipe", disable_numparse=True)
