from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import wsol
from wsol.datasets import load_dataset
from wsol.errors import InputError

SYNSETS = [f"n{10_000_000 + 7 * i:08d}" for i in range(300)]
IGNORED = (232, 3, 0)  # 232 + 3 * 256 = 1000


def write_mask(path: Path, *areas: tuple[tuple[int, int, int], tuple[int, int, int, int]]) -> None:
    """Write a mask of 60 x 40: areas of a color, from x0, y0 to x1, y1, the later above the earlier."""
    pixels = np.zeros((40, 60, 3), np.uint8)
    for color, (x0, y0, x1, y1) in areas:
        pixels[y0:y1, x0:x1] = color
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def make(root: Path, draw: Callable[..., Path], count: int = 50) -> Path:
    home = root / f"ImageNetS{count}"
    for folder in ("train", "train-semi", "validation"):
        for synset in SYNSETS[:count]:
            (home / folder / synset).mkdir(parents=True)
    masks = home / "validation-segmentation"
    draw(home / "validation" / SYNSETS[1] / "ILSVRC2012_val_00000007.JPEG")
    write_mask(
        masks / SYNSETS[1] / "ILSVRC2012_val_00000007.png",
        (IGNORED, (9, 9, 31, 21)),
        ((2, 0, 0), (10, 10, 20, 20)),
        ((2, 0, 0), (25, 10, 30, 20)),
        ((1, 0, 0), (40, 0, 60, 40)),  # another class
    )
    draw(home / "validation" / SYNSETS[0] / "ILSVRC2012_val_00000003.JPEG")
    write_mask(masks / SYNSETS[0] / "ILSVRC2012_val_00000003.png", ((1, 0, 0), (0, 0, 60, 40)))
    for i in range(2):
        draw(home / "train" / SYNSETS[3] / f"{SYNSETS[3]}_{i}.JPEG")
    draw(home / "train-semi" / SYNSETS[49] / f"{SYNSETS[49]}_8.JPEG")
    write_mask(home / "train-semi-segmentation" / SYNSETS[49] / f"{SYNSETS[49]}_8.png", ((50, 0, 0), (5, 0, 6, 1)))
    return home


@pytest.fixture
def home(tmp_path: Path, draw: Callable[..., Path]) -> Path:
    return make(tmp_path, draw)


def test_by_hand(home: Path) -> None:
    data = load_dataset("imagenet-s", home)
    whole, parts = data
    assert [s.image_id for s in data] == [
        f"{SYNSETS[0]}/ILSVRC2012_val_00000003.JPEG",
        f"{SYNSETS[1]}/ILSVRC2012_val_00000007.JPEG",
    ]
    assert [s.label for s in data] == [0, 1]  # the classes in the mask count from 1
    assert whole.edges.tolist() == [[0, 0, 60, 40]]
    assert parts.edges.tolist() == [[10, 10, 30, 20]]  # around both
    assert parts.size == (60, 40)
    mask = parts.mask()
    assert mask.foreground.sum() == 150
    assert mask.ignore.sum() == 22 * 12 - 150
    assert not (mask.foreground | mask.ignore)[:, 40:].any()  # the other class is background
    assert data.synsets == data.classes == tuple(SYNSETS[:50])
    assert data.signature.startswith("imagenet-s-test(50 classes)#2:")


def test_green_counts_256(tmp_path: Path, draw: Callable[..., Path]) -> None:
    home = make(tmp_path, draw, 300)
    draw(home / "validation" / SYNSETS[257] / "a.JPEG")
    write_mask(
        home / "validation-segmentation" / SYNSETS[257] / "a.png",
        ((2, 0, 0), (0, 0, 60, 40)),  # class 2
        ((2, 1, 0), (3, 4, 5, 9)),  # class 2 + 256
    )
    sample = load_dataset("imagenet-s", home).samples[-1]
    assert (sample.label, sample.edges.tolist()) == (257, [[3, 4, 5, 9]])


def test_splits(home: Path) -> None:
    train, val = (load_dataset("imagenet-s", home.parent, part) for part in ("train", "val"))
    assert [s.image_id for s in train] == [f"{SYNSETS[3]}/{SYNSETS[3]}_{i}.JPEG" for i in range(2)]
    assert [s.label for s in train] == [3, 3]
    assert all(not len(s.boxes) for s in train)
    assert [(s.label, s.edges.tolist()) for s in val] == [(49, [[5, 0, 6, 1]])]


def test_names(home: Path) -> None:
    (home.parent / "names.txt").write_text(f"{SYNSETS[1]} goldfish, Carassius auratus\nn09999999 other\n")
    data = load_dataset("imagenet-s", home, dataset_args={"names": str(home.parent / "names.txt")})
    assert data.classes[:3] == (SYNSETS[0], "goldfish, Carassius auratus", SYNSETS[2])
    assert data.synsets == tuple(SYNSETS[:50])


def test_an_image_without_its_class_is_left_out(home: Path) -> None:
    write_mask(home / "validation-segmentation" / SYNSETS[0] / "ILSVRC2012_val_00000003.png", (IGNORED, (0, 0, 9, 9)))
    data = load_dataset("imagenet-s", home)
    assert len(data) == 1
    (note,) = data.notes
    assert note.startswith(f"images whose mask has no pixel of their class are left out (1): {SYNSETS[0]}/ILSVRC2012")
    (home / "validation" / SYNSETS[1] / "ILSVRC2012_val_00000007.JPEG").unlink()
    with pytest.raises(
        InputError, match=r"no mask of .*validation has a pixel of its folder's class; restore the masks"
    ):
        load_dataset("imagenet-s", home)


def test_a_class_that_is_missing_would_shift_the_others(home: Path) -> None:
    (home / "validation" / SYNSETS[30]).rmdir()
    with pytest.raises(InputError, match=r"has 49 folders of synsets, not the 50 of ImageNet-S, by whose order"):
        load_dataset("imagenet-s", home)
    assert load_dataset("imagenet-s", home, "train")


def test_a_root_with_several_variants(home: Path) -> None:
    (home.parent / "ImageNetS300").mkdir()
    with pytest.raises(InputError, match=r"contain one \(ImageNetS50 and ImageNetS300 found\); give that folder"):
        load_dataset("imagenet-s", home.parent)


def test_images_of_another_suffix(home: Path) -> None:
    before = load_dataset("imagenet-s", home)
    for path in (home / "validation").rglob("*.JPEG"):
        path.rename(path.with_suffix(".jpg"))
    data = load_dataset("imagenet-s", home)
    assert data.signature == before.signature
    assert all(sample.path.is_file() for sample in data)


@pytest.mark.parametrize(
    ("color", "sentence"),
    [
        ((51, 0, 0), r"has a pixel \(51, 0, 0\), which is none of the 50 classes; restore the mask"),
        ((1, 1, 0), r"has a pixel \(1, 1, 0\)"),
        ((1, 0, 9), r"has a pixel \(1, 0, 9\)"),
    ],
)
def test_pixels_that_are_no_class(home: Path, color: tuple[int, int, int], sentence: str) -> None:
    write_mask(home / "validation-segmentation" / SYNSETS[0] / "ILSVRC2012_val_00000003.png", (color, (0, 0, 9, 9)))
    with pytest.raises(InputError, match=sentence):
        load_dataset("imagenet-s", home)


def test_masks_that_are_gray_or_missing(home: Path) -> None:
    path = home / "validation-segmentation" / SYNSETS[0] / "ILSVRC2012_val_00000003.png"
    Image.fromarray(np.ones((40, 60), np.uint8)).save(path)
    with pytest.raises(InputError, match=r"has pixels of mode L, not RGB; restore the mask"):
        load_dataset("imagenet-s", home)
    path.unlink()
    with pytest.raises(InputError, match=r"00000003\.png is missing: the image has no mask and so no box; restore it"):
        load_dataset("imagenet-s", home)


def test_a_perfect_map_is_scored_as_one(home: Path) -> None:
    data = load_dataset("imagenet-s", home)
    maps = {s.image_id: s.mask().foreground.astype(np.float32) for s in data}
    maps[data.samples[0].image_id][0, 0] = 0  # a constant map has no box
    table = wsol.score(maps=maps, dataset=data, protocol="exact", bootstrap=0).metrics
    values = dict(zip(table.metric, table.value, strict=True))
    # of the parts, of 10 x 10 and 5 x 10 pixels, the larger gives the box: 100 of the extent's 200 pixels
    assert values["gt_known_loc_acc"] == 100
    assert values["mean_iou"] == pytest.approx((100 + 50) / 2)
    assert values["pxap"] > 99
