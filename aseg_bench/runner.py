"""Methods x one data set: maps, scores and tables, in a folder where interrupted work goes on.

<out>/maps/<method>/<dataset>/<category>/test/<defect>/<stem>.tiff   every map
<out>/training/<method>/<dataset>/                                  checkpoint and losses of a live model
<out>/scores.csv                                                    every score
<out>/run.json                                                      how each (method, data set) came about
<out>/report/                                                       tables
"""

import json
import os
import platform
import shlex
import shutil
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from aseg_bench import __version__
from aseg_bench.datasets import DATASETS, check_images, checksum
from aseg_bench.errors import InputError
from aseg_bench.evaluate import mean_scores, score_category
from aseg_bench.files import make_folder, written_whole
from aseg_bench.methods import Method, MethodOptions, find_method, find_methods, near_matches
from aseg_bench.metrics import DEFAULT_METRICS
from aseg_bench.predictions.imported import MapsMethod, import_maps
from aseg_bench.predictions.loading import checksum as checksum_of_maps
from aseg_bench.predictions.store import MapStore
from aseg_bench.progress import track, working
from aseg_bench.protocols import Protocol, find_protocol
from aseg_bench.records import MEAN, Case, Sample, Score
from aseg_bench.reporting import read_scores, write_scores, write_tables
from aseg_bench.reporting.scores import merge_runs

SCORES, RECORD, REPORT, ABLATION = "scores.csv", "run.json", "report", "ablation.json"
_CHECKSUM = "maps_checksum"  # in the conditions of maps that other code made; unlike the others, it may change
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
        overwrite: discard what there is of the methods on the data set, and compute it again.
        mixed: tables may mix protocols, if the folder holds scores under others.
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
    mixed: bool = False
    maps: Mapping[str, Path] = field(default_factory=dict)


def run(plan: RunPlan) -> list[Score]:
    """Make, keep and score the maps of every method on the data set; what is finished is not done again.

    Maps that other code made are taken anew where their files have changed since, which is said in a warning.

    Returns:
        All scores in ``<out>/scores.csv``: those of this run, and those of other data sets or methods kept there. None
        in a process of ``torchrun`` other than the first.

    Raises:
        InputError: an unknown name, data that cannot be used, or a folder that holds results of other data or settings;
            before any work.
        MissingWeightsError: the weights of a backbone cannot be had; before any work.
        TrainingError: a training cannot go on; what is finished stays.
    """
    ready = _ready(plan)
    store = MapStore(plan.out / "maps")
    if is_helper():
        for method in ready.due.values():
            method.fit([sample for sample in ready.samples if sample.split == "train"])
        return []
    make_folder(plan.out)
    if plan.overwrite:
        discard(plan)
    _drop_scores(plan, lambda score: score.case.method in ready.due or score.protocol != ready.protocol.stamp)
    record = _read_record(plan.out)
    everything: list[Score] = []
    for name in plan.methods:
        if name in ready.due:
            shutil.rmtree(store.folder(name, plan.dataset), ignore_errors=True)  # of a crashed run
            record["datasets"][plan.dataset] = ready.data
            case = record["cases"][f"{name}/{plan.dataset}"] = dict(ready.conditions[name])
            _write_record(plan.out, record)  # before the work, so that what a crash leaves is known for what it is
            case |= _make_maps(plan, ready.due.pop(name), ready.samples, store)
            _write_record(plan.out, record)
        scores = _score(plan, store, name, ready.test, ready.protocol)
        everything = keep_scores(plan.out, mean_scores(scores), mixed=plan.mixed)
    return everything


def check(plan: RunPlan) -> None:
    """Refuse what ``run`` would refuse before any work.

    Raises:
        InputError: as ``run``.
        MissingWeightsError: as ``run``.
    """
    _ready(plan)


def discard(plan: RunPlan) -> None:
    """Take back what the folder of a run holds of the plan's methods on its data set: scores, trainings, maps, record.

    All of them before the first is made again, so that after a stop the same plan goes on without ``overwrite``.
    """
    _drop_scores(plan, lambda score: True)
    if (plan.out / RECORD).exists():
        record = _read_record(plan.out)
        for name in plan.methods:
            record["cases"].pop(f"{name}/{plan.dataset}", None)
        _write_record(plan.out, record)
    for name in plan.methods:
        for folder in (_training_folder(plan, name), MapStore(plan.out / "maps").folder(name, plan.dataset)):
            shutil.rmtree(folder, ignore_errors=True)


def is_helper() -> bool:
    """Whether this is a process of ``torchrun`` other than the first: it helps to train, and writes nothing."""
    return int(os.environ.get("RANK", "0")) > 0


def keep_scores(
    out: Path, scores: Sequence[Score], *, mixed: bool = False, data: Mapping[str, Mapping[str, Any]] | None = None
) -> list[Score]:
    """Write scores and tables into a folder, beside those of other methods and data sets that it holds.

    Args:
        out: folder of the run.
        scores: with their means.
        mixed: tables may mix protocols.
        data: from ``data_facts`` by data set, where the record of the folder shall tell them.

    Returns:
        All scores that the folder now holds.

    Raises:
        InputError: tables would mix protocols or test images.
    """
    everything = _merged(out / SCORES, scores)
    write_tables(out / REPORT, everything, methods=find_methods(), datasets=dataset_labels(everything), mixed=mixed)
    if data:
        record = _read_record(out)
        record["datasets"] |= data
        _write_record(out, record)
    write_scores(out / SCORES, everything)
    return everything


def check_name(out: Path, name: str) -> None:
    """Refuse a name under which maps cannot be evaluated into a folder.

    Raises:
        InputError: it is no folder name, or that of a method which a run has made there.
    """
    is_taken = MapStore(out / "maps").folder(name).exists()
    if is_taken or any(key.split("/")[0] == name for key in _read_record(out)["cases"]):
        raise InputError(f"{out} holds the maps of a method {name} already; choose another --name or --out")


def check_data(
    out: Path, dataset: str, data: Mapping[str, Any], methods: Sequence[str], *, overwrite: bool = False
) -> None:
    """Refuse a folder that holds methods on other images of a data set.

    Args:
        out: folder of the run.
        dataset: its key.
        data: from ``data_facts``.
        methods: those that shall enter.
        overwrite: what there is of them does not stay.

    Raises:
        InputError: it does.
    """
    for name, checksum_of_images in _data_by_method(out, dataset).items():
        is_replaced = overwrite and name in methods
        if not is_replaced and checksum_of_images != data["checksum"]:
            raise InputError(
                f"{out} holds {name} on other images or categories of {dataset}; choose another --out"
                + (", or give --overwrite" if name in methods else "")
            )


def check_tables(out: Path, n_images: Mapping[Case, int], protocol: Protocol, *, mixed: bool = False) -> None:
    """Refuse before the work what the tables would refuse after it: a mixture with the scores that are there.

    Args:
        out: folder of the run.
        n_images: what shall be scored, and on how many test images.
        protocol: of the new scores.
        mixed: tables may mix protocols.

    Raises:
        InputError: tables would mix protocols or test images, or the folder is an ablation's.
    """
    if (out / ABLATION).is_file():
        raise InputError(f"{out} holds an ablation, whose scores are of its lines; choose another --out")
    planned = [Score(case, DEFAULT_METRICS[0], None, count, protocol.stamp) for case, count in n_images.items()]
    merge_runs([_merged(out / SCORES, mean_scores(planned))], mixed=mixed)


def data_facts(root: Path | None, samples: Sequence[Sample]) -> dict[str, Any]:
    """What the record of a folder tells of a data set: where it lies, and which images it holds."""
    return {
        "root": str(root.absolute()) if root else None,
        "categories": sorted({sample.category for sample in samples}),
        "n_train": sum(sample.split == "train" for sample in samples),
        "n_test": sum(sample.split == "test" for sample in samples),
        "checksum": checksum(samples),
    }


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


def dataset_labels(scores: Iterable[Score]) -> dict[str, str]:
    """Names in print of the data sets that were scored, by key."""
    categories: dict[str, set[str]] = {}
    for score in scores:
        if score.case.category != MEAN:
            categories.setdefault(score.case.dataset, set()).add(score.case.category)
    return {key: DATASETS[key].label_of(found) for key, found in categories.items() if key in DATASETS}


class _Ready(NamedTuple):
    """What a run knows before any work: its images and what becomes of each method; ``due`` are those to be made."""

    protocol: Protocol
    samples: Sequence[Sample]
    test: Sequence[Sample]
    data: Mapping[str, Any]
    conditions: Mapping[str, Mapping[str, Any]]
    due: dict[str, Method]


def _ready(plan: RunPlan) -> _Ready:
    protocol = find_protocol(plan.protocol)
    _check_names(plan)
    samples = find_samples(plan.dataset, plan.data_root, plan.categories)
    with working("checking images and maps", plan.options.quiet):
        check_images(samples)
        data = data_facts(plan.data_root, samples)
        conditions = _conditions(plan, data)
    test = [sample for sample in samples if sample.split == "test"]
    store = MapStore(plan.out / "maps")
    record = _read_record(plan.out)
    check_data(plan.out, plan.dataset, data, plan.methods, overwrite=plan.overwrite)
    n_images = Counter(sample.category for sample in test)
    planned = {Case(name, plan.dataset, key): count for name in plan.methods for key, count in n_images.items()}
    check_tables(plan.out, planned, protocol, mixed=plan.mixed)
    due = [name for name in plan.methods if _is_due(plan, record, store, name, conditions[name], test)]
    return _Ready(protocol, samples, test, data, conditions, {name: _build(plan, store, name, test) for name in due})


def _check_names(plan: RunPlan) -> None:
    if not plan.methods:
        raise InputError("no method named; `aseg-bench methods` lists them")
    if len(set(plan.methods)) < len(plan.methods):
        raise InputError(f"a method is named twice in {', '.join(plan.methods)}; name each once")
    live = [name for name in plan.methods if name not in plan.maps]
    for name in live:
        facts = find_method(name)
        if facts.build is None:
            raise InputError(
                f"{facts.label} has no live model here; score the maps of its official code with "
                f"--methods {name}=maps:PATH (`aseg-bench methods --show {name}` says how to write them)"
            )
    for name in plan.maps:
        MapStore(plan.out).folder(name)  # refuses what is no folder name
    for name in plan.settings:
        if name not in live:
            raise InputError(f"--set {name}.… sets nothing: no such method is trained; {near_matches(name, live)}")


def _conditions(plan: RunPlan, data: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What the maps of each method depend on; a finished case with other conditions is not taken for this one."""
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
    maps = {name: {"maps": str(path), _CHECKSUM: checksum_of_maps(path)} for name, path in plan.maps.items()}
    settings = {name: {"settings": dict(plan.settings.get(name, {}))} for name in plan.methods}
    return {name: shared | maps.get(name, settings[name]) for name in plan.methods}


def _is_due(
    plan: RunPlan,
    record: Mapping[str, Any],
    store: MapStore,
    name: str,
    conditions: Mapping[str, Any],
    test: Sequence[Sample],
) -> bool:
    done = record["cases"].get(f"{name}/{plan.dataset}")
    folders = store.folder(name, plan.dataset), _training_folder(plan, name)
    if plan.overwrite:
        return True
    if done is None:
        for folder in filter(Path.exists, folders):
            raise InputError(f"{folder} is of a run without record; move it away, or give --overwrite")
        return True
    for key, value in conditions.items():
        if done.get(key) != value and key != _CHECKSUM:
            raise InputError(
                f"{plan.out} already holds {name} on {plan.dataset} with {key} {done.get(key)}, not {value}; "
                "choose another --out, or give --overwrite"
            )
    values = _preset_values(plan, name) if "all_settings" in done else {}
    for key, value in values.items():
        made_with = done["all_settings"].get(key, value)
        if value != made_with:
            raise InputError(
                f"{plan.out} already holds {name} on {plan.dataset} with {key} {made_with}, which the preset "
                f"{plan.options.preset} has changed to {value}; choose another --out, or give --overwrite"
            )
    left_over = store.left_over(name, plan.dataset, test)
    if left_over:
        raise InputError(
            f"{len(left_over)} maps of {name} belong to no test image, first {left_over[0]}; remove them, "
            "or give --overwrite"
        )
    if _CHECKSUM in done and done[_CHECKSUM] != conditions[_CHECKSUM]:
        warnings.warn(f"{plan.maps[name]} has changed: the maps of {name} are taken from it anew", stacklevel=3)
        return True
    return "seconds" not in done or bool(store.missing(name, test))


def _preset_values(plan: RunPlan, name: str) -> dict[str, Any]:
    """The numbers of the preset that the user has not replaced, as ``run.json`` has them."""
    presets = find_method(name).presets if name not in plan.maps else None
    numbers = asdict(presets()[plan.options.preset]) if presets else {}
    replaced = {*plan.settings.get(name, {}), *(["backbone"] if plan.options.backbone else [])}
    values = {key: value for key, value in numbers.items() if key not in replaced}
    return dict(json.loads(json.dumps(values, default=sorted)))


def _build(plan: RunPlan, store: MapStore, name: str, test: Sequence[Sample]) -> Method:
    if name in plan.maps:
        path, folder = plan.maps[name], store.folder(name, plan.dataset)
        if _overlap(path, folder):
            raise InputError(f"{path} overlaps {folder}, where the run puts its own copy; choose another --out")
        imported = import_maps(path, test)
        if imported.problems.keys() - (
            {""} if plan.categories else ()
        ):  # maps of unwanted categories are in no one's way
            raise InputError(f"{name}: {imported.problem_text}")
        return MapsMethod(name, path)
    facts = find_method(name)
    assert facts.build is not None, "_check_names has seen to it"
    options = replace(plan.options, folder=_training_folder(plan, name), settings=plan.settings.get(name, {}))
    return facts.build(options)


def _overlap(first: Path, second: Path) -> bool:
    first, second = first.resolve(), second.resolve()
    return first.is_relative_to(second) or second.is_relative_to(first)


def _training_folder(plan: RunPlan, name: str) -> Path:
    return plan.out / "training" / name / plan.dataset


def _make_maps(plan: RunPlan, method: Method, samples: Sequence[Sample], store: MapStore) -> dict[str, Any]:
    """Fit and predict; returns what the record of the run says of it."""
    train = [sample for sample in samples if sample.split == "train"]
    test = [sample for sample in samples if sample.split == "test"]
    started = time.monotonic()
    method.fit(train)
    fitted = time.monotonic()
    for anomaly_map in track(method.predict(test), f"maps of {method.name}", len(test), plan.options.quiet):
        store.write(method.name, anomaly_map, half=plan.half)
    n_merged, n_values = store.merged_by_half(method.name)
    if n_merged:
        warnings.warn(
            f"--half merges scores of {method.name}: {n_merged:,} of the {n_values:,} float16 values in its maps stand"
            " for several scores each, which now tie; leave it out to keep all",
            stacklevel=2,
        )
    missing = store.missing(method.name, test)
    if missing:
        raise InputError(
            f"{method.name} gave no map for {len(missing)} images, first {missing[0].name}; "
            "its predict must yield one for each"
        )
    seconds = {"fit": round(fitted - started, 1), "predict": round(time.monotonic() - fitted, 1)}
    return {**getattr(method, "about", {}), "seconds": seconds}


def _score(plan: RunPlan, store: MapStore, name: str, test: Sequence[Sample], protocol: Protocol) -> list[Score]:
    categories = [list(group) for _, group in groupby(test, key=lambda sample: sample.category)]
    scores: list[Score] = []
    for group in track(categories, f"scoring {name}", len(categories), plan.options.quiet):
        case = Case(name, plan.dataset, group[0].category)
        scores += score_category(case, group, store.maps(name, group), protocol=protocol)
    return scores


def _merged(path: Path, scores: Sequence[Score]) -> list[Score]:
    """The new scores, and those of other (method, data set) pairs that were there before."""
    pairs = {(score.case.method, score.case.dataset) for score in scores}
    kept = read_scores(path) if path.exists() else []
    return [score for score in kept if (score.case.method, score.case.dataset) not in pairs] + list(scores)


def _drop_scores(plan: RunPlan, is_stale: Callable[[Score], bool]) -> None:
    """Take stale scores of the plan's methods on its data set out of ``scores.csv``: none outlives its maps."""
    path = plan.out / SCORES
    kept = [
        score
        for score in (read_scores(path) if path.exists() else [])
        if score.case.dataset != plan.dataset or score.case.method not in plan.methods or not is_stale(score)
    ]
    if kept:
        write_scores(path, kept)
    else:
        path.unlink(missing_ok=True)


def _data_by_method(out: Path, dataset: str) -> dict[str, str]:
    """Checksums of the images by method of a folder; evaluated maps, which are no case of the record, share one."""
    record, path = _read_record(out), out / SCORES
    scores = read_scores(path) if path.exists() else []
    shared = record["datasets"].get(dataset, {}).get("checksum")
    evaluated = {score.case.method: shared for score in scores if shared and score.case.dataset == dataset}
    cases = {tuple(key.split("/")): case.get("data") for key, case in record["cases"].items()}
    return evaluated | {name: data for (name, key), data in cases.items() if key == dataset}


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
        "command": shlex.join(["aseg-bench", *sys.argv[1:]]),
        "machine": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "versions": dict(_versions()),
        **record,
    }
    with written_whole(out / RECORD) as temporary:
        temporary.write_text(json.dumps(content, indent=2, default=sorted) + "\n", encoding="utf-8")


def _versions() -> Iterator[tuple[str, str]]:
    for package in _VERSIONS_OF:
        try:
            yield package, version(package)
        except PackageNotFoundError:
            continue
