"""OpenImages30k in its published layout: masks of objects, an ignore mask, names of classes by their ids."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import wsol
from wsol.datasets import load_dataset
from wsol.errors import InputError

# 01d40f is listed first, so it has label 0 only if the labels are those of the lists, not the folders in sorted order.
IDS = {"test/0ph39/aa": 1, "test/01d40f/bb": 0}


def mask(path: Path, *boxes: tuple[int, int, int, int]) -> None:
    values = np.zeros((20, 30), np.uint8)
    for x0, y0, x1, y1 in boxes:
        values[y0:y1, x0:x1] = 255
    Image.fromarray(values).save(path)


@pytest.fixture
def root(tmp_path: Path, draw: Callable[..., Path]) -> Path:
    for name in IDS:
        draw(tmp_path / "OpenImages" / f"{name}.jpg", (30, 20))
    canoe, dress = (tmp_path / "OpenImages" / name for name in IDS)
    mask(canoe.with_name("aa_m0ph39_11.png"), (2, 3, 10, 8))
    mask(canoe.with_name("aa_m0ph39_22.png"), (20, 10, 30, 20))
    mask(canoe.with_name("aa_ignore.png"), (0, 0, 15, 20))
    mask(dress.with_name("bb_m01d40f_33.png"), (0, 0, 30, 10))
    lists = tmp_path / "metadata" / "OpenImages" / "test"
    lists.mkdir(parents=True)
    (lists / "image_ids.txt").write_text("".join(f"{name}.jpg\n" for name in IDS))
    (lists / "class_labels.txt").write_text("".join(f"{name}.jpg,{label}\n" for name, label in IDS.items()))
    (lists / "localization.txt").write_text(
        "test/0ph39/aa.jpg,test/0ph39/aa_m0ph39_11.png,test/0ph39/aa_ignore.png\n"
        "test/0ph39/aa.jpg,test/0ph39/aa_m0ph39_22.png,\n"
        "test/01d40f/bb.jpg,test/01d40f/bb_m01d40f_33.png,\n"
    )
    return tmp_path


def test_by_hand(root: Path) -> None:
    data = load_dataset("openimages30k", root)
    assert data.classes == ("Dress", "Canoe")
    canoe, dress = data
    assert (canoe.image_id, canoe.label, canoe.size) == ("test/0ph39/aa.jpg", 1, (30, 20))
    assert canoe.edges.tolist() == [[2, 3, 10, 8], [20, 10, 30, 20]]
    annotation = canoe.mask()
    assert annotation.foreground.sum() == 8 * 5 + 10 * 10
    assert annotation.ignore.sum() == 15 * 20 - 8 * 5  # without the foreground, which counts
    assert dress.path.is_file()


def test_pxap_of_a_map_by_hand(root: Path) -> None:
    data = load_dataset("openimages30k", root)
    scores = np.zeros((20, 30), np.float32)
    scores[:, :25] = 1
    half = np.zeros((20, 30), np.float32)
    half[:15] = 1
    maps = {"test/0ph39/aa.jpg": scores, "test/01d40f/bb.jpg": half}
    found = wsol.score(maps=maps, dataset=data, protocol="exact:levels=2", tau=0).metrics.set_index("metric")
    # Of the canoe 40 + 50 pixels reach 1 and 50 do not; of its background, without the 260 ignored pixels, 150 and 50.
    # Of the dress 300 reach 1 and 0 do not; of its background 150 and 150.
    precision, all_pixels = 390 / (390 + 150 + 150), 440 / (440 + 200 + 300)
    assert found.loc["pxap", "value"] == pytest.approx(100 * (precision * 390 / 440 + all_pixels * 50 / 440))


def test_lists_elsewhere_and_the_folder_itself(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    expected = load_dataset("openimages30k", root).signature
    lists = tmp_path_factory.mktemp("lists") / "OpenImages"
    shutil.move(root / "metadata" / "OpenImages", lists)
    data = load_dataset("openimages30k", root / "OpenImages", dataset_args={"lists": str(lists)})
    assert data.signature == expected
    with pytest.raises(InputError, match=r"metadata/OpenImages/test with the published lists; give .*lists=DIR"):
        load_dataset("openimages30k", root)


def test_train_has_labels_alone(root: Path) -> None:
    lists = root / "metadata" / "OpenImages" / "train"
    lists.mkdir()
    (lists / "image_ids.txt").write_text("train/0ph39/cc.jpg\n")
    (lists / "class_labels.txt").write_text("train/0ph39/cc.jpg,1\n")
    (sample,) = load_dataset("openimages30k", root, "train")
    assert (sample.label, len(sample.boxes), sample.mask) == (1, 0, None)


def test_an_empty_mask_is_one_sentence(root: Path) -> None:
    mask(root / "OpenImages" / "test" / "01d40f" / "bb_m01d40f_33.png")
    with pytest.raises(InputError, match=r"bb_m01d40f_33\.png is empty, so the object has no box; fix the mask"):
        load_dataset("openimages30k", root)
