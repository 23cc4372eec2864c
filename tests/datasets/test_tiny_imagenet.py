import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from wsol.datasets import Dataset, load_dataset, read_image
from wsol.datasets._content import with_content
from wsol.datasets._images import read_batches
from wsol.errors import ImageError, InputError


@pytest.fixture
def tiny(tmp_path: Path, draw: Callable[..., Path]) -> Path:
    (tmp_path / "wnids.txt").write_text("n02\nn01\n")  # not sorted, as in the original
    (tmp_path / "words.txt").write_text("n01\tgoldfish, Carassius auratus\nn02\tbus\nn99\tnot here\n")
    for wnid in ("n01", "n02"):
        rows = [f"{wnid}_{i}.JPEG\t0\t3\t62\t63\n" for i in range(10)]
        for i in range(10):
            draw(tmp_path / "train" / wnid / "images" / f"{wnid}_{i}.JPEG", (64, 64))
        (tmp_path / "train" / wnid / f"{wnid}_boxes.txt").write_text("".join(rows))
    draw(tmp_path / "val" / "images" / "val_0.JPEG", (64, 64))
    (tmp_path / "val" / "val_annotations.txt").write_text("val_0.JPEG\tn02\t0\t32\t44\t62\n")
    return tmp_path


def test_by_hand(tiny: Path) -> None:
    data = load_dataset("tiny-imagenet", tiny)
    (sample,) = data
    assert sample.label == 1  # sorted synsets, not the order of wnids.txt
    assert data.classes == ("goldfish, Carassius auratus", "bus")
    assert sample.boxes.tolist() == [[0, 32, 44, 62]]
    assert sample.edges.tolist() == [[0, 32, 45, 63]]  # inclusive corners


def test_splits(tiny: Path) -> None:
    train, val = load_dataset("tiny-imagenet", tiny, "train"), load_dataset("tiny-imagenet", tiny, "val")
    assert (len(train), len(val)) == (18, 2)
    assert not {s.image_id for s in train} & {s.image_id for s in val}
    assert val.samples[0].edges.tolist() == [[0, 3, 63, 64]]


@pytest.mark.parametrize("place", ["val/n02/images", "val/n02", "val"])
@pytest.mark.parametrize("suffix", [".JPEG", ".jpg", ".png"])
def test_validation_images_sorted_into_folders(tiny: Path, place: str, suffix: str) -> None:
    before = load_dataset("tiny-imagenet", tiny)
    moved = tiny / place / f"val_0{suffix}"
    moved.parent.mkdir(parents=True, exist_ok=True)
    (tiny / "val" / "images" / "val_0.JPEG").rename(moved)
    data = load_dataset("tiny-imagenet", tiny)
    assert data.signature == before.signature
    assert data.samples[0].path == moved


def test_training_images_of_another_folder_and_suffix(tiny: Path) -> None:
    before = load_dataset("tiny-imagenet", tiny, "train")
    for path in (tiny / "train").glob("*/images/*.JPEG"):
        path.rename(path.parent.parent / f"{path.stem}.jpg")
    data = load_dataset("tiny-imagenet", tiny, "train")
    assert data.signature == before.signature
    assert all(sample.path.is_file() and sample.path.suffix == ".jpg" for sample in data)


def test_a_script_that_deleted_the_boxes_is_named(tiny: Path) -> None:
    (tiny / "val" / "n02").mkdir()
    (tiny / "val" / "val_annotations.txt").unlink()
    with pytest.raises(InputError, match=r"val_annotations.txt, which has the boxes, is missing, .*; restore it from"):
        load_dataset("tiny-imagenet", tiny)


def test_broken_lines_are_named(tiny: Path) -> None:
    path = tiny / "val" / "val_annotations.txt"
    path.write_text("val_0.JPEG\tn02\t0\t32\n")
    with pytest.raises(InputError, match=r"val_annotations\.txt, line 1: .* should be file, synset, x0, y0, x1, y1"):
        load_dataset("tiny-imagenet", tiny)
    path.write_text("val_0.JPEG\tn77\t0\t32\t44\t62\n")
    with pytest.raises(InputError, match=r"val_0\.JPEG has the synset 'n77'"):
        load_dataset("tiny-imagenet", tiny)


def test_a_number_of_classes_evenly_spaced(tmp_path: Path, draw: Callable[..., Path]) -> None:
    wnids = [f"n{number:02d}" for number in range(10)]
    whole = write_miniature(tmp_path, draw, wnids[::-1])
    labels = {"n00": 0, "n03": 1, "n06": 2}  # 0, 10/3 and 20/3 rounded down
    for split, origin in (("test", "classes=3"), ("val", "tenth-of-train,seed=0,classes=3"), ("train", "classes=3")):
        every = load_dataset("tiny-imagenet", whole, split)
        some = load_dataset("tiny-imagenet", whole, split, {"classes": "3"})
        assert some.synsets == tuple(labels)
        assert some.classes == tuple(f"name of {wnid}" for wnid in labels)
        kept = [sample for sample in every if every.synsets[sample.label] in labels]
        assert [s.image_id for s in some] == [s.image_id for s in kept]  # every image stays in its split
        assert [s.label for s in some] == [labels[every.synsets[s.label]] for s in kept]
        assert some.signature.startswith(f"tiny-imagenet-{split}({origin})#{len(kept)}:")
        assert load_dataset("tiny-imagenet", whole, split, {"classes": "10"}).signature == every.signature


@pytest.mark.parametrize("classes", ["0", "1", "3", "-2", "2.0", "two"])
def test_numbers_of_classes_that_there_are_not(tiny: Path, classes: str) -> None:
    with pytest.raises(InputError, match=f"classes={classes} is not a number from 2 to 2, all its classes"):
        load_dataset("tiny-imagenet", tiny, "test", {"classes": classes})


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("below", ["", "tiny-imagenet-200/"])
def test_a_zip_archive_holds_the_same_data(tiny: Path, method: int, below: str) -> None:
    archive = pack(tiny, tiny.parent / f"{tiny.name}.zip", method, below)
    for split in ("train", "val", "test"):
        assert_same(load_dataset("tiny-imagenet", tiny, split), load_dataset("tiny-imagenet", archive, split))


def test_a_zip_archive_of_sorted_validation_images(tiny: Path) -> None:
    (tiny / "val" / "n02").mkdir()
    (tiny / "val" / "images" / "val_0.JPEG").rename(tiny / "val" / "n02" / "val_0.jpg")
    folder, archive = tiny, pack(tiny, tiny.parent / f"{tiny.name}.zip")
    assert_same(load_dataset("tiny-imagenet", folder), load_dataset("tiny-imagenet", archive))
    (tiny / "val" / "val_annotations.txt").unlink()
    archive = pack(tiny, tiny.parent / f"{tiny.name}-2.zip")
    with pytest.raises(InputError, match=r"val_annotations.txt, which has the boxes, is missing, .*; restore it from"):
        load_dataset("tiny-imagenet", archive)


def test_faults_in_a_zip_archive_are_named(tiny: Path) -> None:
    (tiny / "val" / "images" / "val_0.JPEG").write_bytes(b"text")
    data = load_dataset("tiny-imagenet", pack(tiny, tiny.parent / f"{tiny.name}.zip"))
    with pytest.raises(ImageError, match=r"\.zip/val/images/val_0\.JPEG is not an image; restore the file"):
        read_image(data.samples[0])
    (tiny / "val" / "images" / "val_0.JPEG").unlink()
    data = load_dataset("tiny-imagenet", pack(tiny, tiny.parent / f"{tiny.name}-2.zip"))
    with pytest.raises(ImageError, match=r"\.zip/val/images/val_0\.JPEG is missing; restore the file"):
        read_image(data.samples[0])
    (tiny / "val" / "images" / "val_0.JPEG").mkdir()
    (tiny / "wnids.txt").unlink()
    with pytest.raises(InputError, match=r"\.zip/wnids\.txt is missing: it should contain a synset"):
        load_dataset("tiny-imagenet", pack(tiny, tiny.parent / f"{tiny.name}-3.zip"))


def test_other_data_sets_are_not_read_from_zip_archives(tiny: Path) -> None:
    archive = pack(tiny, tiny.parent / f"{tiny.name}.zip")
    with pytest.raises(InputError, match=r"cub is not read from a zip archive; unpack .*\.zip and give the folder"):
        load_dataset("cub", archive)
    with pytest.raises(InputError, match=r"tiny-imagenet: there is no folder .*other\.zip"):
        load_dataset("tiny-imagenet", archive.with_name("other.zip"))


def test_the_real_part_in_a_zip_archive(real_data: Path, tmp_path: Path) -> None:
    folder = real_data / "tiny-imagenet-200"
    archive = pack(folder, tmp_path / "tiny-imagenet-200.zip", below="tiny-imagenet-200/")
    unpacked, zipped = (load_dataset("tiny-imagenet", root, "test", {"classes": "5"}) for root in (folder, archive))
    assert (len(zipped), zipped.origin) == (250, "classes=5")
    assert_same(unpacked, zipped)
    batches = [read_batches(data.samples, 32, 100, 2, skip_bad=False) for data in (unpacked, zipped)]  # by processes
    for one, other in zip(*batches, strict=True):
        np.testing.assert_array_equal(one.pixels, other.pixels)


def assert_same(folder: Dataset, archive: Dataset) -> None:
    """Both have the same samples, the same files and the same signature."""
    assert with_content(archive, all_images=True).signature == with_content(folder, all_images=True).signature
    for one, other in zip(folder, archive, strict=True):
        assert (one.image_id, one.label, one.corners, one.size) == (
            other.image_id,
            other.label,
            other.corners,
            other.size,
        )
        np.testing.assert_array_equal(one.boxes, other.boxes)
        (image, frame), (packed, packed_frame) = read_image(one), read_image(other)
        assert frame == packed_frame
        np.testing.assert_array_equal(image, packed)
        assert ".zip/" in str(other.path)


def pack(folder: Path, path: Path, method: int = zipfile.ZIP_STORED, below: str = "") -> Path:
    """Pack a folder into a zip archive, below a folder of a name."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, below + file.relative_to(folder).as_posix())
    return path


def write_miniature(root: Path, draw: Callable[..., Path], wnids: list[str]) -> Path:
    """Write ten training images and a validation image for each class."""
    (root / "wnids.txt").write_text("\n".join(wnids))
    (root / "words.txt").write_text("".join(f"{wnid}\tname of {wnid}\n" for wnid in wnids))
    rows = []
    for wnid in wnids:
        (root / "train" / wnid).mkdir(parents=True)
        names = [f"{wnid}_{i}.JPEG" for i in range(10)]
        (root / "train" / wnid / f"{wnid}_boxes.txt").write_text("".join(f"{name}\t0\t3\t62\t63\n" for name in names))
        rows.append(f"val_{len(rows)}.JPEG\t{wnid}\t0\t32\t44\t62\n")
    draw(root / "val" / "images" / "val_0.JPEG", (64, 64))
    (root / "val" / "val_annotations.txt").write_text("".join(rows))
    return root
