"""A run on MVTec AD 2 as its server wants it: maps of the images whose truth nobody else has, and their masks."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from aseg_bench.analysis.scored_maps import by_category
from aseg_bench.datasets import DATASETS, checksum, root_here
from aseg_bench.datasets.mvtec_ad_2 import MVTEC_AD_2
from aseg_bench.errors import InputError, near_matches
from aseg_bench.files import sha256_of, written_whole
from aseg_bench.images import image_size
from aseg_bench.methods import Method, MethodOptions, find_method
from aseg_bench.metrics import measure
from aseg_bench.predictions.loading import checksum_of_files
from aseg_bench.predictions.maps_method import MapsMethod
from aseg_bench.predictions.records import Limits
from aseg_bench.predictions.store import MapStore
from aseg_bench.progress import track
from aseg_bench.protocols.frame import resized_map
from aseg_bench.protocols.mask_rule import DEFAULT_RULE
from aseg_bench.records import Case, LazySequence, Sample
from aseg_bench.remote import here
from aseg_bench.runs.folder import RunFolder
from aseg_bench.runs.lock import held
from aseg_bench.runs.record import CaseRecord
from aseg_bench.runs.results import Results
from aseg_bench.runs.submission_rules import CALLED, ENDINGS, N_IMAGES, SCORES, SPLITS, check_submission

DATASET = MVTEC_AD_2.key
N_VALUES = 0x7C00  # float16 values from 0 to the largest one: as integers, their bits count them
_TOP = 0.05  # of the distinct scores get half of the values: the server's AUPRO ends at 5 % false positives
_N_KNOTS = 2**20  # scores of a category that are looked at to spread the values
_N_DIGITS = 12  # of a checksum that names a folder

Rescaled = Callable[[NDArray[np.floating]], NDArray[np.float16]]


@dataclass(frozen=True)
class Converted:
    """What float16 costs an object.

    Attributes:
        category: the object.
        n_images: private images, in both splits.
        n_scores: distinct scores that were looked at.
        n_kept: distinct values that they have become.
        pixel_ap: of the public test images, from the run's scores; None where undefined.
        pixel_ap_kept: from the same scores as they are submitted.
    """

    category: str
    n_images: int
    n_scores: int
    n_kept: int
    pixel_ap: float | None
    pixel_ap_kept: float | None


@dataclass(frozen=True)
class Submission:
    """What was written for the server.

    Attributes:
        out: its folder.
        method: of the run.
        converted: by object.
        problems: what the server would refuse, as of a run on some objects only.
    """

    out: Path
    method: str
    converted: Sequence[Converted]
    problems: Sequence[str]


def submit(
    run: Path,
    out: Path,
    *,
    method: str | None = None,
    device: str = "auto",
    limits: Limits | None = None,
    quiet: bool = True,
) -> Submission:
    """Write maps and masks of the private images of MVTec AD 2; ``aseg-bench submit mvtec_ad_2`` is this function.

    The maps are made as those of the run were, and kept in its folder ``submission`` as they come, so that the same
    command goes on where it was stopped, as long as model and images are the same. They are resized to their images,
    and called anomalous above the threshold that the run has found for the object. Scores become float16 in their
    order: see `rescaling`.

    Args:
        run: folder of a finished run on MVTec AD 2 with a threshold, under the protocol ``native``.
        out: folder of the submission.
        method: of the run; None takes its only one.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        limits: how much a file of maps that the run has read may ask for, and whether pickles are read.
        quiet: no progress bars.

    Raises:
        InputError: the run is not one of MVTec AD 2, has no threshold that was found at the size of the images, or
            several methods of which none is named; its images or its training are not where it left them, or the
            training has changed; or the folder of the submission is one of the run's.
    """
    if out.resolve().is_relative_to(run.resolve()):
        raise InputError(f"{out} lies in the run; choose another --out, which the server gets")
    with held(run):
        results = Results.of(RunFolder(run))
        name = _method_in(results, method)
        case = results.record.cases[name, DATASET]
        private, train = _images(results, case)
        made_of = [str(case.kept_checksum), checksum(private), *_dump_of(case)]
        store = MapStore(run / "submission" / sha256_of(made_of)[:_N_DIGITS])
        if missing := store.missing(name, private):
            options = MethodOptions(device=device, quiet=quiet)
            made = _made_again(results.folder, name, case, train, options, limits)
            for anomaly_map in track(made.predict(missing), f"maps of {name}", len(missing), quiet):
                store.write(name, anomaly_map, half=case.conditions.half)
        test = by_category(results.samples(DATASET))
        jobs = list(by_category(private).items())
        converted = [
            _written(results, store, out, name, own, test[place])
            for place, own in track(jobs, "writing", len(jobs), quiet)
        ]
    counts = {category: sum(one.split == "test_private" for one in own) for (_, category), own in jobs}
    sizes = {(one.category, one.split, one.stem): image_size(one.image_path) for one in private}
    problems = check_submission(out, counts, sizes)
    if counts != N_IMAGES:
        whole = sum(N_IMAGES.get(name, -1) == n for name, n in counts.items())
        problems.append(
            f"the server takes all {len(N_IMAGES)} objects with {sum(N_IMAGES.values()):,} images in either split; of "
            f"these the run has {whole} whole"
        )
    return Submission(out, name, converted, problems)


def rescaling(scores: Sequence[NDArray[np.floating]]) -> tuple[Rescaled, int, int]:
    """How the scores of some maps become float16, in their order and with as few of them alike as that allows.

    The 31,744 values from 0 to the largest float16 are spread evenly over the distinct scores, half of them over the
    highest 5 % of these. With fewer scores than values no two become one.

    Args:
        scores: maps; of more than 2^20 scores, every nth and each map's lowest and highest are looked at.

    Returns:
        The conversion, how many distinct scores were looked at, and how many distinct values they become.
    """
    n_pixels = sum(of_map.size for of_map in scores)
    step = 1 + n_pixels // _N_KNOTS
    some = [np.append(of_map.ravel()[::step], [of_map.min(), of_map.max()]) for of_map in scores]
    knots = np.unique(np.concatenate(some).astype(np.float64))
    last = N_VALUES - 1
    if len(knots) <= N_VALUES:
        places = np.linspace(0, last, len(knots))
    else:
        places = np.interp(np.linspace(0, 1, len(knots)), [0, 1 - _TOP, 1], [0, last / 2, last])

    def rescaled(of_map: NDArray[np.floating]) -> NDArray[np.float16]:
        values: NDArray[np.float16] = np.rint(np.interp(of_map, knots, places)).astype(np.uint16).view(np.float16)
        return values

    return rescaled, len(knots), len(np.unique(rescaled(knots)))


def _method_in(results: Results, method: str | None) -> str:
    there = [name for (name, dataset), case in results.record.cases.items()
             if dataset == DATASET and not case.is_evaluated and not case.failed]  # fmt: skip
    if not there:
        raise InputError(f"{results.folder.out} is not a run on {DATASET}; only such maps go to its server")
    if method is not None and method not in there:
        raise InputError(f"{results.folder.out} holds no maps of {method}; {near_matches(method, there)}")
    if method is None and len(there) > 1:
        raise InputError(f"{results.folder.out} holds {', '.join(there)}; say which with --method")
    name = method or there[0]
    threshold = results.record.cases[name, DATASET].threshold
    if threshold is None:
        raise InputError(
            f"{results.folder.out} has no threshold of {name}, which the masks need; run it again with --protocol "
            "native --threshold mean_3std, which trains nothing again"
        )
    protocol = results.protocol
    if protocol.size != "image" or protocol.crop or threshold.protocol != protocol.stamp:
        raise InputError(
            f"{results.folder.out} has a threshold of {name} that was found under the protocol {threshold.protocol}, "
            "and masks are of maps in the size of their images; score the run again with --protocol native "
            f"--threshold {threshold.rule}, which trains nothing again"
        )
    return name


def _images(results: Results, case: CaseRecord) -> tuple[list[Sample], list[Sample]]:
    """The private images, and those on which the method was trained."""
    facts = results.record.datasets[DATASET]
    root = root_here(DATASET, Path(facts.root) if facts.root else None, facts.categories, from_record=True)
    reading = replace(facts.reading, splits=[*SPLITS, *(() if case.conditions.maps else ("train",))])
    found = DATASETS[DATASET].find(root, facts.categories, reading)
    return [one for one in found if one.split in SPLITS], [one for one in found if one.split == "train"]


def _dump_of(case: CaseRecord) -> list[str]:
    """Checksum of the maps that other code has made, where the case is of such, as they are today."""
    place, before = case.conditions.maps, case.conditions.maps_checksum
    if place is None:
        return []
    now = checksum_of_files(here(place, from_record=True))
    if before not in (None, now):
        warnings.warn(
            f"{place} has changed since the run has read it; its threshold is of what was there", stacklevel=3
        )
    return [now]


def _made_again(
    folder: RunFolder,
    name: str,
    case: CaseRecord,
    train: Sequence[Sample],
    options: MethodOptions,
    limits: Limits | None,
) -> Method:
    """The method of a case as it was when its maps were made: a training that has ended is loaded, not repeated."""
    conditions = case.conditions
    if conditions.maps is not None:
        rule = str(case.about.get("mask_rule", DEFAULT_RULE))
        # whoever made the scores has allowed clamped maps
        place = here(conditions.maps, from_record=True)
        return MapsMethod(name, place, limits=limits, allow_clamped=True, mask_rule=rule)
    facts, checkpoint = find_method(name), folder.checkpoint_file(name, DATASET)
    kept = checkpoint if case.weights_checksum else folder.training(name, DATASET)
    if (case.weights_checksum or facts.presets) and not kept.exists():  # what has no presets may keep nothing
        raise InputError(f"{kept} is gone, and another training is not that of the run; run again with --overwrite")
    if case.weights_checksum and checksum_of_files(kept) != case.weights_checksum:
        raise InputError(f"{kept} has changed since the run has made its maps; run again with --overwrite")
    assert facts.build is not None, "it has made maps"
    method = facts.build(
        replace(
            options,
            seed=conditions.seed,
            precision=conditions.precision,
            backbone=conditions.backbone,
            backbone_weights=Path(conditions.backbone_weights) if conditions.backbone_weights else None,
            checkpoint=Path(conditions.checkpoint) if conditions.checkpoint else None,
            max_minutes=conditions.max_minutes,
            preset=conditions.preset,
            settings=conditions.settings or {},
            folder=folder.training(name, DATASET),
        )
    )
    method.fit(train)
    return method


def _written(
    results: Results, store: MapStore, out: Path, name: str, private: Sequence[Sample], test: Sequence[Sample]
) -> Converted:
    """Write the files of an object."""
    category, record = private[0].category, results.record.cases[name, DATASET]
    assert record.threshold is not None, "seen to by _method_in"
    threshold = np.float64(record.threshold.categories[category])
    of_private, of_test = store.maps(name, private), results.folder.store.maps(name, test)
    of_both = LazySequence(
        len(private) + len(test), lambda i: of_private[i] if i < len(private) else of_test[i - len(private)]
    )
    rescaled, n_scores, n_kept = rescaling(of_both)
    for sample, scores in zip(private, of_private, strict=True):
        sized = resized_map(scores, image_size(sample.image_path))
        place = Path(category, sample.split)
        with written_whole(out / SCORES / place / (sample.stem + ENDINGS[SCORES])) as temporary:
            tifffile.imwrite(temporary, rescaled(sized))
        with written_whole(out / CALLED / place / (sample.stem + ENDINGS[CALLED])) as temporary:
            Image.fromarray((sized > threshold).astype(np.uint8) * np.uint8(255)).save(temporary)
    whole, kept = _pixel_aps(results, Case(name, DATASET, category), test, rescaled)
    return Converted(category, len(private), n_scores, n_kept, whole, kept)


def _pixel_aps(
    results: Results, case: Case, test: Sequence[Sample], rescaled: Rescaled
) -> tuple[float | None, float | None]:
    """Pixel AP of the public test images, of scores as they are and as they are submitted."""
    maps = results.folder.maps(case, test, results.protocol)
    submitted = LazySequence(len(test), lambda index: rescaled(maps.scores[index]))
    whole, kept = (
        measure(scores, maps.masks, metrics=["pixel_ap"]).values.get("pixel_ap") for scores in (maps.scores, submitted)
    )
    return whole, kept
