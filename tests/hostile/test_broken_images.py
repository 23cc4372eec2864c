"""Image files that are broken, enormous, or not regular files: one sentence each; and unusual ones that are valid."""

import io
import os
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from wsol.datasets import load_dataset, read_image
from wsol.errors import ImageError, InputError

pytestmark = pytest.mark.slow

NOISE = np.random.default_rng(3).integers(0, 256, (40, 60, 3), np.uint8)
HEADER = "image_id,label,x0,y0,x1,y1\n"


def csv(root: Path, name: str = "x.jpg") -> Path:
    quoted = name.replace('"', '""')
    (root / "boxes.csv").write_text(f'{HEADER}"{quoted}",0,0,0,1,1\n', encoding="utf-8")
    return root


def read(root: Path, name: str = "x.jpg", **arguments: str) -> np.ndarray:
    (sample,) = load_dataset("csv", csv(root, name), dataset_args=arguments)
    image, frame = read_image(sample)
    assert (image.mode, frame) == ("RGB", image.size)
    return np.asarray(image)


def encode(kind: str, pixels: Any = NOISE, mode: str = "", **save: Any) -> bytes:
    image, file = Image.fromarray(pixels), io.BytesIO()
    (image.convert(mode) if mode else image).save(file, kind, **save)
    return file.getvalue()


def png(width: int, height: int, *chunks: tuple[bytes, bytes], data: bytes = b"") -> bytes:
    """A PNG file of 8-bit gray, whatever its header declares."""
    header = (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    parts = (header, *chunks, (b"IDAT", zlib.compress(data)), (b"IEND", b""))
    packed = (struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def tiff(**tags: int) -> bytes:
    """A TIFF file of 8-bit gray: 60 x 40 in one strip, except for the given tags."""
    known = {"width": 256, "height": 257, "bits": 258, "packing": 259, "gray": 262, "strip": 273, "samples": 277,
             "rows": 278, "bytes": 279}  # fmt: skip
    values = {"width": 60, "height": 40, "bits": 8, "packing": 1, "gray": 1, "strip": 200, "samples": 1, "rows": 40,
              "bytes": 2400} | tags  # fmt: skip
    entries = b"".join(struct.pack("<HHII", known[name], 4, 1, value) for name, value in values.items())
    head = b"II*\0" + struct.pack("<IH", 8, len(values)) + entries + bytes(4)
    return head.ljust(200, b"\0") + bytes(2400)


def many_scans() -> bytes:
    """A progressive JPEG file of 9 million pixels whose last scan is repeated 500 times."""
    whole = encode("JPEG", np.full((3000, 3000), 7, np.uint8), progressive=True)
    return whole[:-2] + whole[whole.rindex(b"\xff\xda") : -2] * 500 + whole[-2:]


BOMB = zlib.compress(bytes(50_000_000))
BROKEN = {
    "empty": (b"", r"x\.jpg is not an image; restore the file"),
    "text": (b"<html>404 Not Found</html>", r"x\.jpg is not an image; restore the file"),
    "header alone": (b"\xff\xd8\xff\xe0", r"x\.jpg is not an image; restore the file"),
    "cut": (encode("JPEG")[:900], r"x\.jpg cannot be decoded \(image file is truncated.*\); restore the file"),
    "cut PNG": (encode("PNG")[:-900], r"cannot be decoded \(.*truncated.*\); restore the file"),
    "cut WebP": (encode("WEBP")[:-200], "restore the file"),
    "wrong checksum": (encode("PNG")[:60] + b"!" + encode("PNG")[61:], "cannot be decoded"),
    "PNG of 3.6 billion pixels": (png(60_000, 60_000), r"too large an image \(.*3600000000 pixels.*smaller copy"),
    "full PNG of 3.6 billion": (png(60_000, 60_000, data=bytes(10**7)), r"too large an image \(.*3600000000 pixels"),
    "GIF of 4 billion pixels": (
        b"GIF89a\xff\xff\xff\xff\0\0\0,\0\0\0\0\xff\xff\xff\xff\0\2\2L\1\0;",
        r"too large an image \(.*4294836225 pixels.*or use a smaller copy",
    ),
    "TIFF of 18 exabytes": (tiff(width=2**32 - 1, height=2**32 - 1), "too large an image|cannot be decoded"),
    "TIFF strip of 4 GB": (tiff(bytes=2**32 - 1, strip=2**32 - 1), r"cannot be decoded \(.*\); restore the file"),
    "TIFF of 65,535 channels": (tiff(samples=65_535), "not an image|cannot be decoded"),
    "a strip": (png(9, 70_000, data=bytes(10 * 70_000)), r"it is 9 x 70000; a side may have at most 65535 pixels"),
    "text chunk": (png(1, 1, (b"zTXt", b"k\0\0" + BOMB), data=b"\0\0"), r"decoded \(Decompressed data too large"),
    "international": (png(1, 1, (b"iTXt", b"k\0\1\0\0\0" + BOMB), data=b"\0\0"), r"decoded \(Decompressed data too"),
    "no pixel": (png(0, 5), "not an image|cannot be decoded"),
    "NaN": (encode("TIFF", np.full((4, 4), np.nan, np.float32)), "its floats range from nan to nan, not from 0 to 1"),
    "inf": (encode("TIFF", np.full((4, 4), np.inf, np.float32)), "its floats range from inf to inf, not from 0 to 1"),
    "metres": (encode("TIFF", np.full((4, 4), 8848.0, np.float32)), "its floats range from 8848 to 8848, not from"),
    "500 scans": (many_scans(), r"cannot be decoded \(it has 506 scans, far more than encoders write\)"),
    "PostScript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", r"x\.jpg is not an image; restore"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_broken_files_are_one_sentence(tmp_path: Path, case: str) -> None:
    content, sentence = BROKEN[case]
    (tmp_path / "x.jpg").write_bytes(content)
    with pytest.raises(ImageError, match=sentence) as raised:
        read(tmp_path)
    assert len(str(raised.value).splitlines()) == 1
    assert len(str(raised.value)) < 1000


def as_folder(path: Path) -> None:
    path.mkdir()


def as_pipe(path: Path) -> None:
    os.mkfifo(path)


def as_loop(path: Path) -> None:
    path.symlink_to(path)


def as_nothing(path: Path) -> None:
    path.symlink_to("gone.jpg")


def as_zeros(path: Path) -> None:
    path.symlink_to("/dev/zero")


def as_ones_own_link(path: Path) -> None:
    (path.parent / "real.jpg").write_bytes(encode("JPEG"))
    path.symlink_to("real.jpg")


@pytest.mark.parametrize(
    ("make", "arguments", "sentence"),
    [
        (as_folder, {}, r"x\.jpg cannot be decoded \(it is a folder\)"),
        (as_pipe, {}, r"x\.jpg cannot be decoded \(it is a pipe\)"),
        (as_loop, {}, r"x\.jpg cannot be decoded \(Too many levels of symbolic links\)"),
        (as_nothing, {}, r"x\.jpg is missing; restore the file"),
        (
            as_zeros,
            {},
            r"x\.jpg is a link, or below one, to /dev/zero, outside the data root; .* --dataset-arg links=follow",
        ),
        (as_zeros, {"links": "follow"}, r"x\.jpg cannot be decoded \(it is a device\)"),
    ],
)
def test_what_is_no_file(
    tmp_path: Path, make: Callable[[Path], None], arguments: dict[str, str], sentence: str
) -> None:
    make(tmp_path / "x.jpg")
    with pytest.raises(InputError, match=sentence):
        read(tmp_path, **arguments)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_bytes(encode("JPEG"))
    (tmp_path / "x.jpg").chmod(0)
    with pytest.raises(ImageError, match=r"cannot be decoded \(Permission denied\); restore the file"):
        read(tmp_path)


def test_a_link_inside_the_data_root_is_followed(tmp_path: Path) -> None:
    as_ones_own_link(tmp_path / "x.jpg")
    assert read(tmp_path).shape == NOISE.shape


@pytest.mark.parametrize("name", ["x.eps", "x.jpg", "x.wmf", "x.png"])
def test_no_image_starts_a_program(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    for program in ("gs", "gswin32c", "gswin64c"):
        (tmp_path / "bin" / program).write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
        (tmp_path / "bin" / program).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    (tmp_path / name).write_bytes(encode("EPS"))
    with pytest.raises(ImageError, match="is not an image"):
        read(tmp_path, name)
    assert not (tmp_path / "started").exists()


def test_a_format_that_is_not_read_is_told_apart(tmp_path: Path) -> None:
    (tmp_path / "x.tga").write_bytes(encode("TGA"))
    with pytest.raises(ImageError, match=r"x\.tga is not an image in a supported format \(.*JPEG.*; convert it"):
        read(tmp_path, "x.tga")


FRAMES = [Image.fromarray(NOISE[:, ::-1])]
EXIF = Image.Exif()
EXIF[0x0112], EXIF[0x010E] = 60_000, "\0" * 9000
FINE = {
    "PNG called jpg": (encode("PNG"), None),
    "palette with transparency": (encode("PNG", mode="P", transparency=b"\0" * 9), None),
    "gray and alpha": (encode("PNG", mode="LA"), None),
    "one bit": (encode("PNG", mode="1"), None),
    "group 4": (encode("TIFF", mode="1", compression="group4"), None),
    "CMYK": (encode("JPEG", mode="CMYK"), None),
    "16 bit PNG": (encode("PNG", np.full((40, 60), 40_000, np.uint16)), 40_000 // 256),
    "16 bit TIFF": (encode("TIFF", np.full((40, 60), 40_000, np.uint16)), 40_000 // 256),
    "floats to 1": (encode("TIFF", np.full((40, 60), 0.2, np.float32)), 51),
    "floats to 255": (encode("TIFF", np.full((40, 60), 51.4, np.float32)), 51),
    "animated GIF": (encode("GIF", np.full((40, 60, 3), 9, np.uint8), save_all=True, append_images=FRAMES), 9),
    "animated PNG": (encode("PNG", np.full((40, 60, 3), 9, np.uint8), save_all=True, append_images=FRAMES), 9),
    "animated WebP": (
        encode("WEBP", np.full((40, 60, 3), 9, np.uint8), lossless=True, save_all=True, append_images=FRAMES),
        9,
    ),
    "absurd EXIF": (encode("JPEG", exif=EXIF), None),
    "EXIF that is none": (encode("JPEG", exif=b"Exif\0\0" + b"\xff" * 5000), None),
}


@pytest.mark.parametrize("case", FINE)
def test_unusual_files_are_read_without_warnings(tmp_path: Path, case: str) -> None:
    content, value = FINE[case]
    (tmp_path / "x.jpg").write_bytes(content)
    with warnings.catch_warnings():
        warnings.filterwarnings("error")
        warnings.filterwarnings("ignore", module=r"PIL\.")  # about broken EXIF in valid images
        pixels = read(tmp_path)
    assert pixels.shape == (40, 60, 3)
    if value is not None:
        assert (pixels == value).all()


def test_transparency_is_dropped_without_a_warning(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_bytes(FINE["palette with transparency"][0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read(tmp_path)


@pytest.mark.parametrize("size", [(1, 1), (1, 10_000), (10_000, 1), (10_000, 10_000)])
def test_sizes_that_real_files_have(tmp_path: Path, size: tuple[int, int]) -> None:
    Image.new("1", size, 1).save(tmp_path / "x.jpg", "PNG")  # 100 million pixels are allowed
    (sample,) = load_dataset("csv", csv(tmp_path))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        image, frame = read_image(sample)
    assert (image.size, frame, image.getpixel((0, 0))) == (size, size, (255, 255, 255))


@pytest.mark.parametrize(
    "name", ["it's.jpg", 'say "cheese".jpg', "å é 鳥 🐦.jpg", "a b,c;d.jpg", "e" * 240 + ".jpg", "~", "-x"]
)
def test_names_that_files_have(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(encode("JPEG"))
    assert read(tmp_path, name).shape == NOISE.shape


def test_a_name_longer_than_any_file(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"cannot be decoded \(File name too long\)"):
        read(tmp_path, "e" * 300 + ".jpg")


@pytest.mark.parametrize(("case", "sentence"), [("cut", "image file is truncated"), ("empty", "is not an image")])
def test_the_command_says_it_once(tmp_path: Path, command_error: Callable[..., str], case: str, sentence: str) -> None:
    (tmp_path / "x.jpg").write_bytes(BROKEN[case][0])
    assert sentence in command_error("csv", csv(tmp_path))


def test_the_command_does_not_wait_for_a_pipe(tmp_path: Path, command_error: Callable[..., str]) -> None:
    as_pipe(tmp_path / "x.jpg")
    assert "it is a pipe" in command_error("csv", csv(tmp_path))
