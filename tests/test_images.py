import io
import json
import os
import struct
import zlib

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from aseg_bench.errors import InputError
from aseg_bench.images import (
    IMAGE_SUFFIXES,
    allow_pixels,
    check_complete,
    highest_deep_value,
    image_size,
    mask_turns,
    orientation,
    read_image,
    read_mask,
    turned,
)

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (7, 5), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (7, 5, 3), dtype=np.uint8)


def save(path, picture, **options):
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(path, **options)
    return path


def png(n_rows, interlace=0, bits=8, colour=2, size=(9, 7), palette=b""):
    """A PNG of 9 x 7 black pixels (or of others) whose data end after some bytes of rows, all checksums right."""
    width, height = size

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlace)
    colours = [chunk(b"PLTE", palette)] if palette else []
    parts = [chunk(b"IHDR", header), *colours, chunk(b"IDAT", zlib.compress(bytes(n_rows))), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("read", [read_image, read_mask])
@pytest.mark.parametrize(
    ("whole", "row", "options"),
    [
        (7 * (1 + 27), 28, {}),
        (7 * (1 + 9), 10, {"colour": 0}),
        (7 * (1 + 2), 3, {"colour": 0, "bits": 1}),
        (7 * (1 + 18), 19, {"colour": 0, "bits": 16}),
        (7 * (1 + 9), 10, {"colour": 3, "palette": b"\xff\xff\xff\0\0\0"}),  # whose index 0 is white
        # the passes of Adam7 on 9 x 7: 2 x 1, 1 x 1, 3 x 1, 2 x 2, 5 x 2, 4 x 4, 9 x 3
        (3 + 2 + 4 + 2 * 3 + 2 * 6 + 4 * 5 + 3 * 10, 10, {"colour": 0, "interlace": 1}),
    ],
)
def test_a_png_that_lacks_rows_is_refused_and_not_filled_with_black(tmp_path, read, whole, row, options):
    path = tmp_path / "short.png"
    path.write_bytes(png(whole, **options))
    assert read(path).shape[:2] == (7, 9)
    for n_missing in (1, row, 2 * row):
        path.write_bytes(png(whole - n_missing, **options))
        with pytest.raises(InputError, match=r"short.png as an image \((its last rows are missing|.* truncated)"):
            read(path)


@pytest.mark.parametrize("read", [read_image, read_mask, image_size, check_complete])
def test_a_format_that_is_not_named_is_refused_whatever_the_ending(tmp_path, read):
    buffer = io.BytesIO()
    Image.fromarray(COLOUR).save(buffer, "EPS")
    (tmp_path / "postscript.png").write_bytes(buffer.getvalue())
    with pytest.raises(InputError, match=r"postscript.png as an image .*cannot identify"):
        read(tmp_path / "postscript.png")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names are of Unix")
@pytest.mark.parametrize("read", [read_image, read_mask, image_size, check_complete])
def test_a_pipe_is_not_waited_for(tmp_path, read):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(InputError, match="is not a file, but a folder, a pipe or a device"):
        read(tmp_path / "pipe.png")


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


@pytest.mark.parametrize("n_channels", [2, 4])
def test_a_half_transparent_mask_is_refused(tmp_path, n_channels):
    with pytest.raises(InputError, match=r"mask\.png is a partly transparent picture"):
        read_mask(save(tmp_path / "mask.png", np.stack([GREY] * n_channels, axis=-1)))


def test_a_floating_point_mask_is_refused(tmp_path):
    with pytest.raises(InputError, match="floating-point"):
        read_mask(save(tmp_path / "mask.tiff", GREY.astype(np.float32)))


def with_orientation(number):
    exif = Image.Exif()
    exif[0x0112] = number
    return exif


def indexed(indices, *colours, **options):
    picture = Image.fromarray(indices.astype(np.uint8), mode="P")
    picture.putpalette([channel for colour in colours for channel in colour])
    picture.info.update(options)
    return picture


DRAWN = (np.arange(35).reshape(7, 5) % 11 == 3).astype(np.uint8)
RED, BLACK, WHITE, BLUE = (255, 0, 0), (0, 0, 0), (255, 255, 255), (0, 0, 255)


@pytest.mark.parametrize("number", range(1, 9))
def test_pixels_turn_as_pillow_turns_them(tmp_path, number):
    path = save(tmp_path / "turned.png", COLOUR, exif=with_orientation(number))
    with Image.open(path) as stored:
        upright = np.asarray(ImageOps.exif_transpose(stored))
    np.testing.assert_array_equal(turned(COLOUR, number), upright)
    np.testing.assert_array_equal(read_image(path), upright)
    assert orientation(path) == number


@pytest.mark.parametrize("number", range(1, 9))
def test_a_mask_of_the_stored_size_turns_as_its_image_does(tmp_path, number):
    image = save(tmp_path / "image.png", COLOUR, exif=with_orientation(number))
    mask = save(tmp_path / "mask.png", DRAWN * 255)
    np.testing.assert_array_equal(read_mask(mask, image), turned(DRAWN * 255, number))
    upright = save(tmp_path / "upright.png", turned(DRAWN * 255, number))
    if number > 4:  # of another size than the stored picture
        np.testing.assert_array_equal(read_mask(upright, image), turned(DRAWN * 255, number))
    own = save(tmp_path / "own.png", DRAWN * 255, exif=with_orientation(number))
    np.testing.assert_array_equal(read_mask(own, image), turned(DRAWN * 255, number))


def test_an_orientation_beyond_the_eight_is_upright(tmp_path):
    path = save(tmp_path / "odd.png", COLOUR, exif=with_orientation(9))
    assert orientation(path) == 1
    np.testing.assert_array_equal(read_image(path), COLOUR)


@pytest.mark.parametrize("suffix", sorted(IMAGE_SUFFIXES))
def test_pillow_reads_every_ending(suffix):
    Image.init()
    if suffix == ".avif" and suffix not in Image.registered_extensions():
        pytest.skip("this Pillow has no AVIF")
    assert Image.registered_extensions()[suffix] in Image.OPEN


@pytest.mark.parametrize("suffix", ["tiff", "gif", "png", "webp"])
@pytest.mark.parametrize("read", [read_image, read_mask, image_size, check_complete])
def test_several_pages_are_refused(tmp_path, suffix, read):
    pages = [Image.fromarray(GREY), Image.fromarray(255 - GREY)]
    path = save(tmp_path / f"pages.{suffix}", pages[0], save_all=True, append_images=pages[1:])
    with pytest.raises(InputError, match=r"pages\.\w+ holds 2 pages; write a file for each"):
        read(path)


def test_a_jpeg_with_a_preview_behind_it_is_one_picture(tmp_path):
    picture = Image.fromarray(np.full((16, 16, 3), 77, np.uint8))
    path = save(tmp_path / "phone.jpg", picture, format="MPO", save_all=True, append_images=[picture])
    check_complete(path)
    assert (read_image(path) == 77).all()


@pytest.mark.parametrize("bit_depth", [10, 12, 14])
def test_bits_that_a_camera_does_not_use_are_not_lost(tmp_path, bit_depth):
    white = 2**bit_depth - 1
    values = np.linspace(0, white, 35).astype(np.uint16).reshape(7, 5)
    path = save(tmp_path / "camera.png", values)
    expected = np.round(values.astype(float) * 255 / white)
    np.testing.assert_array_equal(read_image(path, bit_depth)[..., 0], expected)
    assert highest_deep_value(path) == white
    for read in (read_image, highest_deep_value):
        with pytest.raises(InputError, match=rf"reaches {white}, more than 9 bits hold; raise --bit-depth"):
            read(path, 9)


def test_16_bit_colours_keep_all_their_bits(tmp_path):
    deep = RNG.integers(0, 1024, (7, 5, 3), dtype=np.uint16)
    cv2.imwrite(str(tmp_path / "deep.png"), deep[..., ::-1])
    tifffile.imwrite(tmp_path / "deep.tiff", deep, photometric="rgb")
    for path in (tmp_path / "deep.png", tmp_path / "deep.tiff"):
        np.testing.assert_array_equal(read_image(path, 10), np.round(deep * 255.0 / 1023))
        assert highest_deep_value(path) == deep.max()
    assert highest_deep_value(save(tmp_path / "flat.png", COLOUR)) is None


def test_a_16_bit_coloured_mask_of_equal_channels_keeps_small_values(tmp_path):
    classes = np.repeat(DRAWN[..., None].astype(np.uint16) * 3, 3, axis=-1)  # would vanish in the higher 8 bits
    cv2.imwrite(str(tmp_path / "mask.png"), classes)
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png"), DRAWN * 3)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_where_a_file_says_that_its_lowest_value_is_white_it_is(tmp_path, dtype, compression):
    white = np.iinfo(dtype).max
    tifffile.imwrite(
        tmp_path / "mask.tiff", white - DRAWN.astype(dtype) * white, photometric="miniswhite", compression=compression
    )
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.tiff"), DRAWN.astype(int) * white)


@pytest.mark.parametrize("options", [{}, {"transparency": 1}])
def test_a_palette_whose_first_colour_is_not_the_background_reads_by_its_colours(tmp_path, options):
    mask = save(tmp_path / "mask.png", indexed(1 - DRAWN, RED, BLACK), **options)
    np.testing.assert_array_equal(read_mask(mask), DRAWN * 255)


def test_other_colours_keep_their_index(tmp_path):
    indices = np.where(DRAWN, 0, np.arange(35).reshape(7, 5) % 2 + 1)
    values = read_mask(save(tmp_path / "mask.png", indexed(indices, RED, BLACK, BLUE)))
    np.testing.assert_array_equal(values, np.where(DRAWN, 255, np.where(indices == 1, 0, 2)))


def test_a_palette_that_is_all_black_reads_as_indices(tmp_path):
    mask = save(tmp_path / "mask.png", indexed(DRAWN, BLACK, BLACK))
    np.testing.assert_array_equal(read_mask(mask), DRAWN)


@pytest.mark.parametrize(
    "picture",
    [
        indexed(DRAWN, BLACK, RED, transparency=b"\xff\x40"),
        indexed(DRAWN, BLACK, WHITE, transparency=1),
        Image.fromarray(DRAWN * 255),
    ],
)
def test_a_mask_that_makes_what_it_shows_transparent_is_refused(tmp_path, picture):
    options = {} if picture.mode == "P" else {"transparency": 255}
    with pytest.raises(InputError, match=r"mask\.png .*transparent.*; save it as grey"):
        read_mask(save(tmp_path / "mask.png", picture, **options))


def test_a_clear_background_is_the_background(tmp_path):
    mask = save(tmp_path / "mask.png", indexed(1 - DRAWN, RED, WHITE), transparency=1)
    np.testing.assert_array_equal(read_mask(mask), DRAWN * 255)


def test_a_limit_on_pixels_can_be_raised(tmp_path, monkeypatch):
    path = save(tmp_path / "large.png", COLOUR)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(InputError, match=r"large\.png is too large \(.*35 pixels.*\); raise --max-pixels"):
        read_image(path)
    allow_pixels(35)
    np.testing.assert_array_equal(read_image(path), COLOUR)


@pytest.mark.parametrize("read", [read_image, read_mask, check_complete])
def test_a_link_that_leads_nowhere_is_called_that(tmp_path, read):
    (tmp_path / "a.png").symlink_to(tmp_path / "b.png")
    with pytest.raises(InputError, match=r"a\.png is a link that leads nowhere"):
        read(tmp_path / "a.png")


def test_masks_of_one_image_count_together(tmp_path):
    values = np.zeros((2, 4, 6), np.uint8)
    values[0, 1, 2], values[1, 3, 4:] = 255, 254
    (tmp_path / "truth").mkdir()
    (tmp_path / "truth" / "._000.png").touch()
    for name, mask in zip(("000.png", "001.png"), values, strict=True):
        Image.fromarray(mask).save(tmp_path / "truth" / name)
    joint = read_mask(tmp_path / "truth")
    np.testing.assert_array_equal(joint, np.where(values.any(axis=0), 255, 0))
    Image.fromarray(values[0, :2]).save(tmp_path / "truth" / "002.png")
    with pytest.raises(InputError, match=r"the masks of .*truth differ in size"):
        read_mask(tmp_path / "truth")


def polygons(path, *shapes, size=(5, 7)):
    named = [{"label": "any", "points": points, "shape_type": kind} for kind, points in shapes]
    path.write_text(json.dumps({"shapes": named, "imageHeight": size[0], "imageWidth": size[1], "imageData": "..."}))
    return path


def test_polygons_of_labelme_are_a_mask_of_what_they_enclose_and_their_outline(tmp_path):
    corner = [[1, 1], [4, 1], [4, 2], [2, 2], [2, 4], [1, 4]]
    drawn = read_mask(polygons(tmp_path / "a.json", ("polygon", corner), ("polygon", [[5, 3], [7, 3], [7, 5], [5, 5]])))
    expected = np.zeros((5, 7), np.uint8)
    expected[1:3, 1:5] = expected[1:5, 1:3] = expected[3:, 5:] = 255
    np.testing.assert_array_equal(drawn, expected)
    assert not read_mask(polygons(tmp_path / "b.json")).any()


@pytest.mark.parametrize("number", [1, 6])
def test_polygons_are_drawn_upright_as_labelme_shows_the_image(tmp_path, number):
    image = save(tmp_path / "a.jpg", COLOUR, exif=with_orientation(number))
    path = polygons(tmp_path / "a.json", ("polygon", [[0, 0], [1, 0], [1, 1]]), size=image_size(image))
    assert read_mask(path, image).shape == image_size(image)
    assert not mask_turns(path, image)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"cannot read .*a\.json as polygons of labelme .*; save it again with labelme"),
        ("[" * 100_000, r"cannot read .*a\.json as polygons of labelme"),
        ({"shapes": []}, r"cannot read .*a\.json as polygons of labelme \('imageHeight'\)"),
        (
            [("polygon", [[0, 0], [1, 0], [1, 1]]), ("rectangle", [[0, 0], [1, 1]])],
            r"shape 2 of .*a\.json is a rectangle of 2 points; draw a polygon of three or more",
        ),
        ([("polygon", [[0, 0], [1, 1]])], r"shape 1 of .*a\.json is a polygon of 2 points"),
        ([("polygon", [[0, 0], [1e300, 1], [2, 2]])], r"has its point \(1e\+300, 1\.0\) outside the image of 7 x 5"),
        ([("polygon", [[0, 0], [float("nan"), 1], [2, 2]])], r"has its point \(nan, 1\.0\) outside"),
        ([("polygon", [[7, 1], [7, 4], [7, 1]])], r"has its point \(7\.0, 1\.0\) outside"),  # it has no pixel
        ({"shapes": [], "imageHeight": -7, "imageWidth": -5}, "is of an image of -5 x -7 pixels"),
    ],
)
def test_what_is_wrong_with_polygons_is_said(tmp_path, content, message):
    path = tmp_path / "a.json"
    if isinstance(content, list):
        polygons(path, *content)
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(InputError, match=message):
        read_mask(path)
    with pytest.raises(InputError, match="is of an image of 100000000 x 100000000 pixels; raise --max-pixels"):
        read_mask(polygons(path, size=(10**8, 10**8)))
