"""What is odd about scores and maps, in the words of a report: as sentences, and as marks on the numbers concerned."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from aseg_bench.corruptions import clean_of
from aseg_bench.errors import first_few
from aseg_bench.methods import CUT_SHORT, DISQUALIFYING, MethodFacts, find_methods
from aseg_bench.metrics import AT_PR_THRESHOLD, METRICS
from aseg_bench.records import MEAN, Case, Finding, grouped
from aseg_bench.runs.record import FAILED
from aseg_bench.runs.scores import Key, Result
from aseg_bench.scoring.categories import DEGENERATE, FAINT, SCORING

if TYPE_CHECKING:
    from aseg_bench.runs.results import Results

OLDER = "scored by another version, whose scores differ; the command of the run scores its maps again"
SIZES = "map_sizes"
_OF_NO_NUMBER = frozenset({"doubled", "left_over", "links", "not_taken", "not_used", FAILED})  # kinds of findings
_UNRANKED = DISQUALIFYING | {DEGENERATE, FAINT, SIZES}
_END = {CUT_SHORT: "; "}  # of what a mark says of a finding; else the first of _ENDS
_ENDS = "[:;] |, first "


def findings_of(runs: Sequence["Results"]) -> list[str]:
    """What is odd about scores and maps of several runs, a sentence for each kind and method."""
    categories: dict[tuple[str, str], set[str]] = {}
    for case in (score.case for run in runs for score in run.scores):
        categories.setdefault((case.method, case.dataset), set()).add(case.category)
    found, labels = _all(runs), {name: facts.label for name, facts in find_methods().items()}
    for one in found:
        if one.kind == FAILED:
            categories.setdefault((one.case.method, one.case.dataset), set())
    of_data = dict.fromkeys(finding.text for finding in found if not finding.case.method)
    return list(of_data) + [
        text if key[1] == clean_of(key[1]) else f"{key[1]}: {text}"
        for key, names in categories.items()
        for text in grouped([one for one in found if (one.case.method, one.case.dataset) == key], len(names), labels)
    ]


def marked(results: Mapping[Key, Result], runs: Sequence["Results"]) -> dict[Key, Result]:
    """Merged results with what casts doubt on each of them; a mean has the marks of its categories.

    What is odd about the data marks the mean Anomaly Rate. A training that was cut short or has not learned, maps of
    other sizes than another method's and, for metrics at the threshold of the DSC, a threshold at an extreme keep a
    number from being best or ranked.
    """
    found: dict[tuple[str, str], list[Finding]] = {}
    for one in _all(runs):
        found.setdefault((one.case.method, one.case.dataset), []).append(one)
    categories: dict[str, set[str]] = {}
    for key in results:
        categories.setdefault(key.dataset, set()).update({key.category} - {MEAN})
    made = dict(results)
    for key, result in results.items():
        of_data, of_method = (found.get((method, key.dataset), ()) for method in ("", key.method))
        places = (key.category,) if _level(key.metric) == "data" else ("", key.category)
        here = [
            one
            for one in (*of_data, *of_method)
            if _concerns(one, key.metric) and (key.category == MEAN or one.case.category in places)
        ]
        if here:
            is_disqualified = any(one.kind in _UNRANKED for one in here)
            of_mean = categories[key.dataset] if key.category == MEAN else ()
            made[key] = replace(result, marks=_marks(here, of_mean), is_disqualified=is_disqualified)
    return made


def shown_methods(runs: Sequence["Results"]) -> dict[str, MethodFacts]:
    """The facts of all methods as reports show them: the name of one whose training was cut short says so."""
    shown = find_methods()
    for name in {one.case.method for run in runs for one in run.record.findings if one.kind == CUT_SHORT}:
        facts = shown.get(name, MethodFacts(name, name, "", "", "", ""))
        shown[name] = replace(facts, label=f"{facts.label} (cut short)")
    return shown


def _all(runs: Sequence["Results"]) -> list[Finding]:
    found = [finding for run in runs for finding in run.record.findings]
    found += [
        Finding("older", OLDER, Case(*key, ""))
        for run in runs
        for key, case in run.record.cases.items()
        if case.scoring != SCORING
    ]
    return found + _of_sizes(runs)


def _of_sizes(runs: Sequence["Results"]) -> list[Finding]:
    """A finding for each category whose pixels were scored at several sizes; those of a data set have one text."""
    sizes: dict[tuple[str, str], dict[str, set[str]]] = {}  # data set and category, size, methods
    for run in runs:
        for (method, dataset), case in run.record.cases.items():
            for category, size in case.scored_at.items():
                sizes.setdefault((dataset, category), {}).setdefault(size, set()).add(method)
    differing = {place: by_size for place, by_size in sizes.items() if len(by_size) > 1}
    labels = {name: facts.label for name, facts in find_methods().items()}
    texts = {}
    for dataset in {dataset for dataset, _ in differing}:
        of_all: dict[str, dict[str, None]] = {}
        for size, methods in (item for place, by in differing.items() if place[0] == dataset for item in by.items()):
            of_all.setdefault(size, {}).update(dict.fromkeys(labels.get(name, name) for name in sorted(methods)))
        listed = "; ".join(f"{size}: {first_few(list(names))}" for size, names in of_all.items())
        texts[dataset] = (
            f"maps of different sizes ({listed}), and the size alone moves scores, mostly in favour of smaller maps: "
            "none is best or ranked; --protocol native scores all at the size of the images"
        )
    return [Finding(SIZES, texts[dataset], Case("", dataset, category)) for dataset, category in differing]


def _level(metric: str) -> str:
    return METRICS[metric].level if metric in METRICS else "pixel"


def _concerns(finding: Finding, metric: str) -> bool:
    """Whether a finding of its method, or of its data, is about the values of a metric."""
    level, is_of_method = _level(metric), bool(finding.case.method)
    if finding.kind == SIZES:
        return level in ("pixel", "region")
    if finding.kind in (DEGENERATE, FAINT):
        return metric in AT_PR_THRESHOLD
    return finding.kind not in _OF_NO_NUMBER and is_of_method == (level != "data")


def _marks(findings: Sequence[Finding], categories: Collection[str] = ()) -> tuple[str, ...]:
    """What findings say in a few words, each once; on a mean over categories behind the names of some of them."""
    by_text: dict[str, dict[str, None]] = {}
    for one in findings:
        text = one.text if one.kind == SIZES else re.split(_END.get(one.kind, _ENDS), one.text)[0]
        by_text.setdefault(text, {})[one.case.category] = None
    return tuple(
        f"{first_few(list(names))}: {text}" if names.keys() < set(categories) else text
        for text, names in by_text.items()
    )
