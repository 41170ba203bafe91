import warnings
from dataclasses import replace

import numpy as np
import pytest
import tifffile
from PIL import Image

from aseg_bench.errors import InputError
from aseg_bench.predictions import MapStore
from aseg_bench.records import AnomalyMap, Sample

SIZE = (6, 4)


@pytest.fixture
def samples(tmp_path):
    found = []
    for index in range(3):
        image = tmp_path / "data" / f"{index:03}.png"
        image.parent.mkdir(exist_ok=True)
        Image.fromarray(np.zeros((*SIZE, 3), np.uint8)).save(image)
        found.append(Sample("demo", "nut", "test", "scratch", image.stem, image))
    return found


@pytest.fixture
def store(tmp_path):
    return MapStore(tmp_path / "maps")


def random_map(sample, seed=0):
    return AnomalyMap(sample, np.random.default_rng(seed).normal(size=SIZE).astype(np.float32))


def test_a_map_lies_where_mvtecs_evaluation_looks_for_it(store, samples):
    path = store.write("uni_as", random_map(samples[1]))
    assert path == store.root / "uni_as" / "demo" / "nut" / "test" / "scratch" / "001.tiff"
    assert tifffile.imread(path).dtype == np.float32


def test_a_map_reads_back_to_the_last_bit(store, samples):
    anomaly_map = random_map(samples[0])
    store.write("uni_as", anomaly_map)
    np.testing.assert_array_equal(store.read("uni_as", samples[0]), anomaly_map.scores)


def test_a_stem_with_dots_keeps_them(store, samples, tmp_path):
    sample = Sample("demo", "nut", "test", "scratch", "a.b.1", samples[0].image_path)
    assert store.write("uni_as", random_map(sample)).name == "a.b.1.tiff"


def test_half_stores_float16_and_reads_float32(store, samples):
    anomaly_map = random_map(samples[0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        path = store.write("uni_as", anomaly_map, half=True)
    assert tifffile.imread(path).dtype == np.float16
    scores = store.read("uni_as", samples[0])
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, anomaly_map.scores, rtol=1e-3)


def test_half_refuses_what_would_overflow(store, samples):
    with pytest.raises(InputError, match="too large for float16"):
        store.write("uni_as", AnomalyMap(samples[0], np.full(SIZE, 1e5, np.float32)), half=True)
    assert store.missing("uni_as", samples) == samples


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_half_counts_the_values_that_stand_for_several_scores(store, samples, dtype):
    ulp = 2.0**-10  # of float16 from 1 to 2
    store.write("m", AnomalyMap(samples[0], np.array([[1, 1, 1 + ulp], [1.5, 0.0, -0.0]], dtype)), half=True)
    assert store.merged_by_half("m") == (0, 4)
    store.write("m", AnomalyMap(samples[1], np.array([[1 + ulp / 8, 1.5, 2]], dtype)), half=True)
    assert store.merged_by_half("m") == (1, 5)  # 1 stands for itself in one map and for a neighbour in the other
    assert store.merged_by_half("other") == (0, 0)


def test_a_missing_map_is_an_error_that_names_its_place(store, samples):
    with pytest.raises(InputError, match=r"uni_as has no map for nut/test/scratch/000; expected .*000\.tiff"):
        store.read("uni_as", samples[0])


@pytest.mark.parametrize("n_bytes", [0, 20, 200])
def test_a_truncated_map_is_an_error_that_names_it(store, samples, n_bytes):
    path = store.write("uni_as", random_map(samples[0]))
    path.write_bytes(path.read_bytes()[:n_bytes])
    with pytest.raises(InputError, match=r"000\.tiff"):
        store.read("uni_as", samples[0])


def test_a_map_that_is_not_two_dimensional_is_an_error(store, samples):
    with pytest.raises(InputError, match=r"shape \(1, 4, 6\), not \(height, width\)"):
        store.write("m", AnomalyMap(samples[0], np.zeros((1, 4, 6), np.float32)))


def test_a_map_may_have_a_size_of_its_own(store, samples):
    coarse = np.arange(24, dtype=np.float32).reshape(4, 6)
    store.write("m", AnomalyMap(samples[0], coarse))
    np.testing.assert_array_equal(store.read("m", samples[0]), coarse)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_not_finite_is_an_error_that_names_its_pixel(store, samples, bad):
    scores = np.zeros(SIZE, np.float32)
    scores[5, 2] = bad
    with pytest.raises(InputError, match=r"nut/test/scratch/000 is -?(nan|inf) at pixel \(5, 2\)"):
        store.write("uni_as", AnomalyMap(samples[0], scores))
    assert not store.path("uni_as", samples[0]).exists()


@pytest.mark.parametrize("dtype", ["?", "f2", "f4", "f8", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", ">f8", ">u4"])
def test_a_map_of_any_type_lies_in_its_file_as_it_is(store, samples, dtype):
    scores = np.array([[0, 1, 1], [1, 0, 1]]).astype(dtype)
    if scores.dtype.kind in "iu":
        scores[0, 0] = min(np.iinfo(dtype).max, 2**62) - 1
    path = store.write("m", AnomalyMap(samples[0], scores))
    stored = tifffile.imread(path)
    assert stored.dtype == np.dtype(dtype).newbyteorder("=")
    np.testing.assert_array_equal(stored, scores)
    read = store.read("m", samples[0])
    assert (read.astype(object) == scores.astype(object)).all()


@pytest.mark.parametrize("scores", [np.ones((2, 3), complex), np.full((2, 3), 2**63, np.uint64)])
def test_a_map_that_cannot_be_compared_is_an_error(store, samples, scores):
    with pytest.raises(InputError, match="the map of m for nut/test/scratch/000 holds"):
        store.write("m", AnomalyMap(samples[0], scores))
    assert store.missing("m", samples) == samples


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\\b"])
def test_a_method_whose_name_is_no_folder_name_is_an_error(store, samples, name):
    with pytest.raises(InputError, match="cannot name a method"):
        store.path(name, samples[0])


@pytest.mark.parametrize("category", ["../../../pwned", "/pwned", "nut/../../.."])
def test_no_map_lies_outside_the_store(store, samples, category):
    with pytest.raises(InputError, match=r"would lie outside .*; rename the category or the image"):
        store.write("uni_as", random_map(replace(samples[0], category=category)))


def test_maps_are_read_when_asked_for(store, samples):
    maps = store.maps("uni_as", samples)
    assert len(maps) == 3
    for index, sample in enumerate(samples):
        store.write("uni_as", random_map(sample, index))
    for index, scores in enumerate(maps):
        np.testing.assert_array_equal(scores, random_map(samples[index], index).scores)
    np.testing.assert_array_equal(maps[1:][0], maps[1])
    np.testing.assert_array_equal(maps[-1], maps[2])


def test_missing_maps_are_those_not_written(store, samples):
    store.write("uni_as", random_map(samples[1]))
    assert store.missing("uni_as", samples) == [samples[0], samples[2]]
    assert store.missing("uniad", samples) == samples


def test_left_over_files_are_found_in_the_categories_at_hand(store, samples):
    written = [store.write("uni_as", random_map(sample)) for sample in samples]
    elsewhere = store.root / "uni_as" / "demo" / "bolt" / "test" / "good" / "000.tiff"
    elsewhere.parent.mkdir(parents=True)
    elsewhere.touch()
    assert store.left_over("uni_as", "demo", samples) == []
    assert store.left_over("uni_as", "demo", samples[1:]) == written[:1]
    assert store.left_over("uniad", "demo", samples) == []
