"""Tests of data sets that a program holds."""

import pickle
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import ImageFolder, OxfordIIITPet

from wsol.datasets import Dataset, Mask, from_items, load_dataset, read_image, with_content
from wsol.errors import ImageError, InputError

BOX = (2, 3, 10, 12)


def noise(seed: int, size: tuple[int, int] = (20, 16)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)


def pixels_of(dataset: Dataset, index: int = 0) -> np.ndarray:
    return np.asarray(read_image(dataset.samples[index])[0])


class Lazy:
    """A sequence that is no list: it counts how often each item is fetched."""

    def __init__(self, items: list[Any]) -> None:
        self.items, self.fetched = items, Counter[int]()

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        self.fetched[index] += 1
        return self.items[index]


@pytest.mark.parametrize("kind", [lambda a: a, Image.fromarray, lambda a: a / 255], ids=["array", "image", "floats"])
def test_images_in_memory(kind: Callable[[np.ndarray], Any]) -> None:
    dataset = from_items([(kind(noise(0)), 1, BOX), (kind(noise(1)), 0, [BOX, (0, 0, 1, 1)])], corners="edges")
    assert [sample.image_id for sample in dataset] == ["000000", "000001"]
    assert [sample.label for sample in dataset] == [1, 0]
    assert [sample.boxes.tolist() for sample in dataset] == [[list(BOX)], [list(BOX), [0, 0, 1, 1]]]
    assert dataset.classes == ("0", "1")
    np.testing.assert_array_equal(pixels_of(dataset), noise(0))
    assert read_image(dataset.samples[0])[1] == (20, 16)


def test_gray_and_alpha_become_rgb() -> None:
    gray = noise(0)[..., 0]
    dataset = from_items(
        [(gray, 0, BOX), (np.dstack([noise(1), gray]), 0, BOX), (gray[..., None], 0, BOX)], corners="edges"
    )
    np.testing.assert_array_equal(pixels_of(dataset, 0), np.dstack([gray] * 3))
    np.testing.assert_array_equal(pixels_of(dataset, 1), noise(1))
    np.testing.assert_array_equal(pixels_of(dataset, 2), np.dstack([gray] * 3))


@pytest.mark.parametrize(
    ("corners", "box", "edges"),
    [
        ("edges", BOX, BOX),
        ("inclusive", BOX, (2, 3, 11, 13)),
        ("one-based", BOX, (1, 2, 10, 12)),
        ("xywh", BOX, (2, 3, 12, 15)),
    ],
)
def test_the_format_of_the_boxes(corners: Any, box: Any, edges: Any) -> None:
    (sample,) = from_items([(noise(0), 0, np.array(box, np.int32))], corners=corners)
    assert sample.edges.tolist() == [list(edges)]


def test_files_are_read_as_files_and_named_below_their_folder(tmp_path: Path, draw: Callable[..., Path]) -> None:
    paths = [draw(tmp_path / "images" / each) for each in ("cat/a.png", "dog/a.png", "dog/b.png")]
    rows = [(str(path), path.parent.name, BOX) for path in paths]
    dataset = from_items(rows, corners="edges", name="mine")
    assert [sample.image_id for sample in dataset] == ["cat/a.png", "dog/a.png", "dog/b.png"]
    assert [sample.path for sample in dataset] == paths
    assert dataset.classes == ("cat", "dog")
    assert [sample.label for sample in dataset] == [0, 1, 1]
    moved = tmp_path / "moved"
    (tmp_path / "images").rename(moved)
    again = from_items(
        [(moved / sample.image_id, name, BOX) for sample, (_, name, _) in zip(dataset, rows, strict=True)],
        corners="edges",
        name="mine",
    )
    assert again.fingerprint == dataset.fingerprint
    assert with_content(again).content.images


def test_an_image_folder_with_boxes(tmp_path: Path, draw: Callable[..., Path]) -> None:
    for each in ("cat/a.png", "dog/b.png"):
        draw(tmp_path / each)
    boxes = {"a": BOX, "b": (0, 0, 5, 5)}
    folder = ImageFolder(str(tmp_path))
    dataset = from_items(
        folder.samples, corners="edges", classes=folder.classes, read=lambda item: (*item, boxes[Path(item[0]).stem])
    )
    assert [(s.image_id, s.label, s.boxes.tolist()) for s in dataset] == [
        ("cat/a.png", 0, [[2, 3, 10, 12]]),
        ("dog/b.png", 1, [[0, 0, 5, 5]]),
    ]
    decoded = from_items(folder, corners="edges", read=lambda item: (*item, BOX))
    assert decoded.classes == ("cat", "dog")
    np.testing.assert_array_equal(pixels_of(decoded), pixels_of(dataset))


def test_masks() -> None:
    binary = np.zeros((16, 20), np.uint8)
    binary[4:9, 5:12] = 255
    ignored = binary == 0
    given = [binary, binary > 0, binary // 255, Image.fromarray(binary), Mask(binary > 0, ignored)]
    dataset = from_items([(noise(0), 0, BOX, mask) for mask in given] + [(noise(0), 0, BOX)], corners="inclusive")
    for sample in dataset.samples[:5]:
        np.testing.assert_array_equal(sample.mask().foreground, binary > 0)
    assert not dataset.samples[0].mask().ignore.any()
    assert dataset.samples[4].mask().ignore is ignored
    assert dataset.samples[5].mask is None
    from_mask = from_items([(noise(0), 0, None, binary)], corners="inclusive").samples[0]
    assert from_mask.edges.tolist() == [[5, 4, 12, 9]]
    assert from_mask.corners == "edges"
    one, other = (
        with_content(from_items([(noise(0), 0, BOX, m)], corners="edges")).content.masks for m in (binary, ignored)
    )
    assert one != other


def test_rows_with_names(draw: Callable[..., Path]) -> None:
    rows = [
        {"image": noise(i), "label": i % 2, "bbox": [2, 3, 8, 9], "image_id": 40 + i, "more": None} for i in range(3)
    ]
    dataset = from_items(rows, corners="xywh", classes=["cat", "dog"], split="val")
    assert [sample.image_id for sample in dataset] == ["40", "41", "42"]
    assert dataset.samples[2].boxes.tolist() == [[2, 3, 10, 12]]
    assert (dataset.split, dataset.classes) == ("val", ("cat", "dog"))


@pytest.mark.slow
def test_rows_of_hugging_face(tmp_path: Path) -> None:
    """Only the columns without images are read at first; labels have the names of the data set."""
    hub: Any = pytest.importorskip("datasets")
    arrow = hub.Dataset.from_dict(
        {"image": [Image.fromarray(noise(i)) for i in range(4)], "label": [1, 0, 1, 1], "bbox": [[2, 3, 8, 9]] * 4},
        features=hub.Features(
            {"image": hub.Image(), "label": hub.ClassLabel(names=["cat", "dog"]), "bbox": hub.List(hub.Value("int64"))}
        ),
    )
    plain = [{"image": noise(i), "label": [1, 0, 1, 1][i], "bbox": [2, 3, 8, 9]} for i in range(4)]
    reads: list[int] = []
    decode = hub.Image.decode_example
    hub.Image.decode_example = lambda *given, **more: reads.append(1) or decode(*given, **more)
    try:
        dataset = from_items(arrow, corners="xywh")
        assert not reads
        assert dataset.classes == ("cat", "dog")
        for i in range(4):
            np.testing.assert_array_equal(pixels_of(dataset, i), noise(i))
        assert len(reads) == 4
    finally:
        hub.Image.decode_example = decode
    same = from_items(plain, corners="xywh", classes=["cat", "dog"])
    assert with_content(dataset).signature == with_content(same).signature


def test_the_trimaps_of_torchvision_give_the_data_set_of_the_adapter(real_data: Path) -> None:
    pets = OxfordIIITPet(str(real_data), "test", ["category", "segmentation"])

    def read(item: Any) -> Any:
        image, (label, trimap) = item
        values = np.asarray(trimap)
        return image, label, None, Mask(values == 1, values == 3)

    dataset = from_items(pets, corners="edges", read=read)
    own = load_dataset("oxford-pets", real_data / "oxford-iiit-pet")
    assert len(dataset) == len(own) > 5
    for one, other in zip(dataset, own, strict=True):
        assert one.boxes.tolist() == other.boxes.tolist()
        np.testing.assert_array_equal(np.asarray(read_image(one)[0]), np.asarray(read_image(other)[0]))
        np.testing.assert_array_equal(one.mask().foreground, other.mask().foreground)
        np.testing.assert_array_equal(one.mask().ignore, other.mask().ignore)


def test_an_image_is_fetched_when_it_is_read_and_hashed_once() -> None:
    lazy = Lazy([(noise(i), 0, BOX, noise(i)[..., 0] > 9) for i in range(5)])
    dataset = from_items(lazy, corners="edges")
    assert set(lazy.fetched.values()) == {1}
    first = with_content(dataset).signature
    assert set(lazy.fetched.values()) == {2}
    lazy.fetched.clear()
    assert with_content(dataset).signature == first
    assert not lazy.fetched
    for sample in dataset.samples:
        read_image(sample)
        sample.mask()
    assert set(lazy.fetched.values()) == {1}


def test_the_fingerprint_is_that_of_pixels_labels_boxes_and_ids() -> None:
    def sign(items: list[Any], **more: Any) -> str:
        return with_content(from_items(items, **{"corners": "edges", **more})).signature

    base = [(noise(0), 0, BOX), (noise(1), 1, BOX)]
    first = sign(base)
    assert sign([(Image.fromarray(image), label, np.array(box)) for image, label, box in base]) == first
    changed = [
        sign([(noise(2), 0, BOX), base[1]]),
        sign([(noise(0), 1, BOX), base[1]]),
        sign([(noise(0), 0, (2, 3, 10, 13)), base[1]]),
        sign(base[::-1]),
        sign(base, corners="inclusive"),
        sign(base, name="other"),
    ]
    assert len({first, *changed}) == 7


def test_a_data_set_can_be_pickled() -> None:
    dataset = from_items([(noise(0), 0, BOX, noise(0)[..., 0] > 9)], corners="edges")
    read_image(dataset.samples[0])
    copy = pickle.loads(pickle.dumps(dataset))  # noqa: S301  # made here
    np.testing.assert_array_equal(pixels_of(copy), noise(0))
    assert with_content(copy).signature == with_content(dataset).signature


def test_no_boxes_and_an_empty_mask_are_an_image_without_an_object() -> None:
    mask = np.zeros((16, 20), bool)
    dataset = from_items([GOOD, (noise(1), 0, [], mask), (noise(2), 0, np.empty((0, 4)), mask)], corners="edges")
    assert [sample.empty for sample in dataset] == [False, True, True]
    assert [len(sample.boxes) for sample in dataset] == [1, 0, 0]
    mask = mask.copy()
    mask[3, 4] = True
    with pytest.raises(InputError, match="000001 has no box; annotate it"):
        from_items([GOOD, (noise(1), 0, [], mask)], corners="edges")


def raises(item: Any) -> Any:
    raise KeyError("no box of this image")


GOOD = (noise(0), 0, BOX)


@pytest.mark.parametrize(
    ("items", "more", "message"),
    [
        ([GOOD, (noise(1), 0)], {}, r"items: item 1 has 2 parts; it should be \(image, label, boxes\)"),
        ([GOOD, noise(1)], {}, "item 1 has the type ndarray; it should be"),
        ([GOOD, {"image": noise(1), "label": 0}], {}, "item 1 has no 'bbox', only image, label; rename it, or give"),
        ([GOOD], {"read": raises}, "item 0 cannot be read .*no box of this image.*; repair it or leave it out"),
        ([GOOD, (noise(1), 0, (1, 2, 3))], {}, r"item 1 has boxes of the shape \(3,\); give \(g, 4\)"),
        ([GOOD, (noise(1), 0, "box")], {}, "item 1 has boxes that are no array"),
        ([GOOD, (noise(1), 0, [(1, 2, 3, 4), (1, 2)])], {}, "item 1 has boxes that are no array"),
        ([GOOD, (noise(1), 0, [])], {}, "000001 has no box; annotate it"),
        ([GOOD, (noise(1), 0, (5, 5, 2, 2))], {}, "000001 has an empty, inverted or non-finite box"),
        ([GOOD, (noise(1), 0, (5, 5, np.nan, 9))], {}, "000001 has an empty, inverted or non-finite box"),
        ([GOOD, (noise(1), 0, (5, 5, 0, 9))], {"corners": "xywh"}, "000001 has an empty, inverted or non-finite box"),
        ([GOOD, (noise(1), 0, None)], {}, "item 1 has neither boxes nor a mask"),
        ([GOOD, (noise(1), 0, None, np.zeros((16, 20), bool))], {}, "item 1 has no boxes, and its mask marks no pixel"),
        (
            [GOOD, (noise(1), 0, None, np.ones((20, 16), bool))],
            {},
            r"a mask of \(16, 20\) pixels, but an image of \(20, 16\)",
        ),
        (
            [GOOD, (noise(1), 0, None, np.full((16, 20), 3))],
            {},
            "item 1 has a mask that cannot be used: it has other val",
        ),
        ([GOOD, (noise(1), 0, None, noise(1))], {}, "item 1 has a mask that cannot be used: it has the shape"),
        ([GOOD, (noise(1), 1.0, BOX)], {}, "item 1 has the label 1.0; give the number of a class or its name"),
        ([GOOD, (noise(1), True, BOX)], {}, "item 1 has the label True"),
        ([GOOD, (noise(1), "dog", BOX)], {"classes": ["cat"]}, "item 1 has the label 'dog', which is none of the 1"),
        ([GOOD, (noise(1), 2, BOX)], {"classes": ["cat", "dog"]}, "000001 has label 2, outside 0 to 1"),
        ([GOOD, (noise(1), -1, BOX)], {}, "000001 has label -1"),
        ([], {}, "the split 'test' has no image"),
        (
            [GOOD],
            {"corners": "cxcywh"},
            "there is no box format 'cxcywh'; give corners=edges, inclusive, one-based or xywh",
        ),
        (iter([GOOD]), {}, "list_iterator has no length or no places; give a sequence"),
        ({"train": [GOOD], "test": [GOOD]}, {}, "the items are a mapping of train, test; give one of its values"),
        ([GOOD], {"name": "a|b"}, "a data set cannot be named"),
    ],
)
def test_what_cannot_be_used_is_named(items: Any, more: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        from_items(items, **{"corners": "edges", **more})


def test_an_image_that_cannot_be_read_is_an_image_error() -> None:
    broken = [np.zeros((4, 4, 7), np.uint8), np.full((4, 4), -3), object(), "none.png"]
    dataset = from_items([(each, 0, (0, 0, 1, 1)) for each in broken], corners="edges")
    for sample in dataset:
        with pytest.raises(ImageError, match=sample.image_id):
            read_image(sample)
    assert with_content(dataset).content.images
