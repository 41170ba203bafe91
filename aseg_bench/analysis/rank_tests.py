"""Methods compared over categories: mean ranks, Friedman and Nemenyi, and Wilcoxon with Holm's correction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import sqrt

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from aseg_bench.errors import InputError


@dataclass(frozen=True, slots=True)
class PairTest:
    """Two methods compared over categories.

    Attributes:
        first: the one method.
        second: the other.
        difference: mean of first - second over the categories.
        wilcoxon: p-value of the signed-rank test, Holm-corrected over all pairs.
        nemenyi: p-value of the Nemenyi test, which is corrected by construction; None with two methods.
    """

    first: str
    second: str
    difference: float
    wilcoxon: float
    nemenyi: float | None


@dataclass(frozen=True)
class RankTests:
    """All methods compared over categories.

    Attributes:
        mean_ranks: by method, 1 is best; ties share their mean rank.
        n_categories: categories where every method has a value.
        friedman: p-value that all methods rank alike; None with two methods.
        critical_difference: of mean ranks at the 5 % level (Nemenyi).
        pairs: every pair of methods.
    """

    mean_ranks: dict[str, float]
    n_categories: int
    friedman: float | None
    critical_difference: float
    pairs: list[PairTest]


def rank_tests(values: Mapping[str, Sequence[float]], higher_is_better: bool = True) -> RankTests:
    """Friedman test with Nemenyi's, and Wilcoxon signed-rank tests with Holm's correction, over categories.

    Args:
        values: by method, one value per category, in the same order.
        higher_is_better: of the metric.

    Raises:
        InputError: fewer than two methods or two categories, or unequal lengths.

    Source: Demšar (2006), https://jmlr.org/papers/v7/demsar06a.html
    """
    table = [list(row) for row in values.values()]
    if len(table) < 2 or len({len(row) for row in table}) != 1 or len(table[0]) < 2:
        raise InputError("rank tests need two methods or more with values on the same two categories or more")
    scores = np.array(table) * (-1 if higher_is_better else 1)
    n_methods, n_categories = scores.shape
    ranks = stats.rankdata(scores, axis=0).mean(axis=1)
    spread = sqrt(n_methods * (n_methods + 1) / (6 * n_categories))
    names = list(values)
    pairs = list(combinations(range(n_methods), 2))
    wilcoxon = holm([_wilcoxon(scores[i] - scores[j]) for i, j in pairs])
    many = n_methods > 2
    return RankTests(
        mean_ranks=dict(zip(names, ranks.tolist(), strict=True)),
        n_categories=n_categories,
        friedman=_friedman(scores) if many else None,
        critical_difference=float(stats.studentized_range.ppf(0.95, n_methods, np.inf)) / sqrt(2) * spread,
        pairs=[
            PairTest(
                names[i],
                names[j],
                float(np.mean(np.subtract(table[i], table[j]))),
                p_value,
                float(stats.studentized_range.sf(sqrt(2) * abs(ranks[i] - ranks[j]) / spread, n_methods, np.inf))
                if many
                else None,
            )
            for (i, j), p_value in zip(pairs, wilcoxon, strict=True)
        ],
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for their number: the chance of one false alarm or more stays below the level.

    Source: Holm (1979), https://www.jstor.org/stable/4615733
    """
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(p_values), 0, -1)
    corrected = np.empty(len(p_values))
    corrected[order] = np.minimum(1, np.maximum.accumulate(np.asarray(p_values)[order] * factors))
    return corrected.tolist()


def _friedman(scores: NDArray[np.float64]) -> float:
    return 1.0 if (scores == scores[0]).all() else float(stats.friedmanchisquare(*scores).pvalue)


def _wilcoxon(differences: NDArray[np.float64]) -> float:
    return float(stats.wilcoxon(differences).pvalue) if np.any(differences) else 1.0
