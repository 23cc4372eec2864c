"""Photos are found, read and rotated upright."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsol.datasets import Dataset, Sample, load_dataset
from wsol.errors import InputError
from wsol.protocols import find_protocol
from wsol.visualization.photos import find_photos, load


def test_folders_files_and_doubles(tmp_path: Path, draw: Callable[..., Path]) -> None:
    for name in ("b.png", "a/z.JPG", "a/y.tiff", ".hidden.png", ".thumbs/c.png", "c.webp"):
        draw(tmp_path / name)
    (tmp_path / "notes.txt").touch()
    found = find_photos([tmp_path / "c.webp", tmp_path, str(tmp_path / "a" / ".." / "b.png")])
    assert [photo.name for photo in found] == ["c.webp", "y.tiff", "z.JPG", "b.png"]
    (tmp_path / "empty").mkdir()
    for bad, sentence in (("empty", "has no image"), ("gone.png", "photo '.*gone.png' does not exist")):
        with pytest.raises(InputError, match=sentence):
            find_photos([tmp_path / bad])


def test_a_photo_is_known_by_its_resolved_path_or_its_id(tmp_path: Path, csv_data: Path) -> None:
    images = load_dataset("csv", csv_data)
    link, copy = tmp_path / "link.png", tmp_path / "02.png"
    link.symlink_to(csv_data / "01.png")
    copy.write_bytes((csv_data / "02.png").read_bytes())
    by_link, by_copy, by_id = find_photos([link, copy, "02.png"], images)
    assert [sample.image_id for sample in by_link.truth] == ["01.png"]
    assert by_copy.truth == ()
    assert [sample.image_id for sample in by_id.truth] == ["02.png"]
    with pytest.raises(InputError, match=r"neither a file nor an image id of csv test, with ids such as '01.png'"):
        find_photos(["99.png"], images)


def test_a_photo_of_a_camera_is_rotated_and_one_of_a_data_set_is_not(tmp_path: Path) -> None:
    stored = np.zeros((20, 40, 3), np.uint8)
    stored[:, :20, 0] = 255  # red at the left, and at the top after a clockwise rotation
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "camera.png"
    Image.fromarray(stored).save(path, exif=exif)
    view = find_protocol("exact").view
    loaded = load(find_photos([path])[0], view)
    assert loaded.size == (20, 40)
    assert loaded.thumbnail[:20, :, 0].min() == 255
    assert loaded.thumbnail[20:].max() == 0
    assert loaded.crops[0][0, :100, :, 0].min() == 255
    images = Dataset("one", "test", (Sample("c", 0, np.array([[0, 0, 9, 9.0]]), "edges", path),), ("cat",))
    kept = load(find_photos([path], images)[0], view)
    assert kept.size == (40, 20)
    np.testing.assert_array_equal(kept.thumbnail, stored)


def write_photo(path: Path, mode: str) -> None:
    gray = np.linspace(0, 65535, 2400).reshape(40, 60)
    rgb = Image.fromarray(np.stack([gray / 257, gray[::-1] / 257, gray[:, ::-1] / 257], 2).astype(np.uint8))
    if mode == "I;16":
        Image.fromarray(gray.astype(np.uint16)).save(path)
    elif mode == "P":
        rgb.quantize(32).save(path, transparency=3)
    elif mode in ("1", "L", "F"):
        Image.fromarray((gray / 257).astype(np.uint8)).convert(mode).save(path)
    else:
        rgb.convert(mode).save(path)


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        *((f"{mode}.png", mode) for mode in ("1", "L", "I;16", "LA", "P", "RGB", "RGBA")),
        *((f"{mode}.tif", mode) for mode in ("1", "L", "I;16", "LA", "P", "RGB", "RGBA", "CMYK", "F")),
        ("CMYK.jpg", "CMYK"),
        ("P.gif", "P"),
        ("RGB.webp", "RGB"),
    ],
)
def test_a_photo_by_path_is_the_photo_in_memory(tmp_path: Path, name: str, mode: str) -> None:
    write_photo(path := tmp_path / name, mode)
    sources: list[object] = [path, str(path), Image.open(path)]
    decoded = Image.open(path)
    decoded.load()
    sources.append(decoded)
    if mode not in ("P", "CMYK"):  # their arrays are indices, and inks
        sources.append(np.asarray(Image.open(path)))
    view = find_protocol("exact").view
    first, *others = (load(find_photos([source])[0], view) for source in sources)
    assert first.size == (60, 40)
    assert 100 < first.thumbnail.mean() < 155  # not clipped
    for other in others:
        assert other.size == first.size
        assert other.digest == first.digest
        np.testing.assert_array_equal(other.thumbnail, first.thumbnail)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["camera.jpg", "camera.png", "camera.tif", "camera.webp"])
def test_a_photo_in_memory_is_rotated_like_the_file(tmp_path: Path, name: str, orientation: int) -> None:
    stored = np.kron([[0, 80], [160, 240]], np.ones((24, 40))).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(stored).save(tmp_path / name, exif=exif)
    view = find_protocol("exact").view
    by_path, by_object = (
        load(find_photos([source])[0], view) for source in (tmp_path / name, Image.open(tmp_path / name))
    )
    corners = [[0, 80, 160, 240], [80, 0, 240, 160], [240, 160, 80, 0], [160, 240, 0, 80],
               [0, 160, 80, 240], [160, 0, 240, 80], [240, 80, 160, 0], [80, 240, 0, 160]]  # fmt: skip  # row by row
    height, width = by_path.thumbnail.shape[:2]
    assert (width, height) == by_path.size == ((80, 48) if orientation < 5 else (48, 80))
    seen = [int(by_path.thumbnail[y, x, 0]) for y in (5, height - 6) for x in (5, width - 6)]
    np.testing.assert_allclose(seen, corners[orientation - 1], atol=8)
    assert by_object.digest == by_path.digest
    assert by_object.size == by_path.size


def test_a_folder_has_images_of_every_format_that_is_read(tmp_path: Path) -> None:
    for suffix in ("avif", "jfif", "JPE", "mpo", "pbm", "webp"):
        (tmp_path / f"a.{suffix}").touch()
    assert len(find_photos([tmp_path])) == 6


def test_an_image_in_memory_whose_file_is_cut_is_one_sentence(tmp_path: Path, draw: Callable[..., Path]) -> None:
    path = draw(tmp_path / "a.jpg", (200, 200))
    path.write_bytes(path.read_bytes()[:4000])
    with pytest.raises(InputError, match=r"image 1 cannot be used .*truncated.*; give 8-bit RGB or gray"):
        find_photos([Image.open(path)])


def test_only_the_thumbnail_of_a_large_photo_is_smaller(tmp_path: Path, draw: Callable[..., Path]) -> None:
    loaded = load(find_photos([draw(tmp_path / "a.jpg", (3000, 1500))])[0], find_protocol("exact").view)
    assert loaded.thumbnail.shape == (512, 1024, 3)
    assert loaded.size == (3000, 1500)
