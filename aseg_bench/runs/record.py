"""What is known of a run: a typed record of its data sets and cases, which ``run.json`` keeps."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

from aseg_bench.datasets import AS_USUAL, Reading
from aseg_bench.records import Case, Finding

FAILED = "failed"  # finding on a method that has come to nothing
_CHECKSUM_OF = {
    "backbone_weights": "backbone_checksum",
    "checkpoint": "checkpoint_checksum",
    "maps": "maps_checksum",
}


@dataclass(frozen=True)
class DataFacts:
    """The images of a data set that a folder holds scores on.

    Attributes:
        checksum: of their names and contents.
        categories: sorted.
        root: where they lie; None for a data set that comes with the toolkit.
        n_train: training images.
        n_test: test images.
        normal_folder: see ``Reading``.
        bit_depth: see ``Reading``.
        image_level: see ``Reading``.
        findings: what is odd about files and masks.
    """

    checksum: str
    categories: list[str]
    root: str | None
    n_train: int = 0
    n_test: int = 0
    normal_folder: str = AS_USUAL.normal_folder
    bit_depth: int = AS_USUAL.bit_depth
    image_level: bool = AS_USUAL.image_level
    findings: Sequence[Finding] = ()

    @property
    def reading(self) -> Reading:
        """How the images are read; no split need be there."""
        return Reading(self.normal_folder, self.bit_depth, self.image_level, splits=())


@dataclass(frozen=True)
class Conditions:
    """What the maps of a method on a data set depend on; a finished case with others is not taken for this one.

    Attributes:
        data: checksum of the images.
        seed: of every random draw; of maps that were read, what their user says.
        preset: name of the method's settings.
        backbone: in place of the preset's.
        backbone_weights: file with its weights.
        backbone_checksum: of that file.
        checkpoint: file whose weights were taken in the place of a training.
        checkpoint_checksum: of it.
        max_minutes: after which the training was to stop.
        precision: as asked for.
        half: whether maps are kept as float16.
        map_size: ``model``, or ``image`` where maps were resized to their images.
        held_out: share of the training images that were held out of the training, for a threshold.
        normal_checksum: of the normal images that were mapped for a threshold; where they change, the maps are made
            again.
        settings: that replace the preset's, as typed; None where the maps were read.
        maps: where other code's maps were read from; None where they were made here.
        maps_checksum: of these, which may change and are then taken again; or of the maps that were made here.
    """

    data: str = ""
    seed: int = 0
    preset: str = "cpu"
    backbone: str | None = None
    backbone_weights: str | None = None
    backbone_checksum: str | None = None
    checkpoint: str | None = None
    checkpoint_checksum: str | None = None
    max_minutes: float | None = None
    precision: str = "auto"
    half: bool = False
    map_size: str = "model"
    held_out: float = 0.0
    normal_checksum: str | None = None
    settings: dict[str, str] | None = None
    maps: str | None = None
    maps_checksum: str | None = None

    def differences(self, other: Self, ignored: Sequence[str] = ()) -> list[tuple[str, Any, Any]]:
        """Name, own and other value of each condition in which the two differ.

        A checksum that one of them lacks says nothing: an older version did not take it, or what it is of differs. A
        file of the same checksum is the same wherever it lies.
        """
        moved = {
            name
            for name, checksum in _CHECKSUM_OF.items()
            if getattr(self, name) and getattr(self, checksum) == getattr(other, checksum) is not None
        }
        pairs = [(item.name, getattr(self, item.name), getattr(other, item.name)) for item in fields(self)]
        return [
            (name, own, others)
            for name, own, others in pairs
            if own != others
            and name not in {*ignored, *moved}
            and not (name.endswith("_checksum") and None in (own, others))
        ]


@dataclass(frozen=True)
class FoundThreshold:
    """A threshold that was found on normal images alone; a pixel that scores above it is called anomalous.

    Attributes:
        rule: key of ``THRESHOLDS``.
        split: of the images: ``validation``, or ``train`` where they were held out of the training.
        n_images: normal images, of all categories.
        protocol: stamp of the protocol under which maps came to the size at which pixels are scored.
        value: of all categories together, for a picture of which nobody says what it shows.
        categories: of each category by itself.
    """

    rule: str
    split: str
    n_images: int
    protocol: str
    value: float
    categories: dict[str, float]

    def at(self, category: str, protocol: str) -> float | None:
        """The threshold of a category under a protocol; None where it was found under another one."""
        return self.categories.get(category) if self.protocol == protocol else None


@dataclass(frozen=True)
class CaseRecord:
    """How the maps of a method on a data set came about.

    Attributes:
        conditions: what they depend on.
        about: what the method says of itself: all its settings, the device.
        seconds: time of ``fit`` and ``predict``; None while it is not finished.
        findings: what is odd about its scores or maps.
        scoring: version of the scoring that made its scores, see ``SCORING``.
        of_maps: what is odd about maps of other code, found when they were taken; it stays as long as they do.
        scored_at: height x width at which the pixels of a category were scored, by category.
        is_evaluated: its maps were scored where they lie, by ``evaluate``: the folder has no copy of them, and perhaps
            not all categories.
        failed: why its last try has come to nothing; it has no scores then.
        made: by which version and command, when and where its maps were made, and with which libraries.
        scored: by which version and command and when its pixels were scored, by category.
        kept_checksum: of the maps as the folder keeps them, without those that were evaluated where they lie.
        weights_checksum: of the checkpoint of its training.
        threshold: found on normal images, where a run was asked for it.
    """

    conditions: Conditions
    about: Mapping[str, Any] = field(default_factory=dict)
    seconds: Mapping[str, float] | None = None
    findings: Sequence[Finding] = ()
    scoring: int = 1
    of_maps: Sequence[Finding] = ()
    scored_at: Mapping[str, str] = field(default_factory=dict)
    is_evaluated: bool = False
    failed: str = ""
    made: Mapping[str, str] = field(default_factory=dict)
    scored: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    kept_checksum: str | None = None
    weights_checksum: str | None = None
    threshold: FoundThreshold | None = None


@dataclass(frozen=True)
class Record:
    """What ``run.json`` says.

    Attributes:
        datasets: by key.
        cases: by method and data set.
        planned: what the last run on each data set was to make, in its order.
    """

    datasets: Mapping[str, DataFacts] = field(default_factory=dict)
    cases: Mapping[tuple[str, str], CaseRecord] = field(default_factory=dict)
    planned: Sequence[tuple[str, str]] = ()

    @property
    def findings(self) -> list[Finding]:
        """What is odd about data, scores and maps, and which methods have failed."""
        return [
            *(finding for facts in self.datasets.values() for finding in facts.findings),
            *(finding for case in self.cases.values() for finding in (*case.findings, *case.of_maps)),
            *(
                Finding(FAILED, f"failed and has no scores: {case.failed}", Case(*key, ""))
                for key, case in self.cases.items()
                if case.failed
            ),
        ]

    def with_plan(self, methods: Sequence[str], dataset: str) -> "Record":
        """The record at the start of a run: what it is to make is planned, and what failed before is tried again."""
        now = [(method, dataset) for method in methods]
        cases = {key: replace(case, failed="") if key in now else case for key, case in self.cases.items()}
        return replace(self, cases=cases, planned=(*(key for key in self.planned if key[1] != dataset), *now))

    def with_case(self, method: str, dataset: str, case: CaseRecord) -> "Record":
        """The record with this case in it."""
        return replace(self, cases={**self.cases, (method, dataset): case})

    def with_data(self, dataset: str, facts: DataFacts) -> "Record":
        """The record with these facts of a data set in it."""
        return replace(self, datasets={**self.datasets, dataset: facts})

    def without(self, gone: Collection[tuple[str, str]]) -> "Record":
        """The record without some cases, by method and data set."""
        return replace(self, cases={key: case for key, case in self.cases.items() if key not in gone})

    def renamed(self, names: Mapping[str, str]) -> "Record":
        """The record with some methods under other names."""

        def own(findings: Sequence[Finding]) -> list[Finding]:
            return [
                replace(one, case=replace(one.case, method=names.get(one.case.method, one.case.method)))
                for one in findings
            ]

        cases = {
            (names.get(method, method), dataset): replace(case, findings=own(case.findings), of_maps=own(case.of_maps))
            for (method, dataset), case in self.cases.items()
        }
        return replace(self, cases=cases)
