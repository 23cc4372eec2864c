"""Files of boxes: which class a row means, and what is refused because it could mean two."""

from pathlib import Path

import pytest

from wsol.datasets import Dataset, Sample
from wsol.datasets.base import as_boxes
from wsol.errors import InputError
from wsol.evaluation.sources._box_rows import read_box_csv

ANIMALS = ("cat", "dog", "cow")


def read_labels(
    tmp_path: Path, classes: tuple[str, ...], class_ids: tuple[str, ...], header: str = "image_id,class_id"
) -> list[int | None]:
    rows = [f"a.jpg,{class_id},10,10,50,50" for class_id in class_ids]
    (tmp_path / "b.csv").write_text("\n".join([f"{header},x0,y0,x1,y1", *rows]) + "\n")
    sample = Sample("a.jpg", 0, as_boxes([[10, 10, 50, 50]]), "edges", size=(100, 100))
    return [row.label for row in read_box_csv(tmp_path / "b.csv", Dataset("made", "test", (sample,), classes))]


@pytest.mark.parametrize("header", ["image_id,class_id", " Image_ID , CLASS_ID ", '"image_id","class_id"'])
@pytest.mark.parametrize(
    ("classes", "class_ids", "labels"),
    [
        (ANIMALS, ("cow", "cat", "cow"), [2, 0, 2]),
        (ANIMALS, ("2", "0", "2"), [2, 0, 2]),
        (ANIMALS, ("2.0", "0.0", "2."), [2, 0, 2]),  # as pandas writes a column with a gap
        (("0", "1", "2"), ("2", "0.0", "02"), [2, 0, 2]),
        (("0", "1", "2"), ("2", "7"), [2, 7]),  # lists without class names may lack the last classes
        (("10", "20", "30"), ("30", "10"), [2, 0]),  # these are no indices of three classes
        (("crane", "dog", "crane"), ("2", "0"), [2, 0]),
        (("1", "0", "cat"), ("cat", "1"), [2, 0]),  # with a name among them, all are names
        (("cat", "dog", "2"), ("2", "0"), [2, 0]),  # the name of class 2
    ],
)
def test_class_ids_are_indices_or_names(
    tmp_path: Path, classes: tuple[str, ...], class_ids: tuple[str, ...], labels: list[int], header: str
) -> None:
    assert read_labels(tmp_path, classes, class_ids, header) == labels


@pytest.mark.parametrize(
    ("classes", "class_ids", "sentence"),
    [
        (("1", "2", "0"), ("1", "2", "0"), "line 2: '1' is the index of one class of made and the name of .*class 0"),
        (("1", "2", "0"), ("1.0", "2.0"), "line 2: '1.0' is the index of one class of made and the name of another"),
        (("0", "1", "cat", "2"), ("0", "1", "2"), "line 4: '2' is the index of one class of made and the name of"),
        (("crane", "dog", "crane"), ("dog", "crane"), "line 3: 'crane' is the name of the classes 0 and 2 of made"),
        (ANIMALS, ("cat", "1", "cow"), "has names, such as 'cat' in line 2, and indices, such as '1' in line 3"),
        (ANIMALS, ("0", "1", "90"), "line 4: '90' is no class of made, which has 3"),  # COCO's id of a category
        (ANIMALS, ("0", "1.5", "2"), "line 3: '1.5' is no class of made"),
        (ANIMALS, ("0", "-1"), "line 3: '-1' is no class of made"),
        (ANIMALS, ("cat", ""), "line 3: '' is no class of made"),
        (("None", "dog", "cow"), ("lion", "dog"), "line 2: 'lion' is no class of made"),
    ],
)
def test_what_is_no_class_or_two_is_refused(
    tmp_path: Path, classes: tuple[str, ...], class_ids: tuple[str, ...], sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        read_labels(tmp_path, classes, class_ids)
