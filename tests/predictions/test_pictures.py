"""Maps in pictures, TIFF and tables of numbers: every digit comes back, and what is not a map is refused."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from PIL import Image

from aseg_bench.errors import InputError
from aseg_bench.predictions.imported import import_maps
from aseg_bench.records import Sample
from tests.predictions.conftest import MakeMaps, assert_same, bottles, save_each


def test_8_bit_pictures_are_read_and_said_to_hold_few_levels(
    tmp_path: Path, samples: Sequence[Sample], make_maps: MakeMaps
) -> None:
    for sample, scores in make_maps(40).items():
        file = tmp_path / sample.category / sample.defect / f"{sample.stem}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((scores * 80).astype(np.uint8)).save(file)
    read = import_maps(tmp_path, samples).read("bottle")
    assert "few_levels" in {suspicion.kind for suspicion in read.suspicions}


def test_a_palette_picture_is_read_by_its_colours(tmp_path: Path, samples: Sequence[Sample]) -> None:
    bottle = [sample for sample in samples if sample.category == "bottle"][:1]
    scores = np.random.default_rng(0).integers(0, 256, (80, 80), np.uint8)
    file = tmp_path / f"{bottle[0].name}.png"
    file.parent.mkdir(parents=True)
    picture = Image.fromarray(255 - scores).convert("P")
    picture.putpalette(np.repeat(np.arange(256)[::-1], 3).astype(np.uint8).tobytes())  # index 0 is white
    picture.save(file)
    np.testing.assert_array_equal(import_maps(tmp_path, bottle).read("bottle").maps[0], scores)
    picture.putpalette(np.random.default_rng(1).integers(0, 256, 768, np.uint8).tobytes())
    picture.save(file)
    with pytest.raises(InputError, match="is a colour picture, not a map of scores"):
        import_maps(tmp_path, bottle).read("bottle")


@pytest.mark.parametrize(
    ("kind", "compression"),
    [("float32", "pillow"), ("float32", "lzw"), ("float64", "lzw"), ("float64", "deflate"), ("uint32", "zstd"),
     ("uint32", "packbits"), ("float32", "lzma")],
)  # fmt: skip
def test_compressed_tiff_gives_back_every_digit(
    tmp_path: Path, samples: Sequence[Sample], kind: str, compression: str
) -> None:
    rng = np.random.default_rng(0)
    scores = (2**31 * rng.random((20, 30))).astype(kind)
    file = tmp_path / f"{bottles(samples)[0].name}.tiff"
    file.parent.mkdir(parents=True)
    if compression == "pillow":
        Image.fromarray(scores).save(file, compression="tiff_lzw")
    else:
        tifffile.imwrite(file, scores, compression=compression)
    np.testing.assert_array_equal(import_maps(tmp_path, bottles(samples)[:1]).read("bottle").maps[0], scores)


def test_a_csv_file_is_one_matrix_of_numbers(tmp_path: Path, samples: Sequence[Sample], make_maps: MakeMaps) -> None:
    maps = {sample: scores.astype(np.float64) / 3 for sample, scores in make_maps(8).items()}
    save_each(tmp_path, maps, ".csv", lambda file, scores: pd.DataFrame(scores).to_csv(file, header=False, index=False))  # type: ignore[arg-type]
    assert_same(import_maps(tmp_path, samples), maps)  # type: ignore[arg-type]
    file, first = tmp_path / f"{samples[0].name}.csv", samples[0]
    file.write_text("\ufeff" + file.read_text(), encoding="utf-8")  # as spreadsheets save it
    assert_same(import_maps(tmp_path, samples), maps)  # type: ignore[arg-type]
    for wrong, complaint in (({"index": False}, "counts its rows or columns"), ({"header": False}, "counts its rows"),
                             ({}, "one number per pixel, separated by commas, and no headings")):  # fmt: skip
        pd.DataFrame(maps[first]).to_csv(file, **wrong)  # type: ignore[call-overload]
        with pytest.raises(InputError, match=complaint):
            import_maps(tmp_path, samples).read(first.category)


@pytest.mark.parametrize("ending", [".jpg", ".bmp", ".png", ".tif", ".gif"])
def test_heat_maps_in_colour_are_refused_and_grey_ones_read(
    tmp_path: Path, samples: Sequence[Sample], ending: str
) -> None:
    grey = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16), np.uint8))
    file = tmp_path / f"{bottles(samples)[0].name}{ending}"
    file.parent.mkdir(parents=True)
    grey.save(file)
    read = import_maps(tmp_path, bottles(samples)[:1]).read("bottle")
    np.testing.assert_array_equal(read.maps[0], np.asarray(Image.open(file).convert("L")))
    heat = grey.convert("P")
    heat.putpalette(np.random.default_rng(1).integers(0, 256, 768, np.uint8).tobytes())
    (heat if ending in {".tif", ".gif"} else heat.convert("RGB")).save(file)
    with pytest.raises(InputError, match="cannot be read back from the colours of a heat map, so write the numbers"):
        import_maps(tmp_path, bottles(samples)[:1]).read("bottle")


def test_an_opaque_channel_does_not_make_a_grey_map_a_colour_picture(tmp_path: Path, samples: Sequence[Sample]) -> None:
    grey = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16), np.uint8))
    file = tmp_path / f"{bottles(samples)[0].name}.png"
    file.parent.mkdir(parents=True)
    for mode in ("LA", "RGBA"):
        grey.convert(mode).save(file)
        np.testing.assert_array_equal(import_maps(tmp_path, bottles(samples)[:1]).read("bottle").maps[0], grey)


def test_three_equal_channels_are_one_map_however_a_tiff_file_has_them(
    tmp_path: Path, samples: Sequence[Sample], make_maps: MakeMaps
) -> None:
    maps = make_maps(8)
    for index, (sample, scores) in enumerate(maps.items()):
        file = tmp_path / f"{sample.name}.tif"
        file.parent.mkdir(parents=True, exist_ok=True)
        axis, config = ((0, "separate"), (-1, "contig"))[index % 2]
        tifffile.imwrite(file, np.stack([scores] * 3, axis), photometric="rgb", planarconfig=config)
    assert_same(import_maps(tmp_path, samples), maps)
