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


def test_only_the_thumbnail_of_a_large_photo_is_smaller(tmp_path: Path, draw: Callable[..., Path]) -> None:
    loaded = load(find_photos([draw(tmp_path / "a.jpg", (3000, 1500))])[0], find_protocol("exact").view)
    assert loaded.thumbnail.shape == (512, 1024, 3)
    assert loaded.size == (3000, 1500)
