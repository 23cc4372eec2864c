"""Image files of every kind: gray, CMYK, palette, 16 bit, rotated, broken."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsol.datasets import Sample, load_dataset
from wsol.datasets._images import read_image
from wsol.datasets._object_masks import sample_from_masks
from wsol.datasets.base import as_boxes
from wsol.errors import ImageError


def read(path: Path, size: tuple[int, int] | None = None) -> tuple[np.ndarray, tuple[int, int]]:
    image, frame = read_image(Sample("a", 0, as_boxes([]), "edges", path, size))
    assert image.mode == "RGB"
    return np.asarray(image), frame


def test_gray_becomes_three_equal_channels(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 100, 255]], np.uint8)).save(tmp_path / "g.png")
    assert read(tmp_path / "g.png")[0].tolist() == [[[0] * 3, [100] * 3, [255] * 3]]


def test_cmyk_is_converted_not_inverted(tmp_path: Path) -> None:
    Image.new("CMYK", (8, 8), (255, 0, 0, 0)).save(tmp_path / "c.jpg", quality=100)  # all cyan ink: no red
    red, green, blue = read(tmp_path / "c.jpg")[0][4, 4].tolist()
    assert (red < 5, green > 250, blue > 250) == (True, True, True)


def test_sixteen_bit_gray_is_scaled_not_clipped(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 257 * 7, 65535]], np.uint16)).save(tmp_path / "s.png")
    assert read(tmp_path / "s.png")[0][0, :, 0].tolist() == [0, 7, 255]


def test_palette_and_alpha(tmp_path: Path) -> None:
    Image.new("RGBA", (2, 1), (10, 20, 30, 0)).save(tmp_path / "a.png")
    assert read(tmp_path / "a.png")[0].tolist() == [[[10, 20, 30]] * 2]
    Image.new("RGB", (2, 1), (10, 20, 30)).quantize(2).save(tmp_path / "p.png")
    assert read(tmp_path / "p.png")[0].tolist() == [[[10, 20, 30]] * 2]


def write_rotated(path: Path, orientation: int) -> Path:
    """Stores 3 x 2 pixels, red at the top left, with an orientation."""
    pixels = np.zeros((2, 3, 3), np.uint8)
    pixels[0, 0, 0] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(path, exif=exif)
    return path


def test_exif_rotates_an_image_only_if_the_annotator_saw_it_rotated(tmp_path: Path) -> None:
    path = write_rotated(tmp_path / "t.png", 6)  # a clockwise quarter turn: the top left pixel moves to the top right
    stored, frame = read(path)
    assert (stored.shape, frame, stored[0, 0, 0]) == ((2, 3, 3), (3, 2), 255)
    stored, frame = read(path, (3, 2))
    assert (stored.shape, frame, stored[0, 0, 0]) == ((2, 3, 3), (3, 2), 255)
    shown, frame = read(path, (2, 3))
    assert (shown.shape, frame, shown[0, 1, 0]) == ((3, 2, 3), (2, 3), 255)


@pytest.mark.parametrize("name", ["t.jpg", "t.png", "t.tif", "t.webp"])
def test_every_format_has_the_frame_of_its_stored_pixels(tmp_path: Path, name: str) -> None:
    pixels = np.zeros((40, 60), np.uint8)
    pixels[:10, :15] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # a clockwise quarter turn: the block at the top left moves to the top right
    Image.fromarray(pixels).save(tmp_path / name, exif=exif)
    for size, frame, block in (
        (None, (60, 40), (0, 0, 15, 10)),
        ((60, 40), (60, 40), (0, 0, 15, 10)),
        ((40, 60), (40, 60), (30, 0, 40, 15)),
        ((80, 120), (80, 120), (30, 0, 40, 15)),
    ):
        shown, reported = read(tmp_path / name, size)
        rows, columns = np.nonzero(shown[..., 0] > 128)
        assert reported == frame
        assert (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) == block


def test_a_csv_file_with_the_rotated_size_has_its_boxes_on_the_rotated_image(tmp_path: Path) -> None:
    write_rotated(tmp_path / "t.tif", 8)  # an anticlockwise quarter turn: the top left pixel moves to the bottom left
    header = "image_id,label,x0,y0,x1,y1,width,height\n"
    (tmp_path / "boxes.csv").write_text(header + "t.tif,0,0,2,1,3,2,3\n")
    (sample,) = load_dataset("csv", tmp_path)
    image, frame = read_image(sample)
    x0, y0, x1, y1 = sample.edges.astype(int)[0]
    assert frame == (2, 3)
    assert np.asarray(image)[y0:y1, x0:x1, 0].tolist() == [[255]]


def test_masks_are_read_as_stored(tmp_path: Path) -> None:
    drawn = np.zeros((40, 60), np.uint8)
    drawn[:10, :15] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    for suffix in ("png", "tif"):
        Image.fromarray(drawn).save(tmp_path / f"m.{suffix}", exif=exif)
        sample = sample_from_masks("a", 0, None, None, [tmp_path / f"m.{suffix}"], None)
        assert (sample.size, sample.boxes.tolist()) == ((60, 40), [[0, 0, 15, 10]])


def test_a_resized_copy_keeps_the_annotations_frame(tmp_path: Path, draw: Callable[..., Path]) -> None:
    pixels, frame = read(draw(tmp_path / "r.png", (50, 50)), (500, 375))
    assert (pixels.shape, frame) == ((50, 50, 3), (500, 375))


def test_an_orientation_without_swapped_sizes_changes_nothing(tmp_path: Path, draw: Callable[..., Path]) -> None:
    path = draw(tmp_path / "z.png", (20, 10))
    assert read(path, (10, 20))[0].shape == (10, 20, 3)  # sizes swapped, but no EXIF: a squashed copy


@pytest.mark.parametrize("keep", [0, 10, 500])
def test_broken_files_are_named(tmp_path: Path, draw: Callable[..., Path], keep: int) -> None:
    whole = draw(tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[:keep])
    with pytest.raises(ImageError, match=r"cut\.jpg .*restore the file$"):
        read(tmp_path / "cut.jpg")


def test_whatever_a_decoder_raises_is_one_sentence(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "x.dds")
    broken = bytearray((tmp_path / "x.dds").read_bytes())
    broken[84:88] = b"ZZZZ"
    broken[80] = 4
    (tmp_path / "x.dds").write_bytes(broken)
    with pytest.raises(ImageError, match=r"x\.dds (cannot be decoded|is not an image)"):
        read(tmp_path / "x.dds")


def test_enormous_images_are_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    Image.new("L", (20, 11)).save(tmp_path / "c.png")
    with pytest.raises(
        ImageError, match=r"c\.png is too large an image .*220 pixels.*restore the file or use a smaller copy"
    ):
        read(tmp_path / "c.png")


def test_thirty_two_bit_gray_of_either_range(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 100, 255]], np.int32)).save(tmp_path / "i.tif")
    assert read(tmp_path / "i.tif")[0][0, :, 0].tolist() == [0, 100, 255]


def test_a_resized_copy_that_kept_its_orientation_is_rotated_too(tmp_path: Path) -> None:
    path = write_rotated(tmp_path / "t.png", 6)  # stores 3 x 2
    assert read(path, (200, 300))[0].shape == (3, 2, 3)
    assert read(path, (300, 200))[0].shape == (2, 3, 3)


def test_integers_that_are_no_gray_values_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.array([[-5, 100_000]], np.int32)).save(tmp_path / "i.tif")
    with pytest.raises(ImageError, match=r"i\.tif .*its integers range from -5 to 100000, not from 0 to 255 or 65535"):
        read(tmp_path / "i.tif")


def test_missing_files_and_lists_without_images(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"gone\.jpg is missing"):
        read(tmp_path / "gone.jpg")
    with pytest.raises(ImageError, match="lists alone"):
        read_image(Sample("a", 0, as_boxes([]), "edges"))
