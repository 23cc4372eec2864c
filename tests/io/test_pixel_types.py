"""Orientation and pixel types: one rule for every format, for files, PIL's objects and arrays."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from wsol.io.images import SUFFIXES
from wsol.io.pixels import decode_stored, decode_upright, to_eight_bit, to_rgb

STORED = np.random.default_rng(5).integers(0, 256, (16, 24, 3), np.uint8)
SIDES = {  # where the first row and the first column are seen, by the tables of EXIF 2.3 and TIFF 6.0
    1: ("top", "left"),
    2: ("top", "right"),
    3: ("bottom", "right"),
    4: ("bottom", "left"),
    5: ("left", "top"),
    6: ("right", "top"),
    7: ("right", "bottom"),
    8: ("left", "bottom"),
}
LOSSLESS: dict[str, dict[str, Any]] = {
    "a.png": {},
    "a.webp": {"lossless": True},
    "a.tif": {},
    "lzw.tif": {"compression": "tiff_lzw"},
}


def upright(stored: np.ndarray, orientation: int) -> np.ndarray:
    """Place every stored pixel where the table says that it is seen."""
    row_side, column_side = SIDES[orientation]
    height, width = stored.shape[:2]
    if row_side in ("left", "right"):
        height, width = width, height
    seen = np.zeros((height, width, *stored.shape[2:]), stored.dtype)
    for (row, column), *_ in np.ndenumerate(stored[..., 0] if stored.ndim == 3 else stored):
        place = {row_side: row, column_side: column}
        y = place["top"] if "top" in place else height - 1 - place["bottom"]
        x = place["left"] if "left" in place else width - 1 - place["right"]
        seen[y, x] = stored[row, column]
    return seen


def write(path: Path, image: Image.Image, orientation: int, **save: Any) -> Path:
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(path, exif=exif, **save)
    return path


@pytest.mark.parametrize("orientation", SIDES)
@pytest.mark.parametrize("name", LOSSLESS)
def test_every_orientation_of_every_format(tmp_path: Path, name: str, orientation: int) -> None:
    path = write(tmp_path / name, Image.fromarray(STORED), orientation, **LOSSLESS[name])
    turned = upright(STORED, orientation)
    height, width = turned.shape[:2]
    is_swapped = orientation >= 5
    for decode, expected in (
        (decode_stored, STORED),
        (decode_upright, turned),
        (lambda image: decode_stored(image, (24, 16)), STORED),
        (lambda image: decode_stored(image, (240, 160)), STORED),
        (lambda image: decode_stored(image, (16, 24)), turned if is_swapped else STORED),
        (lambda image: decode_stored(image, (160, 240)), turned if is_swapped else STORED),
        (lambda image: decode_stored(image, (50, 50)), STORED),
    ):
        with Image.open(path) as image:
            decoded = decode(image)
            assert (np.asarray(decoded) == expected).all()
            assert np.asarray(decoded).shape == expected.shape
    with Image.open(path) as image:
        image.load()  # the user may have decoded it
        assert decode_upright(image).size == (width, height)
        assert (np.asarray(decode_upright(image)) == turned).all()


@pytest.mark.parametrize("orientation", SIDES)
@pytest.mark.parametrize("suffix", ["jpg", "avif"])
def test_every_orientation_of_lossy_formats(tmp_path: Path, suffix: str, orientation: int) -> None:
    quarters = np.kron([[0, 80], [160, 240]], np.ones((16, 24))).astype(np.uint8)
    Image.init()
    if suffix == "avif" and "AVIF" not in Image.SAVE:
        pytest.skip("this PIL was built without AVIF")
    path = write(tmp_path / f"a.{suffix}", Image.fromarray(quarters), orientation, quality=95)
    for decode, expected in ((decode_stored, quarters), (decode_upright, upright(quarters, orientation))):
        with Image.open(path) as image:
            gray = np.asarray(decode(image).convert("L"), int)
        assert gray.shape == expected.shape
        assert np.abs(gray - expected).mean() < 5


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.webp"])
def test_an_orientation_in_xmp(tmp_path: Path, name: str) -> None:
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf tiff:Orientation="6"/></x:xmpmeta>'
    image, path = Image.fromarray(STORED), tmp_path / name
    if name == "a.tif":
        image.save(path, tiffinfo={700: xmp})
    elif name == "a.webp":
        image.save(path, xmp=xmp, lossless=True)
    else:
        info = PngInfo()
        info.add_itxt("XML:com.adobe.xmp", xmp.decode())
        image.save(path, pnginfo=info)
    with Image.open(path) as file:
        if file.getexif().get(0x0112) != 6:
            pytest.skip("this version of PIL looks for no XMP in this format")
    for decode, expected in ((decode_stored, STORED), (decode_upright, upright(STORED, 6))):
        with Image.open(path) as file:
            assert np.array_equal(np.asarray(decode(file)), expected)


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "CMYK", "I;16", "I", "F"])
@pytest.mark.parametrize("orientation", [3, 6])
def test_tiff_files_of_every_mode_are_turned_like_others(tmp_path: Path, mode: str, orientation: int) -> None:
    if mode == "I;16":
        image = Image.fromarray(STORED[..., 0].astype(np.uint16) * 257)
    elif mode == "P":
        image = Image.fromarray(STORED).quantize(16)
    else:
        image = Image.fromarray(STORED[..., 0] if mode in ("I", "F", "L", "1") else STORED).convert(mode)
    expected = np.asarray(to_rgb(image))
    path = write(tmp_path / "a.tif", image, orientation)
    with Image.open(path) as file:
        assert np.array_equal(np.asarray(to_rgb(decode_stored(file))), expected)
    with Image.open(path) as file:
        assert np.array_equal(np.asarray(to_rgb(decode_upright(file))), upright(expected, orientation))


def test_the_first_of_several_pages_or_pictures_is_read(tmp_path: Path) -> None:
    first, second = Image.fromarray(STORED), Image.fromarray(STORED[::-1].copy())
    first.save(tmp_path / "a.tif", save_all=True, append_images=[second], tiffinfo={274: 6})
    with Image.open(tmp_path / "a.tif") as file:
        assert np.array_equal(np.asarray(decode_stored(file)), STORED)
    exif = Image.Exif()
    exif[0x0112] = 8
    first.resize((48, 32)).save(tmp_path / "a.mpo", save_all=True, append_images=[second.resize((48, 32))], exif=exif)
    assert ".mpo" in SUFFIXES
    with Image.open(tmp_path / "a.mpo", formats=["JPEG"]) as file:
        assert (file.format, decode_stored(file).size) == ("MPO", (48, 32))
        assert decode_upright(file).size == (32, 48)


@pytest.mark.parametrize("value", [0, 9, 60_000, "6", (6, 6)])
def test_an_orientation_that_is_none_changes_nothing(tmp_path: Path, value: Any) -> None:
    image = Image.fromarray(STORED)
    image.getexif()[0x0112] = value
    assert np.array_equal(np.asarray(decode_upright(image)), STORED)
    assert np.array_equal(np.asarray(decode_stored(image, (16, 24))), STORED)


@pytest.mark.parametrize("name", ["a.png", "a.pgm", "a.tif"])
def test_a_dark_sixteen_bit_image_stays_dark(tmp_path: Path, name: str) -> None:
    values = np.array([[0, 200, 255]], np.uint16)
    if name == "a.pgm":
        (tmp_path / name).write_bytes(b"P5 3 1 65535\n" + values.astype(">u2").tobytes())
    else:
        Image.fromarray(values).save(tmp_path / name)
    with Image.open(tmp_path / name) as file:
        assert np.asarray(to_rgb(decode_stored(file))).max() == 0  # 255 of 65535


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([0, 7, 255], np.uint8), [0, 7, 255]),
        (np.array([False, True]), [0, 255]),
        (np.array([0, 255, 256, 65535], np.uint16), [0, 0, 1, 255]),
        (np.array([0, 256, 65535], ">u2"), [0, 1, 255]),
        (np.array([0, 7, 255]), [0, 7, 255]),
        (np.array([0, 7, 256, 65535], np.int32), [0, 0, 1, 255]),
        (np.array([0, 0.2, 1]), [0, 51, 255]),
        (np.array([0, 0.5, 1], np.float16), [0, 128, 255]),
        (np.array([0, 51.4, 255], np.float32), [0, 51, 255]),
    ],
)
def test_eight_bits_of_every_type(values: np.ndarray, expected: list[int]) -> None:
    assert to_eight_bit(values).tolist() == expected


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.array([0, 65_536]), "its integers range from 0 to 65536, not from 0 to 255 or 65535"),
        (np.array([-1, 5]), "its integers range from -1 to 5"),
        (np.array([0, 255.5]), "its floats range from 0 to 255.5, not from 0 to 1 or 255"),
        (np.array([0, np.nan]), "its floats range from nan to nan"),
        (np.array([1j]), "its values are of type complex128, not numbers"),
        (np.array(["a"]), "its values are of type <U1, not numbers"),
    ],
)
def test_values_out_of_range_are_refused_not_clipped(values: np.ndarray, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        to_eight_bit(values)


@pytest.mark.parametrize("mode", ["P", "L", "RGB"])
def test_transparency_is_dropped_and_the_users_image_stays_as_it_is(mode: str) -> None:
    image = Image.fromarray(STORED).convert(mode)
    image.info["transparency"] = b"\0\x80" if mode == "P" else 5 if mode == "L" else (1, 2, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pixels = np.asarray(to_rgb(image))
    assert "transparency" in image.info
    del image.info["transparency"]
    assert np.array_equal(pixels, np.asarray(image.convert("RGB")))
