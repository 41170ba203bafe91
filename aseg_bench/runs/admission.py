"""What may enter the folder of a run: nothing of other images, and no mixture that its tables would refuse."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from aseg_bench.datasets import AS_USUAL, Reading, checksum
from aseg_bench.errors import InputError
from aseg_bench.metrics import DEFAULT_METRICS
from aseg_bench.protocols import Protocol
from aseg_bench.records import Case, Finding, Sample, Score
from aseg_bench.remote import named
from aseg_bench.runs.folder import RunFolder
from aseg_bench.runs.record import DataFacts
from aseg_bench.runs.scores import beside, merge_runs


def data_facts(
    root: Path | None, samples: Sequence[Sample], reading: Reading = AS_USUAL, findings: Sequence[Finding] = ()
) -> DataFacts:
    """What the record of a folder tells of a data set: where it lies, which images it holds, and what is odd."""
    return replace(described(root, samples, reading), checksum=checksum(samples), findings=tuple(findings))


def described(root: Path | None, samples: Sequence[Sample], reading: Reading) -> DataFacts:
    """`data_facts` without what only the files tell: checksum and findings."""
    return DataFacts(
        checksum="",
        categories=sorted({sample.category for sample in samples}),
        root=named(root.absolute()) if root else None,
        n_train=sum(sample.split == "train" for sample in samples),
        n_test=sum(sample.split == "test" for sample in samples),
        normal_folder=reading.normal_folder,
        bit_depth=reading.bit_depth,
        image_level=reading.image_level,
    )


def check_name(folder: RunFolder, name: str) -> None:
    """Refuse a name under which maps cannot be evaluated into a folder.

    Raises:
        InputError: the name is not a folder name, or a run has made a method of that name there.
    """
    is_taken = folder.store.folder(name).exists()
    if is_taken or any(method == name and not case.is_evaluated for (method, _), case in folder.record.cases.items()):
        raise InputError(f"{folder.out} holds the maps of a method {name} already; choose another --name or --out")


def check_maps(folder: RunFolder, name: str, dataset: str, maps: Path, checksum: str) -> None:
    """Refuse maps under the name of other ones that were evaluated into a folder; those of one path may change.

    Raises:
        InputError: the folder has scores of other maps under this name.
    """
    case = folder.record.cases.get((name, dataset))
    if case is None or case.conditions.maps_checksum in (None, checksum):
        return
    before = case.conditions.maps or ""
    if Path(before).resolve() != maps.resolve():
        raise InputError(
            f"{folder.out} holds scores of other maps, from {before}, as {name}; give these another --name, or choose "
            "another --out"
        )


def check_data(
    folder: RunFolder, dataset: str, data: DataFacts, methods: Sequence[str], *, overwrite: bool = False
) -> None:
    """Refuse a folder that holds methods on other images of a data set.

    Args:
        folder: of the run.
        dataset: its key.
        data: from ``data_facts``.
        methods: those that will enter.
        overwrite: what there is of them does not stay.

    Raises:
        InputError: the folder holds such a method.
    """
    facts = folder.record.datasets.get(dataset)
    scored = {score.case.method for score in folder.scores if score.case.dataset == dataset}
    found = dict.fromkeys(scored, facts.checksum) if facts else {}
    found |= {name: case.conditions.data for (name, key), case in folder.record.cases.items() if key == dataset}
    for name, of_images in found.items():
        is_replaced = overwrite and name in methods
        if not is_replaced and of_images != data.checksum:
            raise InputError(
                f"{folder.out} holds {name} on other images or categories of {dataset}; choose another --out"
                + (", or give --overwrite" if name in methods else "")
            )


def check_tables(folder: RunFolder, n_images: Mapping[Case, int], protocol: Protocol, *, mixed: bool = False) -> None:
    """Refuse before the work what the tables would refuse after it: a mixture with the scores that are there.

    Args:
        folder: of the run.
        n_images: what is to be scored, and on how many test images.
        protocol: of the new scores.
        mixed: tables may mix protocols.

    Raises:
        InputError: tables would mix protocols or test images, or the folder is of an ablation.
    """
    if folder.is_ablation:
        raise InputError(f"{folder.out} holds an ablation, whose scores are of its lines; choose another --out")
    planned = [Score(case, DEFAULT_METRICS[0], None, count, protocol.stamp) for case, count in n_images.items()]
    merge_runs([beside(folder.scores, planned)], mixed=mixed)
