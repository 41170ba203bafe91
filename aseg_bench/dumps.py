"""Scores someone else's maps, category by category, and says what looks wrong in them."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from aseg_bench.errors import InputError
from aseg_bench.evaluate import DSC_ADVICE, DegenerateThresholdWarning, mean_scores, score_category
from aseg_bench.predictions.imported import OWN_DATASET, Category, ImportedMaps
from aseg_bench.protocols import EXACT, Protocol
from aseg_bench.protocols.meeting import Masks
from aseg_bench.records import Case, Score

DEGENERATE = f"the DSC's threshold calls more than half of all pixels anomalous, {DSC_ADVICE}"
_MOST = 0.5  # share of categories whose sign must look wrong before the whole dump's does


@dataclass(frozen=True)
class ScoredDump:
    """What came of a dump.

    Attributes:
        scores: of every category that could be scored, and their mean.
        warnings: what looks wrong though it was scored, one text per finding.
        failures: why a category was not scored, one text each.
    """

    scores: Sequence[Score]
    warnings: Sequence[str]
    failures: Sequence[str]


def score_dump(
    imported: ImportedMaps,
    name: str,
    *,
    protocols: Sequence[Protocol] = (EXACT,),
    metrics: Sequence[str] | None = None,
    keep_going: bool = False,
    tell: Callable[[str], None] = lambda category: None,
) -> ScoredDump:
    """Score all categories of a dump; each is read once.

    Args:
        imported: the dump.
        name: of the method in the tables.
        protocols: each category is scored under each of them.
        metrics: keys of ``METRICS``; None takes the default ones.
        keep_going: leave out the categories that have a problem instead of stopping.
        tell: called with the name of each category that is done.

    Raises:
        InputError: a category has a problem and ``keep_going`` is off, or none can be scored.
    """
    failures = list(filter(None, [imported.problem_text]))
    if failures and not keep_going:
        raise InputError(f"{failures[0]}. With --keep-going the other categories are scored")
    scores: list[Score] = []
    findings: dict[str, list[str]] = {}
    texts: dict[str, str] = {}
    for name_of_category, category in _read(imported, keep_going, failures):
        case = Case(name, category.samples[0].dataset if category.samples else OWN_DATASET, name_of_category)
        own, is_degenerate = scores_under(protocols, case, category, metrics, category.masks)
        scores += own
        if is_degenerate:
            findings.setdefault("dsc", []).append(name_of_category)
            texts["dsc"] = DEGENERATE
        for suspicion in category.suspicions:
            findings.setdefault(suspicion.kind, []).append(name_of_category)
            texts.setdefault(suspicion.kind, suspicion.text)
        tell(name_of_category)
        del category  # with the maps that it keeps, before the next is read
    if not scores:
        raise InputError(f"no category of {imported.path} can be scored: {'; '.join(failures)}")
    n_categories = len({score.case.category for score in scores})
    notes = [_warning(kind, text, findings[kind], n_categories) for kind, text in texts.items()]
    if imported.left_over:
        notes.append(f"{len(imported.left_over)} files hold no map and were left out, first {imported.left_over[0]}")
    return ScoredDump(mean_scores(scores), notes, failures)


def scores_under(
    protocols: Iterable[Protocol], case: Case, category: Category, metrics: Sequence[str] | None, masks: Masks | None
) -> tuple[list[Score], bool]:
    """All scores of one category under several protocols, and whether any makes the DSC's threshold degenerate.

    That is told and not warned of, so that it can be said once for all categories.
    """
    scores: list[Score] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DegenerateThresholdWarning)
        for protocol in protocols:
            scores += score_category(
                case, category.samples, category.maps, protocol=protocol, metrics=metrics, masks=masks
            )
    others = [warning for warning in caught if not issubclass(warning.category, DegenerateThresholdWarning)]
    for warning in others:
        warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    return scores, len(others) < len(caught)


def some(categories: Sequence[str]) -> str:
    """The first few categories, and how many more there are."""
    return ", ".join(categories[:5]) + (f" and {len(categories) - 5} more" if len(categories) > 5 else "")


def _read(imported: ImportedMaps, keep_going: bool, failures: list[str]) -> Iterator[tuple[str, Category]]:
    for name in imported.found:
        try:
            category = imported.read(name)
        except InputError as error:
            if not keep_going:
                raise
            failures.append(str(error))
            continue
        yield name, category
        del category


def _warning(kind: str, text: str, categories: Sequence[str], n_categories: int) -> str:
    weight = "most categories: " if kind == "inverted" and len(categories) > _MOST * n_categories else ""
    return f"{weight}{some(categories)}: {text}"
