from pathlib import Path

import pandas as pd
import pytest

from benchmarks.packing import DATA, RENAMED_FILES, RESULTS, pack

FLAWED = {"source_key": "ader_log_100e", "method": "UniAD", "dataset": "visa", "metric": "dsc", "category": "mean"}


def read(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype=str, keep_default_na=False)


@pytest.fixture
def collected(tmp_path: Path) -> Path:
    """What the package data were made of, as far as they tell, and one mean that its categories contradict."""
    packed = read(DATA / "published.csv.xz").drop(columns="caution")
    flawed = pd.DataFrame([{str(column): FLAWED.get(str(column), "") for column in packed}])
    pd.concat([packed, flawed]).to_csv(tmp_path / RESULTS[0], index=False)
    packed[:0].to_csv(tmp_path / RESULTS[1], index=False)
    check = {**FLAWED, "variant": "", "reproduced_by": "", "setting": "", "verdict": "DIFFERS"}
    check |= {"n_categories": "12", "mean_of_categories": "34.5"}
    pd.DataFrame([check]).to_csv(tmp_path / "mean_check.csv", index=False)
    for name, packed_name in RENAMED_FILES.items():
        read(DATA / packed_name).to_csv(tmp_path / name, index=False)
    return tmp_path


def test_packing_again_gives_the_same_package_data(collected: Path, tmp_path: Path) -> None:
    pack(collected, tmp_path / "data")
    for name in RENAMED_FILES.values():
        assert (tmp_path / "data" / name).read_text() == (DATA / name).read_text()
    again, before = (read(folder / "published.csv.xz") for folder in (tmp_path / "data", DATA))
    from_means = before["caution"].str.contains("printed categories")
    pd.testing.assert_frame_equal(again.iloc[: len(before)][~from_means], before[~from_means])


def test_a_mean_that_its_categories_contradict_is_cautioned(collected: Path, tmp_path: Path) -> None:
    pack(collected, tmp_path / "data")
    last = read(tmp_path / "data" / "published.csv.xz").iloc[-1]
    assert last["caution"] == "the 12 printed categories have the mean 34.5"


def test_a_caution_about_a_row_that_is_not_there_is_our_own_mistake(collected: Path, tmp_path: Path) -> None:
    read(collected / RESULTS[0])[:-1].to_csv(collected / RESULTS[0], index=False)
    with pytest.raises(AssertionError, match="no published row is"):
        pack(collected, tmp_path / "data")


def test_no_place_of_the_collector_is_packed() -> None:
    for name in ("sources.csv", "published.csv.xz"):
        assert not read(DATA / name).map(lambda text: text.startswith("seeds/") or "file id" in text).any(axis=None)
