import numpy as np
import pytest
import tifffile
from PIL import Image

from aseg_bench.errors import InputError
from aseg_bench.images import check_complete, image_size, read_image, read_mask

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (7, 5), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (7, 5, 3), dtype=np.uint8)


def save(path, picture, **options):
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(path, **options)
    return path


def test_a_grey_image_reads_as_three_equal_channels(tmp_path):
    image = read_image(save(tmp_path / "grey.png", GREY))
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, np.repeat(GREY[..., None], 3, axis=-1))


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_a_16_bit_grey_image_is_scaled_from_its_full_range(tmp_path, suffix):
    path = save(tmp_path / f"deep.{suffix}", GREY.astype(np.uint16) * 257)
    np.testing.assert_array_equal(read_image(path)[..., 0], GREY)


def test_a_16_bit_colour_image_is_scaled_from_its_full_range(tmp_path):
    path = tmp_path / "deep.tiff"
    tifffile.imwrite(path, COLOUR.astype(np.uint16) * 257, photometric="rgb")
    np.testing.assert_array_equal(read_image(path), COLOUR)


def test_transparency_is_dropped(tmp_path):
    alpha = RNG.integers(0, 256, (7, 5, 1), dtype=np.uint8)
    path = save(tmp_path / "rgba.png", np.concatenate([COLOUR, alpha], axis=-1))
    np.testing.assert_array_equal(read_image(path), COLOUR)


def test_a_palette_resolves_to_its_colours(tmp_path):
    indexed = Image.fromarray(COLOUR).quantize(35)
    np.testing.assert_array_equal(read_image(save(tmp_path / "p.png", indexed)), np.asarray(indexed.convert("RGB")))


def test_cmyk_reads_as_rgb(tmp_path):
    path = save(tmp_path / "cmyk.tiff", Image.fromarray(COLOUR).convert("CMYK"))
    np.testing.assert_allclose(read_image(path).astype(int), COLOUR, atol=1)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_turns_image_and_size_alike(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / "turned.png", COLOUR, exif=exif)
    image = read_image(path)
    assert image.shape[:2] == image_size(path) == ((7, 5) if orientation < 5 else (5, 7))
    if orientation == 6:
        np.testing.assert_array_equal(image, np.rot90(COLOUR, -1))


def test_the_size_is_known_without_decoding_the_pixels(tmp_path, monkeypatch):
    paths = [save(tmp_path / f"image.{suffix}", COLOUR) for suffix in ("png", "jpg", "tiff", "bmp")]
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", None)
    assert [image_size(path) for path in paths] == [(7, 5)] * 4


def test_a_floating_point_image_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"float\.tiff holds 32-bit values"):
        read_image(save(tmp_path / "float.tiff", GREY.astype(np.float32)))


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n"])
@pytest.mark.parametrize("read", [read_image, read_mask, image_size, check_complete])
def test_a_file_that_is_no_image_is_named(tmp_path, content, read):
    path = tmp_path / "broken.png"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"cannot read .*broken\.png"):
        read(path)


@pytest.mark.parametrize("read", [read_image, read_mask, image_size, check_complete])
def test_a_missing_file_is_named(tmp_path, read):
    with pytest.raises(InputError, match=r"no file .*absent\.png"):
        read(tmp_path / "absent.png")


@pytest.mark.parametrize("suffix", ["png", "jpg"])
@pytest.mark.parametrize("check", [check_complete, read_image])
def test_a_truncated_file_is_found(tmp_path, suffix, check):
    path = save(tmp_path / f"half.{suffix}", RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    check(path)
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(InputError, match="half"):
        check(path)


@pytest.mark.parametrize("values", [GREY, GREY.astype(np.uint16) * 257])
def test_a_grey_mask_keeps_its_values(tmp_path, values):
    np.testing.assert_array_equal(read_mask(save(tmp_path / "mask.png", values)), values)


def test_a_one_bit_mask_reads_as_0_and_255(tmp_path):
    mask = read_mask(save(tmp_path / "mask.png", Image.fromarray(GREY > 127)))
    np.testing.assert_array_equal(mask, np.where(GREY > 127, 255, 0))


def test_a_coloured_palette_mask_reads_as_its_indices(tmp_path):
    indices = GREY % 3
    indexed = Image.fromarray(indices, mode="P")
    indexed.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    np.testing.assert_array_equal(read_mask(save(tmp_path / "mask.png", indexed)), indices)


def test_a_grey_palette_mask_reads_as_its_greys(tmp_path):
    indexed = Image.fromarray(GREY % 2, mode="P")
    indexed.putpalette([255, 255, 255, 0, 0, 0])
    np.testing.assert_array_equal(read_mask(save(tmp_path / "mask.png", indexed)), np.where(GREY % 2, 0, 255))


@pytest.mark.parametrize("n_channels", [2, 3, 4])
def test_a_mask_of_equal_channels_reads_as_one(tmp_path, n_channels):
    channels = np.repeat(GREY[..., None], n_channels, axis=-1)
    if n_channels in (2, 4):
        channels[..., -1] = 255
    np.testing.assert_array_equal(read_mask(save(tmp_path / "mask.png", channels)), GREY)


def test_a_colour_mask_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"mask\.png is a colour picture"):
        read_mask(save(tmp_path / "mask.png", COLOUR))


def test_a_half_transparent_mask_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"mask\.png is a colour picture"):
        read_mask(save(tmp_path / "mask.png", np.stack([GREY, GREY, GREY, GREY], axis=-1)))


def test_a_floating_point_mask_is_refused(tmp_path):
    with pytest.raises(InputError, match="floating-point"):
        read_mask(save(tmp_path / "mask.tiff", GREY.astype(np.float32)))
