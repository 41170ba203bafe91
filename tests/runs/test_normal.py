import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aseg_bench.errors import InputError
from aseg_bench.runs.normal import quantile_named, quantile_of


@given(
    st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=9), min_size=1, max_size=5),
    st.floats(0.001, 1),
)
def test_the_quantile_is_numpys_higher_one_of_all_scores_together(maps, share):
    scores = [np.array(each, np.float32)[None] for each in maps]
    together = np.concatenate([each.ravel() for each in scores]).astype(np.float64)
    found = quantile_of(scores, together.size, share)
    assert found == np.quantile(together, share, method="higher")
    assert np.mean(together > found) <= 1 - share + 1e-12


def test_a_quantile_is_read_from_its_text():
    assert quantile_named("normal:0.999") == 0.999
    assert quantile_named("normal:1") == 1


@pytest.mark.parametrize("text", ["normal", "normal:", "normal:0", "normal:1.5", "normal:nan", "test:0.9", "0.9", ""])
def test_another_text_is_refused_with_one_to_try(text):
    with pytest.raises(InputError, match=r"try normal:0\.999"):
        quantile_named(text)
