"""GlaS, CAMELYON16-512 and ISIC 2017 in their published layouts; normal patches show no object."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import wsol
from wsol.datasets import load_dataset
from wsol.errors import InputError

GRADES = "name,patient ID, grade (GlaS), grade (Sirinukunwattana et al. 2015)\n"
TUMOR = "camelyon16/w-512xh-512/metastatic-patches/testing/images/test_048/{}_file_metastatic_0.2.png"
NORMAL = "camelyon16/w-512xh-512/normal-patches/split_1/fold_0/test/Patch_file_testing-images-test_007.png"


def save(path: Path, values: object, dtype: type = np.uint8) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.array(values, dtype)).save(path)


@pytest.fixture
def glas(tmp_path: Path, draw: Callable[..., Path]) -> Path:
    home = tmp_path / "Warwick_QU_Dataset_(Released_2016_07_08)"
    names = ["testA_1", "testB_1", *(f"train_{i}" for i in range(1, 21))]
    rows = [f"{name},{i}, {('benign', 'malignant')[i % 2]}, healthy\n" for i, name in enumerate(names)]
    for name in names:
        draw(home / f"{name}.bmp", (8, 6))
        glands = np.zeros((6, 8), np.uint8)
        glands[1:3, 1:4], glands[2:6, 5:8], glands[0, 0] = 1, 7, 3  # numbers of glands need not be in a row
        save(home / f"{name}_anno.bmp", glands)
    (home / "Grade.csv").write_text(GRADES + "".join(rows))
    return tmp_path


def test_glas_by_hand(glas: Path) -> None:
    data = load_dataset("glas", glas)
    assert [(sample.image_id, sample.label) for sample in data] == [("testA_1", 0), ("testB_1", 1)]
    assert data.classes == ("benign", "malignant")
    assert data.samples[0].edges.tolist() == [[1, 1, 4, 3], [0, 0, 1, 1], [5, 2, 8, 6]]  # a box per gland: 1, 3, 7
    assert data.samples[0].mask().foreground.sum() == 6 + 1 + 12
    assert data.samples[0].size == (8, 6)
    assert load_dataset("glas", glas / "Warwick_QU_Dataset_(Released_2016_07_08)").signature == data.signature


def test_glas_splits(glas: Path, tmp_path: Path) -> None:
    val, train = (load_dataset("glas", glas, split) for split in ("val", "train"))
    assert (len(val), len(train), val.origin) == (2, 18, "tenth-of-train,seed=0")
    fold = tmp_path / "fold-3"
    for part, names in {"train": ["train_5", "train_2"], "valpx": ["train_7"]}.items():
        (fold / part).mkdir(parents=True)
        lines = [f"Warwick_QU_Dataset_(Released_2016_07_08)/{name}.bmp\n" for name in names]
        (fold / part / "image_ids.txt").write_text("".join(lines))
    val, train = (load_dataset("glas", glas, split, {"lists": str(fold)}) for split in ("val", "train"))
    assert [sample.image_id for sample in val] == ["train_7"]
    assert [sample.image_id for sample in train] == ["train_5", "train_2"]
    assert val.signature.startswith("glas-val(fold-3)#1:")


BROKEN_GRADES = {
    "testA_1,1, ok, x": "line 2: the grade in the third column is 'ok'; restore the file, which has benign or",
    "testA_1,1,,": "line 2: the grade in the third column is ''",
    "test_1,1, benign, x": r"test_1_anno\.bmp is missing: the image has no annotation",
    "test/../../a,1, benign, x": r"is not a path below .*, without '\.\.'",
    "test_1,1, benign, x\ntest_1,1, benign, x": "line 3: 'test_1' is listed twice; keep one line",
    "testA_1, benign": "line 2: the row does not have the 4 fields of the header",
}


@pytest.mark.parametrize("rows", BROKEN_GRADES)
def test_damaged_grades_are_one_sentence(glas: Path, rows: str) -> None:
    (next(glas.glob("Warwick*")) / "Grade.csv").write_text(f"{GRADES}{rows}\n")
    with pytest.raises(InputError, match=BROKEN_GRADES[rows]):
        load_dataset("glas", glas)


def test_annotations_have_a_plausible_number_of_glands(glas: Path) -> None:
    path = next(glas.glob("Warwick*")) / "testA_1_anno.bmp"
    save(path, np.zeros((6, 8)))
    with pytest.raises(InputError, match=r"testA_1_anno\.bmp marks 0 glands, not 1 to 1000; restore the annotation"):
        load_dataset("glas", glas)
    path.unlink()
    save(path.with_suffix(".tif"), np.arange(4800).reshape(60, 80), np.int32)
    with pytest.raises(InputError, match=r"testA_1_anno\.tif marks 4799 glands, not 1 to 1000"):
        load_dataset("glas", glas)


@pytest.fixture
def camelyon(tmp_path: Path, draw: Callable[..., Path]) -> Path:
    for name in (TUMOR.format("Patch"), NORMAL):
        draw(tmp_path / name, (512, 512))
    values = np.zeros((512, 512), np.uint8)
    values[:128, 256:] = 255
    save(tmp_path / TUMOR.format("mask"), values)
    for part in ("test", "valpx"):
        fold = tmp_path / "fold-0" / part
        fold.mkdir(parents=True)
        patch = TUMOR.format("Patch")
        (fold / "image_ids.txt").write_text(f"{patch}\n{NORMAL}\n")
        (fold / "class_labels.txt").write_text(f"{patch},1\n{NORMAL},0\n")
        (fold / "image_sizes.txt").write_text(f"{patch},512,512\n{NORMAL},512,512\n")
        (fold / "localization.txt").write_text(f"{patch},{TUMOR.format('mask')},\n{NORMAL},,\n")
    return tmp_path


def test_camelyon_by_hand(camelyon: Path) -> None:
    data = load_dataset("camelyon16-512", camelyon)
    tumor, normal = data
    assert data.classes == ("normal", "tumor")
    assert (tumor.label, tumor.empty, tumor.edges.tolist()) == (1, False, [[256, 0, 512, 128]])
    assert (normal.label, normal.empty, len(normal.boxes), normal.size) == (0, True, 0, (512, 512))
    assert not normal.mask().foreground.any()
    assert data.signature.startswith("camelyon16-512-test(fold-0)#2:")
    assert len(load_dataset("camelyon16-512", camelyon, "val")) == 2  # valpx


def test_pxap_of_camelyon_by_hand(camelyon: Path) -> None:
    data = load_dataset("camelyon16-512", camelyon)
    left = np.zeros((512, 512), np.float32)
    left[:128, 128:384] = 1  # half of the tumor, and as much beside it
    top = np.zeros((512, 512), np.float32)
    top[:64] = 1  # an eighth of the normal patch
    maps = {TUMOR.format("Patch"): left, NORMAL: top}
    found = wsol.score(maps=maps, dataset=data, protocol="exact:levels=2", tau=0).metrics.set_index("metric")
    unit = 128 * 128  # the tumor has 2 units, the other background of its patch 14, the normal patch 16
    reached, everything = 1 / (1 + 1 + 2), 2 / (2 + 14 + 16)
    assert found.loc["pxap", ["value", "n"]].tolist() == [pytest.approx(100 * (reached / 2 + everything / 2)), 2]
    assert (data.samples[0].mask().foreground.sum(), unit) == (2 * unit, 16384)
    assert found.loc["gt_known_loc_acc", ["value", "n"]].to_numpy().tolist() == [[0, 1]] * 2  # IoU 1/3
    assert found.loc["mean_iou", "value"].max() == pytest.approx(100 / 3)


def test_lists_without_a_mask_for_an_image(camelyon: Path) -> None:
    lists = camelyon / "fold-0" / "test" / "localization.txt"
    patch = TUMOR.format("Patch")
    lists.write_text(f"{patch},{TUMOR.format('mask')},\n{NORMAL},,\n{NORMAL},,\n")
    with pytest.raises(InputError, match="has a line without a mask"):
        load_dataset("camelyon16-512", camelyon)
    lists.write_text(f"{patch},{TUMOR.format('mask')},\n")
    with pytest.raises(InputError, match=r"has no mask in localization\.txt; add one"):
        load_dataset("camelyon16-512", camelyon)
    lists.write_text(f"{patch},,\n{NORMAL},,\n")
    with pytest.raises(InputError, match="no image of the split 'test' shows an object"):
        load_dataset("camelyon16-512", camelyon)
    with pytest.raises(InputError, match=r"fold-9/test with the lists of a fold; give --dataset-arg lists=DIR"):
        load_dataset("camelyon16-512", camelyon, dataset_args={"lists": str(camelyon / "fold-9")})


@pytest.fixture
def isic(tmp_path: Path, draw: Callable[..., Path]) -> Path:
    rows = ["image_id,melanoma,seborrheic_keratosis", "ISIC_0000003,0.0,1.0", "ISIC_0000001,1.0,0.0", "ISIC_2,0.0,0.0"]
    for prefix in ("ISIC-2017_Test_v2", "ISIC-2017_Training", "ISIC-2017_Validation"):
        for i, row in enumerate(rows[1:]):
            name = row.split(",")[0]
            draw(tmp_path / f"{prefix}_Data" / f"{name}.jpg", (12, 10))
            save(tmp_path / f"{prefix}_Data" / f"{name}_superpixels.png", np.zeros((10, 12, 3)))
            values = np.zeros((10, 12), np.uint8)
            values[2 : 5 + i, 3:9] = 255
            save(tmp_path / f"{prefix}_Part1_GroundTruth" / f"{name}_segmentation.png", values)
        (tmp_path / f"{prefix}_Part3_GroundTruth.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


def test_isic_by_hand(isic: Path) -> None:
    data = load_dataset("isic2017", isic)
    assert data.classes == ("nevus", "melanoma", "seborrheic keratosis")
    assert [sample.label for sample in data] == [2, 1, 0]
    assert [sample.edges.tolist() for sample in data] == [[[3, 2, 9, 5 + i]] for i in range(3)]
    assert [sample.mask().foreground.sum() for sample in data] == [18, 24, 30]
    assert all(sample.path.suffix == ".jpg" for sample in data)
    train = load_dataset("isic2017", isic, "train")
    assert (len(train), train.samples[0].mask) == (3, None)
    assert len(load_dataset("isic2017", isic, "val")) == 3


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ("ISIC_0000003,1.0,1.0", "line 2: melanoma and seborrheic_keratosis should be 0 or 1, and at most one of"),
        ("ISIC_0000003,0.5,0.0", "line 2: melanoma and seborrheic_keratosis should be 0 or 1"),
        ("ISIC_0000003,yes,0.0", "line 2: 'yes' is not a number"),
        ("../x,0,0", "is not a path below"),
        ("ISIC_9,0,0", r"ISIC_9_segmentation\.png is missing"),
        ("ISIC_2,0", "the row does not have the 3 fields"),
    ],
)
def test_damaged_isic_is_one_sentence(isic: Path, row: str, sentence: str) -> None:
    path = isic / "ISIC-2017_Test_v2_Part3_GroundTruth.csv"
    path.write_text(f"image_id,melanoma,seborrheic_keratosis\n{row}\n")
    with pytest.raises(InputError, match=sentence):
        load_dataset("isic2017", isic)
