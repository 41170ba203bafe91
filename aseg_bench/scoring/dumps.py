"""Scores someone else's maps, category by category, and says what looks wrong in them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from aseg_bench.errors import InputError
from aseg_bench.predictions.imported import OWN_DATASET, Category, ImportedMaps
from aseg_bench.protocols import EXACT, Protocol
from aseg_bench.records import Case, Finding, Score
from aseg_bench.scoring.categories import score_category


@dataclass(frozen=True)
class ScoredDump:
    """What came of a dump.

    Attributes:
        scores: of every category that could be scored.
        findings: what looks wrong though it was scored.
        failures: why a category was not scored, one text each.
        sizes: height x width at which the pixels of a category were scored, by category.
    """

    scores: Sequence[Score]
    findings: Sequence[Finding]
    failures: Sequence[str]
    sizes: Mapping[str, str]


def score_dump(
    imported: ImportedMaps,
    name: str,
    *,
    protocol: Protocol = EXACT,
    metrics: Sequence[str] | None = None,
    keep_going: bool = False,
    tell: Callable[[str], None] = lambda category: None,
    n_threads: int | None = None,
) -> ScoredDump:
    """Score all categories of a dump; each is read once.

    Args:
        imported: the dump.
        name: of the method in the tables.
        protocol: how maps and truth are compared.
        metrics: keys of ``METRICS``; None takes the default ones.
        keep_going: leave out the categories that have a problem instead of stopping.
        tell: called with the name of each category that is done.
        n_threads: threads of the sweep; None takes all.

    Raises:
        InputError: a category has a problem and ``keep_going`` is off, or none can be scored.
    """
    failures = list(filter(None, [imported.problem_text]))
    if failures and not keep_going:
        raise InputError(f"{failures[0]}. With --keep-going the other categories are scored")
    scores: list[Score] = []
    findings: list[Finding] = []
    sizes: dict[str, str] = {}
    for name_of_category, category in _read(imported, protocol, keep_going, failures):
        case = Case(name, category.samples[0].dataset if category.samples else OWN_DATASET, name_of_category)
        scored = score_category(
            case,
            category.samples,
            category.maps,
            protocol=protocol,
            metrics=metrics,
            masks=category.masks,
            n_threads=n_threads,
        )
        scores += scored.scores
        findings += scored.findings
        sizes[name_of_category] = scored.size
        findings += [Finding(suspicion.kind, suspicion.text, case) for suspicion in category.suspicions]
        tell(name_of_category)
        del category  # with the maps that it keeps, before the next is read
    if not scores:
        raise InputError(f"no category of {imported.path} can be scored: {'; '.join(failures)}")
    of_all = replace(scores[0].case, category="")
    findings += [Finding(suspicion.kind, suspicion.text, of_all) for suspicion in imported.suspicions[""]]
    return ScoredDump(scores, findings, failures, sizes)


def _read(
    imported: ImportedMaps, protocol: Protocol, keep_going: bool, failures: list[str]
) -> Iterator[tuple[str, Category]]:
    for name in imported.found:
        try:
            category = imported.read(name, protocol.mask_rule)
        except InputError as error:
            if not keep_going:
                raise
            failures.append(str(error))
            continue
        yield name, category
        del category
