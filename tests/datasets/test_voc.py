from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import VOCDetection

import wsol
from wsol.datasets import Dataset, load_dataset
from wsol.errors import InputError

DOG, PERSON, CHAIR, VOID = 11, 14, 8, 255  # labels: palette entries less one


def thing(name: str, box: tuple[float, ...], difficult: int = 0, more: str = "") -> str:
    corners = "".join(f"<{tag}>{x}</{tag}>" for tag, x in zip(("xmax", "xmin", "ymax", "ymin"), box, strict=True))
    return (
        f"<object><name>{name}</name><pose>Left</pose><truncated>1</truncated><difficult>{difficult}</difficult>"
        f"<bndbox>{corners}</bndbox>{more}</object>"
    )


HEAD = "<part><name>head</name><bndbox><xmin>5</xmin><ymin>5</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></part>"
OBJECTS = {  # in the order xmax, xmin, ymax, ymin, in which some of VOC's files have them
    "000001": thing("dog", (60, 1, 40, 1)),  # all of the 60 x 40 image
    "000002": thing("person", (20, 11, 30, 21), more=HEAD) + thing("dog", (50, 31, 20, 11), 1),
    "000003": thing("chair", (20, 11, 20, 11), 1),
    "000004": thing("dog", (30, 21, 30, 21)) + thing("dog", (45.7, 31.3, 38, 1)),
    "000005": thing("person", (40, 1, 20, 1)),
}
SETS = {
    "Main/train": ["000001", "000002"],
    "Main/val": ["000003", "000004"],
    "Main/trainval": ["000001", "000002", "000003", "000004"],
    "Main/test": ["000005"],
    "Segmentation/trainval": ["000002"],
}


@pytest.fixture
def voc(tmp_path: Path, draw: Callable[..., Path]) -> Path:
    home = tmp_path / "VOCdevkit" / "VOC2007"
    for folder in ("Annotations", "SegmentationClass", "ImageSets/Main", "ImageSets/Segmentation"):
        (home / folder).mkdir(parents=True)
    for name, objects in OBJECTS.items():
        draw(home / "JPEGImages" / f"{name}.jpg")
        size = "<size><width>60</width><height>40</height><depth>3</depth></size>"
        text = f"<annotation><filename>{name}.jpg</filename>{size}<segmented>0</segmented>{objects}</annotation>"
        (home / "Annotations" / f"{name}.xml").write_text(text)
    for name, ids in SETS.items():
        (home / "ImageSets" / f"{name}.txt").write_text("\n".join(ids) + "\n")
    palette = np.zeros((40, 60), np.uint8)
    palette[19:31, 9:21] = VOID
    palette[20:30, 10:20] = PERSON + 1
    palette[10:20, 30:50] = DOG + 1
    image = Image.fromarray(palette)
    image.putpalette([(7 * i) % 256 for i in range(768)])
    image.save(home / "SegmentationClass" / "000002.png")
    return tmp_path


def load(root: Path, split: str = "test", **arguments: str) -> Dataset:
    return load_dataset("voc", root, split, arguments)


def test_by_hand(voc: Path) -> None:
    data = load(voc)
    assert [s.image_id for s in data] == ["000001", "000002#dog", "000002#person", "000003", "000004"]
    assert [s.label for s in data] == [DOG, DOG, PERSON, CHAIR, DOG]
    assert data.samples[0].boxes.tolist() == [[1, 1, 60, 40]]
    assert data.samples[0].edges.tolist() == [[0, 0, 60, 40]]  # from pixel 1 to the last one: the whole image
    assert data.samples[2].edges.tolist() == [[10, 20, 20, 30]]  # and not the head
    assert data.samples[4].boxes.tolist() == [[21, 21, 30, 30], [31.3, 1, 45.7, 38]]
    assert {s.size for s in data} == {(60, 40)}
    assert data.samples[1].path == voc / "VOCdevkit" / "VOC2007" / "JPEGImages" / "000002.jpg"
    assert data.classes[DOG] == "dog"
    assert len(data.classes) == 20
    assert (data.origin, data.notes) == ("2007-trainval", ())
    assert all(s.mask is None for s in data)


def test_boxes_are_those_of_torchvision(voc: Path) -> None:
    peer = VOCDetection(str(voc), "2007", "trainval")
    boxes = []
    for _, target in peer:
        for each in target["annotation"]["object"]:
            corners = [float(each["bndbox"][tag]) for tag in ("xmin", "ymin", "xmax", "ymax")]
            # as LOST's code has it: a box from 1 to the width covers the whole image
            boxes.append((target["annotation"]["filename"], [corners[0] - 1, corners[1] - 1, *corners[2:]]))
    data = load(voc, class_agnostic="true")
    assert [(f"{s.image_id}.jpg", edges) for s in data for edges in s.edges.tolist()] == boxes


def test_difficult_objects(voc: Path) -> None:
    data = load(voc, difficult="drop")
    assert [s.image_id for s in data] == ["000001", "000002#person", "000004"]  # an id depends on all objects
    assert data.notes == ("samples without an object that counts are left out (2): 000002#dog, 000003",)
    assert data.origin == "2007-trainval,without-difficult"
    agnostic = load(voc, difficult="drop", class_agnostic="true")
    assert [(s.image_id, len(s.boxes)) for s in agnostic] == [("000001", 1), ("000002", 1), ("000004", 2)]
    assert agnostic.signature.startswith("voc-test(2007-trainval,class-agnostic,without-difficult)#3:")


def test_class_agnostic(voc: Path) -> None:
    data = load(voc, class_agnostic="true")
    assert [(s.image_id, s.label, len(s.boxes)) for s in data] == [
        ("000001", 0, 1),
        ("000002", 0, 2),
        ("000003", 0, 1),
        ("000004", 0, 2),
    ]
    assert data.classes == ("object",)


def test_both_corlocs_by_hand(voc: Path, tmp_path: Path) -> None:
    """The same boxes: of each image one that is right for 000001, the person of 000002, and 000004, but not 000003."""
    boxes = {"000001": (1, 1, 60, 40), "000002": (11, 21, 20, 30), "000003": (40, 1, 60, 9), "000004": (21, 21, 30, 30)}

    def measure(ids: list[str], **arguments: str) -> dict[str, float]:
        rows = [f"{i},{','.join(map(str, boxes[i[:6]]))}" for i in ids]
        (tmp_path / "b.csv").write_text("\n".join(["image_id,x0,y0,x1,y1", *rows]))
        options = {"dataset": load(voc, **arguments), "protocol": "exact", "bootstrap": 0}
        table = wsol.score(boxes=tmp_path / "b.csv", **options).metrics
        return dict(zip(table.metric, table.value, strict=True))

    by_class = measure(["000001", "000002#dog", "000002#person", "000003", "000004"])
    assert by_class["corloc"] == pytest.approx(100 * (2 / 3 + 1 + 0) / 3)  # dog: two of three; person; chair
    assert measure([*boxes], class_agnostic="true")["gt_known_loc_acc"] == 75
    without = measure(["000001", "000002#person", "000004"], difficult="drop")
    assert without["corloc"] == 100


def test_masks_are_those_of_the_segmentation_lists(voc: Path) -> None:
    data = load(voc, masks="true")
    dog, person = data
    assert (dog.image_id, person.image_id) == ("000002#dog", "000002#person")
    assert data.origin == "2007-segmentation-trainval"
    mask = person.mask()
    assert mask.foreground.sum() == 100
    assert mask.foreground[20:30, 10:20].all()
    assert mask.ignore.sum() == 12 * 12 - 100  # void; the dog is background
    assert dog.mask().foreground.sum() == 200
    both = load(voc, masks="true", class_agnostic="true").samples[0].mask()
    assert both.foreground.sum() == 300
    assert both.ignore.sum() == 44
    assert len({load(voc, masks="true").samples[i].mask.source()[1] for i in (0, 1)}) == 2


def test_a_perfect_map_is_scored_as_one(voc: Path) -> None:
    data = load(voc, masks="true")
    maps = {s.image_id: s.mask().foreground.astype(np.float32) for s in data}
    table = wsol.score(maps=maps, dataset=data, protocol="exact", bootstrap=0).metrics
    values = dict(zip(table.metric, table.value, strict=True))
    assert (values["pxap"], values["gt_known_loc_acc"], values["corloc"]) == (100, 100, 100)


def test_splits(voc: Path) -> None:
    with pytest.raises(InputError, match=r"there is no val split, since test is the image set trainval"):
        load(voc, "val")
    assert {s.image_id[:6] for s in load(voc, "train")} == {"000001", "000002", "000003", "000004"}
    assert all(not len(s.boxes) for s in load(voc, "train"))
    official = [load(voc, part, image_set="test") for part in ("train", "val", "test")]
    assert [{s.image_id[:6] for s in part} for part in official] == [
        {"000001", "000002"},
        {"000003", "000004"},
        {"000005"},
    ]
    assert official[2].origin == "2007-test"
    assert load(voc, "train", image_set="train").origin == "2007-train"


def test_a_tenth_of_train_where_test_is_val(voc: Path) -> None:
    home = voc / "VOCdevkit" / "VOC2007"
    (home / "ImageSets" / "Main" / "train.txt").write_text("\n".join(["000001", "000002", "000005"] * 4))
    with pytest.raises(InputError, match="000001 is listed twice"):
        load(voc, "train", image_set="val")
    (home / "ImageSets" / "Main" / "train.txt").write_text("\n".join(f"{i:06d}" for i in range(10, 30)))
    for i in range(10, 30):
        (home / "Annotations" / f"{i:06d}.xml").write_text((home / "Annotations" / "000005.xml").read_text())
    parts = [load(voc, part, image_set="val") for part in ("train", "val")]
    assert [len(part) for part in parts] == [18, 2]
    assert [part.origin for part in parts] == ["2007-train", "2007-train,tenth-of-train,seed=0"]


@pytest.mark.parametrize("root", [".", "VOCdevkit", "VOCdevkit/VOC2007"])
def test_any_of_the_folders_is_the_root(voc: Path, root: str) -> None:
    assert len(load(voc / root)) == 5


def test_arguments_and_folders_that_are_wrong(voc: Path) -> None:
    for arguments, sentence in (
        ({"year": "2013"}, "year='2013' should be 2007 to 2012"),
        ({"year": "2012"}, r"does not contain VOC 2012: expected VOCdevkit/VOC2012.*year=YEAR"),
        ({"image_set": "all"}, "image_set='all' should be train, val, trainval, test"),
        ({"difficult": "no"}, "difficult='no' should be drop or keep"),
        ({"class_agnostic": "1"}, "class_agnostic='1' should be true or false"),
    ):
        with pytest.raises(InputError, match=sentence):
            load(voc, **arguments)
    with pytest.raises(InputError, match="does not contain VOC 2012"):
        load(voc / "VOCdevkit" / "VOC2007", year="2012")
