"""The segmentations of CUB-200-2011."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import wsol
from wsol.datasets import load_dataset, with_content
from wsol.errors import InputError

IDS = [f"001.Bird/bird_{i}.jpg" for i in range(4)]


@pytest.fixture
def cub(tmp_path: Path) -> Path:
    """Four images, the first two of the test set; the gray of a mask is the number of annotators out of five."""
    home = tmp_path / "CUB_200_2011"
    rows = {
        "classes": ["1 001.Bird"],
        "images": [f"{i} {name}" for i, name in enumerate(IDS)],
        "image_class_labels": [f"{i} 1" for i in range(4)],
        "train_test_split": [f"{i} {int(i > 1)}" for i in range(4)],
        "bounding_boxes": [f"{i} 10.0 10.0 40.0 20.0" for i in range(4)],
    }
    (home / "images" / "001.Bird").mkdir(parents=True)
    (tmp_path / "segmentations" / "001.Bird").mkdir(parents=True)
    for name, lines in rows.items():
        (home / f"{name}.txt").write_text("\n".join(lines))
    gray = np.zeros((40, 60), np.uint8)
    for votes in range(1, 6):  # nested: 40, 32, 24, 16 and 8 columns
        gray[10:30, 10 : 50 - 8 * (votes - 1)] = 51 * votes
    for name in IDS:
        Image.new("RGB", (60, 40)).save(home / "images" / name)
        Image.fromarray(gray).save(tmp_path / "segmentations" / name.replace(".jpg", ".png"))
    return tmp_path


def load(root: Path, **arguments: str):
    return load_dataset("cub", root, dataset_args={"masks": str(root / "segmentations"), **arguments})


@pytest.mark.parametrize(
    ("cut", "columns"),
    [
        ("", 24),  # more than half: 3 of 5, which are 153 of 255
        ("0.5", 24),
        ("0", 40),  # any annotator
        ("0.2", 32),  # above 51, which one annotator is
        ("0.6", 16),
        ("0.99", 8),  # all
    ],
)
def test_the_cut_by_hand(cub: Path, cut: str, columns: int) -> None:
    data = load(cub, **({"mask_cut": cut} if cut else {}))
    mask = data.samples[0].mask()
    assert mask.foreground.sum() == 20 * columns
    assert mask.foreground[10:30, 10 : 10 + columns].all()
    assert not mask.ignore.any()
    assert data.samples[0].boxes.tolist() == [[10, 10, 50, 30]]  # the published ones


def test_the_signature_names_the_cut_where_there_are_masks(cub: Path) -> None:
    plain = with_content(load_dataset("cub", cub)).signature
    assert "mask" not in plain
    signatures = [with_content(load(cub, mask_cut=cut)).signature for cut in ("0.5", "0.50", "0")]
    assert signatures[0] == signatures[1] != signatures[2]
    assert signatures[0].startswith(f"{plain}+masks(cut=0.5):")
    assert signatures[2].startswith(f"{plain}+masks(cut=0):")
    assert signatures[0][-8:] != signatures[2][-8:]  # the fingerprint of the masks has the cut too
    assert with_content(load(cub), masks=False).signature == plain  # for protocols that ignore masks
    path = cub / "segmentations" / IDS[0].replace(".jpg", ".png")
    Image.fromarray(np.full((40, 60), 255, np.uint8)).save(path)
    assert with_content(load(cub)).signature != signatures[0]


def test_masks_may_be_inside_the_folder_and_of_any_mode(cub: Path) -> None:
    (cub / "segmentations").rename(cub / "CUB_200_2011" / "segmentations")
    folder = cub / "CUB_200_2011" / "segmentations"
    expected = load(cub, masks=str(folder)).samples[0].mask().foreground
    gray = Image.open(folder / IDS[1].replace(".jpg", ".png"))
    sixteen_bit = Image.fromarray(np.asarray(gray, np.uint16) * 257)
    for image in (*(gray.convert(mode) for mode in ("RGB", "LA", "RGBA", "P")), sixteen_bit):
        image.save(folder / IDS[0].replace(".jpg", ".png"))
        assert (load(cub, masks=str(folder)).samples[0].mask().foreground == expected).all()


def test_a_perfect_map_has_a_pxap_of_100(cub: Path) -> None:
    data = load(cub)
    maps = {s.image_id: s.mask().foreground.astype(np.float32) for s in data}
    table = wsol.score(maps=maps, dataset=data, protocol="exact", bootstrap=0).metrics
    values = dict(zip(table.metric, table.value, strict=True))
    assert values["pxap"] == 100
    assert values["mean_iou"] == pytest.approx(60)  # the box has 40 columns, of which the mask has 24


def test_masks_that_are_missing_or_empty(cub: Path) -> None:
    path = cub / "segmentations" / IDS[0].replace(".jpg", ".png")
    Image.fromarray(np.full((40, 60), 127, np.uint8)).save(path)
    with pytest.raises(InputError, match=r"bird_0\.png has no pixel above mask_cut=0\.5 of 255; lower the cut"):
        load(cub).samples[0].mask()
    path.unlink()
    with pytest.raises(
        InputError, match=r"bird_0\.png is missing or no file: .*segmentations\.tgz as --dataset-arg ma"
    ):
        load(cub)


def test_other_splits_have_no_masks(cub: Path) -> None:
    arguments = {"masks": str(cub / "segmentations")}
    assert load_dataset("cub", cub, "train", arguments).signature == load_dataset("cub", cub, "train").signature
    lists = cub / "v2"
    lists.mkdir()
    for name, line in (
        ("image_ids", "9.jpg"),
        ("class_labels", "9.jpg,0"),
        ("image_sizes", "9.jpg,50,40"),
        ("localization", "9.jpg,1,2,3,4"),
    ):
        (lists / f"{name}.txt").write_text(line)
    (sample,) = load_dataset("cub", cub, "val", arguments | {"v2": str(lists)})
    assert sample.mask is None


@pytest.mark.parametrize("cut", ["1", "-0.1", "2", "x", "nan"])
def test_a_cut_that_is_none(cub: Path, cut: str) -> None:
    with pytest.raises(InputError, match=r"mask_cut='.*' should be at least 0 and below 1|is not a number"):
        load(cub, mask_cut=cut)
    with pytest.raises(InputError, match="mask_cut needs the masks; give --dataset-arg masks=DIR"):
        load_dataset("cub", cub, dataset_args={"mask_cut": "0.5"})
