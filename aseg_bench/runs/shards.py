"""An evaluation in shards: what they have in common, what each of them does, and what that adds up to."""

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, fields, replace
from pathlib import Path
from typing import Any, NamedTuple, Self

from joblib import cpu_count

from aseg_bench.datasets.checks import Looks, digests, findings_of, look_at_images
from aseg_bench.datasets.questions import Look
from aseg_bench.errors import InputError
from aseg_bench.files import sha256_of
from aseg_bench.metrics import DEFAULT_METRICS
from aseg_bench.predictions.imported import OWN_DATASET
from aseg_bench.predictions.loading import digests_of_files
from aseg_bench.protocols import find_protocol
from aseg_bench.protocols.mask_rule import own_rule
from aseg_bench.records import Case, Finding, Sample, Score
from aseg_bench.remote import named
from aseg_bench.runs.admission import described
from aseg_bench.runs.engines import Engine
from aseg_bench.runs.record import DataFacts
from aseg_bench.runs.sources import Source
from aseg_bench.scoring.categories import SCORING
from aseg_bench.scoring.dumps import ScoredDump, score_dump
from aseg_bench.scoring.saturation import needing_saturation, needs_whole
from aseg_bench.scoring.shards import Rules, Shard, add_up, count, interleaved, look, thresholds

VERSION = 2  # of the files of shards; raised when their meaning changes
_ELSEWHERE = ("maps", "data_root")  # paths, which may differ between hosts
_ONE_AT_A_TIME = threading.Lock()  # readers are not made for the threads that a Dask worker may have
Report = Callable[[], None]


@dataclass(frozen=True)
class Plan:
    """What all shards of an evaluation have in common, as ``part.json`` has it.

    Attributes:
        method: name in the tables.
        seed: of the training that made the maps.
        maps: where they lie; of a URL without its password.
        maps_reader: key of the reader.
        dataset: key of ``DATASETS``; None where masks travel with the maps.
        data_root: where the data set lies.
        protocol: key of ``PROTOCOLS``.
        mask_rule: which values of a mask mean anomalous or void.
        stamp: of the protocol under this rule.
        metrics: keys of ``METRICS``.
        allow_clamped: whether clamped maps are scored.
        n_shards: how many there are.
        categories: number of test images of each.
        images: SHA-256 over the names of all images.
        facts: of the data set, see `DataFacts`, without checksum and findings; None without a data set.
        notes: what looks odd in the dump as a whole, kind and text.
        scoring: see ``SCORING``.
        version: of the file.
    """

    method: str
    seed: int
    maps: str
    maps_reader: str
    dataset: str | None
    data_root: str | None
    protocol: str
    mask_rule: str
    stamp: str
    metrics: list[str]
    allow_clamped: bool
    n_shards: int
    categories: dict[str, int]
    images: str
    facts: dict[str, Any] | None
    notes: list[list[str]]
    scoring: int = SCORING
    version: int = VERSION

    @classmethod
    def of(
        cls,
        source: Source,
        method: str,
        seed: int,
        protocol: str,
        metrics: Sequence[str] | None,
        n_shards: int = 1,
    ) -> Self:
        """The plan of an evaluation; the arguments are those of `evaluate`.

        Raises:
            InputError: maps or images cannot be found, or a name is unknown.
        """
        imported, samples, root = source.opened()
        found = imported.found
        facts = None if samples is None else asdict(described(root, samples, source.reading))
        return cls(
            method,
            seed,
            named(source.maps),
            imported.reader.key,
            source.dataset,
            facts["root"] if facts else None,
            protocol,
            source.mask_rule,
            find_protocol(protocol, source.mask_rule).stamp,
            list(DEFAULT_METRICS if metrics is None else metrics),
            source.allow_clamped,
            n_shards,
            {category: len(pairs) for category, pairs in found.items()},
            sha256_of(f"{sample.dataset}/{sample.name}\0" for pairs in found.values() for sample, _ in pairs),
            facts and {key: one for key, one in facts.items() if key not in {"root", "checksum", "findings"}},
            [[one.kind, one.text] for one in imported.suspicions[""]],
        )

    @property
    def rules(self) -> Rules:
        """How every shard is scored.

        Raises:
            InputError: shards do not add up under the protocol, or to a metric.
        """
        if needs_whole(self.dataset, self.metrics):
            raise InputError(
                f"shards carry no saturation areas of defects, which {needing_saturation(self.metrics)} needs; "
                "leave out --shard, or that metric"
            )
        return Rules(find_protocol(self.protocol, self.mask_rule), tuple(self.metrics))

    @property
    def shards(self) -> list[Shard]:
        """All of them."""
        return [Shard(number, self.n_shards) for number in range(1, self.n_shards + 1)]

    @property
    def cut(self) -> list[str]:
        """Categories that an engine with so many workers as shards cuts; the others go to one worker each.

        What is read in one piece is read less often, so none is cut that is not more than the share of a worker; and
        none under a protocol whose code, or for a metric that, needs all maps of a category at once.
        """
        if find_protocol(self.protocol, self.mask_rule).is_restated or needs_whole(self.dataset, self.metrics):
            return []
        share = sum(self.categories.values()) / self.n_shards
        return [name for name, n_images in self.categories.items() if n_images > share]

    @property
    def n_jobs(self) -> int:
        """How many scorings an engine does, of shards and of categories."""
        return len(self.categories) + len(self.cut) * (2 * self.n_shards - 1)

    @property
    def key(self) -> str:
        """The data set's key in a record."""
        return self.dataset or OWN_DATASET

    def case(self, category: str = "") -> Case:
        """What scores and findings are about."""
        return Case(self.method, self.key, category)

    def differences(self, other: Self) -> list[str]:
        """What differs between the plans of shards that do not belong together."""
        names = [item.name for item in fields(self) if item.name not in _ELSEWHERE]
        return [
            f"{name.replace('_', ' ')} ({getattr(self, name)} and {getattr(other, name)})"
            for name in names
            if getattr(self, name) != getattr(other, name)
        ]


def check_whole(source: Source) -> None:
    """Refuse maps that are missing or superfluous, before any work.

    Raises:
        InputError: some are.
    """
    if problems := source.opened().imported.problem_text:
        raise InputError(f"{problems}. In one process, --keep-going scores the other categories")


class Job(NamedTuple):
    """What a shard does in a category, in the second round with its thresholds."""

    source: Source
    rules: Rules
    shard: Shard
    category: str
    against: bytes = b""

    def done(self) -> bytes:
        """Do it."""
        with _ONE_AT_A_TIME:
            imported = self.source.opened().imported
            if self.against:
                return count(imported, self.category, self.shard, self.rules, self.against)
            return look(imported, self.category, self.shard, self.rules)

    @property
    def files(self) -> list[str]:
        """Of its maps."""
        return _origins(self.source, [self.category], self.shard.some)


class FilesJob(NamedTuple):
    """A shard's look at its part of all files."""

    source: Source
    shard: Shard

    def done(self) -> bytes:
        """Do it."""
        with _ONE_AT_A_TIME:
            return json.dumps(_files(self.source, self.shard)).encode()

    @property
    def files(self) -> list[str]:
        """Of its maps."""
        return _origins(self.source, list(self.source.opened().imported.found), self.shard.some)


class CategoryJob(NamedTuple):
    """The scoring of a whole category."""

    source: Source
    plan: Plan
    category: str

    def done(self) -> ScoredDump:
        """Do it, as one process does."""
        with _ONE_AT_A_TIME:
            imported = self.source.opened().imported
            alone = replace(
                imported,
                found={self.category: imported.found[self.category]},
                suspicions={**imported.suspicions, "": []},
            )
            protocol = find_protocol(self.plan.protocol, self.plan.mask_rule)
            n_threads = max(1, cpu_count() // self.plan.n_shards)  # the other workers have the others
            method, metrics = self.plan.method, self.plan.metrics
            return score_dump(alone, method, protocol=protocol, metrics=metrics, n_threads=n_threads)

    @property
    def files(self) -> list[str]:
        """Of its maps."""
        return _origins(self.source, [self.category])


def _origins(source: Source, categories: Sequence[str], some: slice = slice(None)) -> list[str]:
    found = source.opened().imported.found
    return [str(item.origin) for name in categories for _, item in found[name][some]]


class Facts(NamedTuple):
    """What is known of the files once all shards have read theirs: checksum of the maps, and what the data are."""

    maps_checksum: str
    data: DataFacts | None


def facts_of(plan: Plan, parts: Sequence[Mapping[str, Any]]) -> Facts:
    """What the shards' accounts of their files add up to.

    Args:
        plan: of the evaluation.
        parts: what each shard says of its files, by number of the shard.
    """
    checksum = sha256_of(interleaved([part["maps"] for part in parts]))
    if plan.facts is None:
        return Facts(checksum, None)
    samples = [
        Sample(dataset, category, split, defect, stem, Path(), is_image_level=is_image_level)
        for dataset, category, split, defect, stem, is_image_level in interleaved([part["samples"] for part in parts])
    ]
    masks = [one and Look(*one) for one in interleaved([part["masks"] for part in parts])]
    of_normal = [Look(*one) for part in parts for one in part["of_normal"]]
    left_out = [Finding(kind, text, Case(*case)) for part in parts for kind, text, case in part["left_out"]]
    findings = findings_of(Looks(masks, [None] * len(masks), of_normal, left_out), samples)
    digest = sha256_of(interleaved([part["digests"] for part in parts]))
    return Facts(checksum, DataFacts(digest, root=plan.data_root, **plan.facts, findings=tuple(findings)))


def dump_of(
    plan: Plan,
    looks: Sequence[Mapping[str, bytes]],
    counts: Sequence[Mapping[str, bytes]],
    whole: Mapping[str, ScoredDump] | None = None,
) -> ScoredDump:
    """The scores and findings that both rounds of all shards add up to; each shard has its bytes by category.

    Args:
        plan: of the evaluation.
        looks: first round of each shard.
        counts: second round of each shard.
        whole: categories that were scored in one piece.

    Raises:
        InputError: what one shard's maps are, another's are not.
    """
    scores, findings, sizes = list[Score](), list[Finding](), dict[str, str]()
    for category in plan.categories:
        case, alone = plan.case(category), (whole or {}).get(category)
        if alone is not None:
            scores += alone.scores
            findings += alone.findings
            sizes |= alone.sizes
            continue
        scored, found = add_up(case, plan.rules, *([part[category] for part in of] for of in (looks, counts)))
        scores += scored.scores
        findings += [*scored.findings, *(Finding(one.kind, one.text, case) for one in found)]
        sizes[category] = scored.size
    findings += [Finding(kind, text, plan.case()) for kind, text in plan.notes]
    return ScoredDump(scores, findings, (), sizes)


def facts_on(engine: Engine | None, plan: Plan, source: Source) -> Facts:
    """Read all files on an engine, or without one here.

    Raises:
        InputError: a file cannot be used.
    """
    if engine is None:
        return facts_of(plan, [_files(source, Shard(1, 1))])
    jobs = [FilesJob(source.from_elsewhere, shard) for shard in plan.shards]
    return facts_of(plan, [json.loads(data) for data in engine.results(FilesJob.done, jobs, _files_of)])


def scored_on(engine: Engine, plan: Plan, source: Source, tell: Report) -> ScoredDump:
    """Score all maps on an engine; the digits are those of one process.

    Args:
        engine: runs the shards.
        plan: of the evaluation.
        source: of the maps, in the place where the engine's processes find them too.
        tell: called for each of the ``n_jobs`` of the plan.

    Raises:
        InputError: maps cannot be used.
    """
    there, cut = source.from_elsewhere, plan.cut
    larger_first = sorted(plan.categories, key=lambda name: -plan.categories[name])
    jobs = [CategoryJob(there, plan, name) for name in larger_first if name not in cut]
    whole = engine.results(CategoryJob.done, jobs, _files_of, tell)
    by_category = {job.category: alone for job, alone in zip(jobs, whole, strict=True)}
    if not cut:
        return dump_of(plan, (), (), by_category)
    first = [Job(there, plan.rules, shard, name) for name in cut for shard in plan.shards]
    looks = _by_shard(plan, engine.results(Job.done, first, _files_of, tell))
    against = {name: thresholds(name, [of[name] for of in looks], plan.rules) for name in cut}
    second = [job._replace(against=against[job.category]) for job in first]
    counts = _by_shard(plan, engine.results(Job.done, second, _files_of, tell))
    return dump_of(plan, looks, counts, by_category)


def _files(source: Source, shard: Shard) -> dict[str, Any]:
    """A shard's account of its part of the files: digests and what masks show; the first one's also of files beside."""
    imported, samples, root = source.opened()
    said: dict[str, Any] = {"maps": digests_of_files(imported.path, shard.some)}
    if samples is None:
        return said
    beside = root if shard.number == 1 else None
    looks = look_at_images(samples, beside, is_anomalous=own_rule(source.mask_rule), whole=False, some=shard.some)
    return said | {
        "samples": [(s.dataset, s.category, s.split, s.defect, s.stem, s.is_image_level) for s in samples[shard.some]],
        "digests": digests(samples, shard.some),
        "masks": looks.masks,
        "of_normal": looks.of_normal,
        "left_out": [(one.kind, one.text, astuple(one.case)) for one in looks.left_out],
    }


def _files_of(job: Job | FilesJob | CategoryJob) -> list[str]:
    return job.files


def _by_shard(plan: Plan, results: Sequence[bytes]) -> list[dict[str, bytes]]:
    """Results of jobs, which are ordered by category and then by shard."""
    n = plan.n_shards
    return [dict(zip(plan.cut, results[shard.number - 1 :: n], strict=True)) for shard in plan.shards]
