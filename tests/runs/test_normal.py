import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aseg_bench.errors import InputError
from aseg_bench.metrics import THRESHOLDS, threshold_of
from aseg_bench.runs.folder import RunFolder
from aseg_bench.runs.normal import kept_threshold, rule_named
from aseg_bench.runs.record import CaseRecord, Conditions, FoundThreshold, Record


@given(
    st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=9), min_size=1, max_size=5),
    st.floats(0.001, 1),
)
def test_the_quantile_is_numpys_higher_one_of_all_scores_together(maps, share):
    scores = [np.array(each, np.float32)[None] for each in maps]
    together = np.concatenate([each.ravel() for each in scores]).astype(np.float64)
    found = threshold_of(scores, together.size, rule_named(f"normal:{share}"))
    assert found == np.quantile(together, share, method="higher")
    assert np.mean(together > found) <= 1 - share + 1e-12


def test_a_rule_is_read_from_its_text():
    assert rule_named("normal:0.999").key == "quantile_0.999"
    assert rule_named("normal:max") is THRESHOLDS["max"]


@pytest.mark.parametrize("text", ["normal", "normal:", "normal:0", "normal:1.5", "normal:nan", "test:0.9", "0.9", ""])
def test_another_text_is_refused_with_one_to_try(text):
    with pytest.raises(InputError, match=r"try normal:0\.999"):
        rule_named(text)


def test_the_threshold_of_a_run_is_that_of_its_method_and_data_set(tmp_path):
    run = RunFolder(tmp_path / "run")
    found = FoundThreshold("max", "validation", 9, "exact", 0.75, {"can": 0.5, "vial": 0.75})
    record = Record().with_case("a:b", "mvtec_ad_2", CaseRecord(Conditions(), threshold=found))
    run.write_record(record.with_case("other", "mvtec_ad_2", CaseRecord(Conditions())))
    own, other = (run.checkpoint_file(name, "mvtec_ad_2") for name in ("a:b", "other"))
    assert (kept_threshold(own), kept_threshold(own, "can")) == (0.75, 0.5)
    assert kept_threshold(other) is None
    assert kept_threshold(tmp_path / "checkpoint.pt") is None
    with pytest.raises(InputError, match="no category cans; did you mean can"):
        kept_threshold(own, "cans")
