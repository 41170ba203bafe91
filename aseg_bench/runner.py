"""Methods x one data set: maps, scores and tables, in a folder where interrupted work goes on.

<out>/maps/<method>/<dataset>/<category>/test/<defect>/<stem>.tiff   every map
<out>/training/<method>/<dataset>/                                  checkpoint and losses of a live model
<out>/scores.csv                                                    every score
<out>/run.json                                                      how each (method, data set) came about
<out>/report/                                                       tables
"""

import json
import platform
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from itertools import groupby
from pathlib import Path
from typing import Any

from aseg_bench import __version__
from aseg_bench.datasets import DATASETS, check_images, checksum
from aseg_bench.errors import InputError
from aseg_bench.evaluate import mean_scores, score_category
from aseg_bench.files import written_whole
from aseg_bench.methods import Method, MethodOptions, find_method, find_methods, near_matches
from aseg_bench.predictions.imported import MapsMethod
from aseg_bench.predictions.store import MapStore
from aseg_bench.progress import track
from aseg_bench.protocols import find_protocol
from aseg_bench.records import Case, Sample, Score
from aseg_bench.reporting import read_scores, write_scores, write_tables

SCORES, RECORD, REPORT = "scores.csv", "run.json", "report"
_VERSIONS_OF = ("numpy", "numba", "scipy", "torch", "timm", "lightning-fabric")


@dataclass(frozen=True)
class RunPlan:
    """What a run shall do.

    Attributes:
        methods: names of installed methods, in the order of the tables.
        dataset: key of ``DATASETS``.
        data_root: where the data set lies; None for one that needs no root.
        categories: those to take; None takes all.
        out: folder of the run.
        options: for every live method; ``folder`` and ``settings`` are set per method.
        settings: method -> field -> value, as the user typed them.
        protocol: key of ``PROTOCOLS``.
        half: keep maps in half precision.
        overwrite: compute finished (method, data set) pairs again.
        maps: method -> file or folder of maps that other code made; these methods are read, not run.
    """

    methods: Sequence[str]
    dataset: str
    out: Path
    data_root: Path | None = None
    categories: Sequence[str] | None = None
    options: MethodOptions = field(default_factory=MethodOptions)
    settings: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    protocol: str = "exact"
    half: bool = False
    overwrite: bool = False
    maps: Mapping[str, Path] = field(default_factory=dict)


def run(plan: RunPlan) -> list[Score]:
    """Make, keep and score the maps of every method on the data set; what is finished is not done again.

    Returns:
        All scores in ``<out>/scores.csv``: those of this run, and those of other data sets or methods kept there.

    Raises:
        InputError: an unknown name, data that cannot be used, or a folder that holds results of other data or settings;
            before any work.
        MissingWeightsError: the weights of a backbone cannot be had; before any work.
        TrainingError: a training cannot go on; what is finished stays.
    """
    protocol = find_protocol(plan.protocol)
    samples = find_samples(plan.dataset, plan.data_root, plan.categories)
    check_images(samples)
    record = _read_record(plan.out)
    data = _data_facts(plan, samples)
    todo = {
        name: conditions
        for name, conditions in _conditions(plan, data).items()
        if _is_due(plan, record, name, conditions)
    }
    competitors = {name: _build(plan, name) for name in todo}
    test = [sample for sample in samples if sample.split == "test"]
    store = MapStore(plan.out / "maps")
    for name, conditions in todo.items():
        _discard(plan, name)
        seconds = _make_maps(plan, competitors.pop(name), samples, store)
        record["cases"][f"{name}/{plan.dataset}"] = conditions | {"seconds": seconds}
        record["datasets"][plan.dataset] = data
        _write_record(plan.out, record)
    scores: list[Score] = []
    for name in plan.methods:
        _refuse_left_over(store, name, plan.dataset, test)
        by_category = [list(group) for _, group in groupby(test, key=lambda sample: sample.category)]
        for group in track(by_category, f"scoring {name}", len(by_category), plan.options.quiet):
            case = Case(name, plan.dataset, group[0].category)
            scores += score_category(case, group, store.maps(name, group), protocol=protocol)
    return keep_scores(plan.out, mean_scores(scores))


def keep_scores(out: Path, scores: Sequence[Score], *, mixed: bool = False) -> list[Score]:
    """Write scores and tables into a folder, beside those of other methods and data sets that it holds.

    Args:
        out: folder of the run.
        scores: with their means.
        mixed: tables may mix protocols.

    Returns:
        All scores that the folder now holds.

    Raises:
        InputError: tables would mix protocols or test images.
    """
    everything = _merged(out / SCORES, scores)
    write_tables(out / REPORT, everything, methods=find_methods(), datasets=dataset_labels(), mixed=mixed)
    write_scores(out / SCORES, everything)
    return everything


def find_samples(dataset: str, root: Path | None, categories: Sequence[str] | None = None) -> list[Sample]:
    """The samples of a data set by its key, sorted.

    Raises:
        InputError: unknown data set, a missing or superfluous root, or whatever the data set finds wrong.
    """
    if dataset not in DATASETS:
        raise InputError(f"no data set {dataset}; {near_matches(dataset, list(DATASETS))}")
    facts = DATASETS[dataset]
    if facts.needs_root and root is None:
        raise InputError(f"{facts.label} is not part of the toolkit; say where it lies with --data-root FOLDER")
    if not facts.needs_root and root is not None:
        raise InputError(f"{facts.label} needs no --data-root; for images of your own choose --dataset mvtec_ad")
    return facts.find(root, categories)


def dataset_labels() -> dict[str, str]:
    """Names of the data sets in print, by key."""
    return {key: facts.label for key, facts in DATASETS.items()}


def _conditions(plan: RunPlan, data: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What the maps of each method depend on; a finished case with other conditions is not taken for this one."""
    unknown = sorted(set(plan.settings) - set(plan.methods))
    if unknown:
        raise InputError(f"--set names {unknown[0]}, which is not among the methods of this run")
    if len(set(plan.methods)) < len(plan.methods):
        raise InputError(f"a method is named twice in {', '.join(plan.methods)}")
    options = plan.options
    shared = {
        "data": data["checksum"],
        "seed": options.seed,
        "preset": options.preset,
        "backbone": options.backbone,
        "backbone_weights": str(options.backbone_weights) if options.backbone_weights else None,
        "max_minutes": options.max_minutes,
        "precision": options.precision,
        "half": plan.half,
    }
    own = {
        name: {"maps": str(plan.maps[name])} if name in plan.maps else {"settings": dict(plan.settings.get(name, {}))}
        for name in plan.methods
    }
    return {name: shared | own[name] for name in plan.methods}


def _is_due(plan: RunPlan, record: Mapping[str, Any], name: str, conditions: Mapping[str, Any]) -> bool:
    done = record["cases"].get(f"{name}/{plan.dataset}")
    if done is None or plan.overwrite:
        return True
    for key, value in conditions.items():
        if done.get(key) != value:
            raise InputError(
                f"{plan.out} already holds {name} on {plan.dataset} with {key} {done.get(key)}, not {value}; "
                "choose another --out, or give --overwrite"
            )
    return False


def _build(plan: RunPlan, name: str) -> Method:
    if name in plan.maps:
        return MapsMethod(name, plan.maps[name])
    facts = find_method(name)
    if facts.build is None:
        raise InputError(
            f"{facts.label} has no live model here; score the maps of its official code with "
            f"`aseg-bench eval MAPS --name {name}` (`aseg-bench methods --show {name}` says how to write them)"
        )
    options = replace(plan.options, folder=_training_folder(plan, name), settings=plan.settings.get(name, {}))
    try:
        return facts.build(options)
    except ModuleNotFoundError as error:
        raise InputError(
            f"{facts.label} needs the package {error.name}; install it with `pip install 'aseg-bench[models]'`"
        ) from error


def _training_folder(plan: RunPlan, name: str) -> Path:
    return plan.out / "training" / name / plan.dataset


def _discard(plan: RunPlan, name: str) -> None:
    shutil.rmtree(plan.out / "maps" / name / plan.dataset, ignore_errors=True)  # of a crashed run
    if plan.overwrite:
        shutil.rmtree(_training_folder(plan, name), ignore_errors=True)


def _make_maps(plan: RunPlan, method: Method, samples: Sequence[Sample], store: MapStore) -> dict[str, float]:
    train = [sample for sample in samples if sample.split == "train"]
    test = [sample for sample in samples if sample.split == "test"]
    started = time.monotonic()
    method.fit(train)
    fitted = time.monotonic()
    for anomaly_map in track(method.predict(test), f"maps of {method.name}", len(test), plan.options.quiet):
        store.write(method.name, anomaly_map, half=plan.half)
    missing = store.missing(method.name, test)
    if missing:
        raise InputError(f"{method.name} gave no map for {len(missing)} images, first {missing[0].name}")
    return {"fit": round(fitted - started, 1), "predict": round(time.monotonic() - fitted, 1)}


def _refuse_left_over(store: MapStore, name: str, dataset: str, test: Sequence[Sample]) -> None:
    left_over = store.left_over(name, dataset, test)
    if left_over:
        raise InputError(
            f"{len(left_over)} maps of {name} belong to no test image, first {left_over[0]}; remove them, "
            "or give --overwrite"
        )


def _merged(path: Path, scores: Sequence[Score]) -> list[Score]:
    """The new scores, and those of other (method, data set) pairs that were there before."""
    pairs = {(score.case.method, score.case.dataset) for score in scores}
    kept = read_scores(path) if path.exists() else []
    return [score for score in kept if (score.case.method, score.case.dataset) not in pairs] + list(scores)


def _data_facts(plan: RunPlan, samples: Sequence[Sample]) -> dict[str, Any]:
    return {
        "root": str(plan.data_root) if plan.data_root else None,
        "categories": sorted({sample.category for sample in samples}),
        "n_train": sum(sample.split == "train" for sample in samples),
        "n_test": sum(sample.split == "test" for sample in samples),
        "checksum": checksum(samples),
    }


def _read_record(out: Path) -> dict[str, Any]:
    path = out / RECORD
    if not path.exists():
        return {"datasets": {}, "cases": {}}
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return {"datasets": dict(record["datasets"]), "cases": dict(record["cases"])}
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is no record of a run ({error}); move it away, or choose another --out") from error


def _write_record(out: Path, record: Mapping[str, Any]) -> None:
    content = {
        "aseg_bench": __version__,
        "command": " ".join(["aseg-bench", *sys.argv[1:]]),
        "machine": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "versions": dict(_versions()),
        **record,
    }
    with written_whole(out / RECORD) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _versions() -> Iterator[tuple[str, str]]:
    for package in _VERSIONS_OF:
        try:
            yield package, version(package)
        except PackageNotFoundError:
            continue
