from itertools import product

import numpy as np
import pytest
from scipy import stats

from aseg_bench.analysis.rank_tests import holm, rank_tests
from aseg_bench.errors import InputError


def test_holm_equals_its_definition() -> None:
    p_values = [0.01, 0.04, 0.03, 0.005]
    assert holm(p_values) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1, 1]


def test_the_critical_difference_is_that_of_the_source() -> None:
    values = {name: np.random.default_rng(seed).random(14) for seed, name in enumerate("abcd")}
    tests = rank_tests({name: row.tolist() for name, row in values.items()})
    assert tests.critical_difference == pytest.approx(
        1.25, abs=0.005
    )  # Demšar (2006), section 3.2.2: 4 methods, 14 sets
    assert sum(tests.mean_ranks.values()) == pytest.approx(10)
    assert tests.friedman == pytest.approx(stats.friedmanchisquare(*values.values()).pvalue)


def test_pairs_of_methods_are_tested_and_corrected() -> None:
    rng = np.random.default_rng(0)
    base = rng.random(12)
    values = {"best": base + 1, "good": base + 0.5 + 0.01 * rng.random(12), "same": base, "copy": base}
    tests = rank_tests({name: row.tolist() for name, row in values.items()})
    pairs = {(pair.first, pair.second): pair for pair in tests.pairs}
    assert len(pairs) == 6
    assert tests.mean_ranks == {"best": 1, "good": 2, "same": 3.5, "copy": 3.5}
    assert pairs["same", "copy"].wilcoxon == pairs["same", "copy"].nemenyi == 1
    single = stats.wilcoxon(values["best"] - values["same"]).pvalue
    assert pairs["best", "same"].wilcoxon == pytest.approx(6 * single)
    assert pairs["best", "same"].difference == pytest.approx(1)
    assert pairs["best", "same"].nemenyi == pytest.approx(
        stats.studentized_range.sf(2.5 / np.sqrt(20 / 72) * np.sqrt(2), 4, np.inf)
    )


def test_methods_that_tie_everywhere_do_not_differ() -> None:
    tests = rank_tests({name: [0.5, 0.6, 0.7] for name in "abc"})
    assert tests.friedman == 1
    assert set(tests.mean_ranks.values()) == {2}


@pytest.mark.parametrize("shape", list(product((1, 2), (0, 1))))
def test_too_little_to_rank_is_an_input_error(shape: tuple[int, int]) -> None:
    n_methods, n_categories = shape
    with pytest.raises(InputError, match="two methods or more"):
        rank_tests({str(i): [0.5] * n_categories for i in range(n_methods)})
