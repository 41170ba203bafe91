from collections import Counter

import numpy as np
import pytest

from aseg_bench.records import LazySequence


def arrays(n_bytes: int) -> tuple[LazySequence, Counter]:
    """Eight arrays of 100 bytes, and how often each was made."""
    made = Counter()

    def item(index):
        made[index] += 1
        return np.full(100, index, dtype=np.uint8)

    return LazySequence(8, item, n_bytes), made


@pytest.mark.parametrize(("n_bytes", "n_kept"), [(0, 0), (99, 0), (350, 3), (10**6, 8)])
def test_what_is_made_first_is_kept_while_it_fits(n_bytes, n_kept):
    sequence, made = arrays(n_bytes)
    for _ in range(3):
        assert [item[0] for item in sequence] == list(range(8))
    assert made == {index: 1 if index < n_kept else 3 for index in range(8)}


def test_a_lazy_sequence_is_indexed_like_a_list():
    sequence, _ = arrays(0)
    assert sequence[-1][0] == 7
    assert [item[0] for item in sequence[1:6:2]] == [1, 3, 5]
    with pytest.raises(IndexError):
        sequence[8]


def test_tuples_of_arrays_count_with_all_their_arrays():
    made = Counter()
    pair = np.zeros(100, dtype=np.uint8), np.zeros(60, dtype=np.uint8)
    sequence = LazySequence(3, lambda index: made.update([index]) or pair, 330)
    list(sequence), list(sequence)
    assert made == {0: 1, 1: 1, 2: 2}
