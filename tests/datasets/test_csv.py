from pathlib import Path

import pytest

from wsol.datasets import load_dataset
from wsol.errors import InputError

HEADER = "image_id,label,x0,y0,x1,y1\n"


def write(root: Path, text: str, **save: str) -> Path:
    (root / "boxes.csv").write_text(text, **save)
    return root


def test_by_hand(tmp_path: Path) -> None:
    rows = "b.jpg,dog,1,2,3,4\na.jpg,cat,0,0,9.5,9\nb.jpg,dog,5,6,7,8\n"
    data = load_dataset("csv", write(tmp_path, HEADER + rows))
    dog, cat = data
    assert data.classes == ("cat", "dog")
    assert (dog.image_id, dog.label, dog.boxes.tolist()) == ("b.jpg", 1, [[1, 2, 3, 4], [5, 6, 7, 8]])
    assert (cat.label, cat.edges.tolist(), cat.size) == (0, [[0, 0, 9.5, 9]], None)
    assert cat.path == tmp_path / "a.jpg"


@pytest.mark.parametrize(
    ("corners", "edges"), [("edges", [1, 1, 4, 4]), ("inclusive", [1, 1, 5, 5]), ("one-based", [0, 0, 4, 4])]
)
def test_corner_conventions(tmp_path: Path, corners: str, edges: list[float]) -> None:
    data = load_dataset("csv", write(tmp_path, HEADER + "a,0,1,1,4,4\n"), dataset_args={"corners": corners})
    assert data.samples[0].edges.tolist() == [edges]


def test_sizes_splits_and_numeric_labels(tmp_path: Path) -> None:
    text = "image_id,label,x0,y0,x1,y1,width,height,split\na,3,,,,,,,train\nb,1,0,0,1,1,20,10,validation\n"
    write(tmp_path, "\ufeff" + text.replace("\n", "\r\n"), encoding="utf-8")  # as a spreadsheet saves it
    val = load_dataset("csv", tmp_path, "val")
    assert val.classes == ("0", "1", "2", "3")
    assert (val.samples[0].size, val.samples[0].label) == ((20, 10), 1)
    assert len(load_dataset("csv", tmp_path, "train")) == 1
    with pytest.raises(InputError, match="has no row of the split test; write test into a column split"):
        load_dataset("csv", tmp_path)


def test_one_number_written_in_several_ways_is_one_class(tmp_path: Path) -> None:
    data = load_dataset("csv", write(tmp_path, HEADER + "a,01,0,0,1,1\nb,1,0,0,1,1\nc,1.0,0,0,1,1\nd,10,0,0,1,1\n"))
    assert [sample.label for sample in data] == [1, 1, 1, 10]
    assert len(data.classes) == 11


@pytest.mark.parametrize(
    "header",
    [
        "image_id, label, x0, y0, x1, y1, width, height",
        "Image_ID,Label,X0,Y0,X1,Y1,Width,HEIGHT",
        '"image_id", "label","x0","y0","x1","y1","width","height"',
    ],
)
def test_headers_as_people_and_spreadsheets_write_them(tmp_path: Path, header: str) -> None:
    write(tmp_path, "\ufeff" + header + ",,\na.jpg, cat ,0, 1,2,3, 96.0,40,,\n", encoding="utf-8")
    data = load_dataset("csv", tmp_path)
    (sample,) = data
    assert (sample.image_id, sample.boxes.tolist(), sample.size, data.classes) == (
        "a.jpg", [[0, 1, 2, 3]], (96, 40), ("cat",)
    )  # fmt: skip


def test_splits_of_any_case(tmp_path: Path) -> None:
    write(tmp_path, HEADER.replace("\n", ",Split\n") + "a,0,0,0,1,1,Train\nb,0,0,0,1,1, VAL\nc,0,0,0,1,1,Test\n")
    assert [load_dataset("csv", tmp_path, s).samples[0].image_id for s in ("train", "val", "test")] == ["a", "b", "c"]


@pytest.mark.parametrize(("mark", "name"), [(";", "semicolons"), ("\t", "tabs")])
def test_another_separator_is_named(tmp_path: Path, mark: str, name: str) -> None:
    write(tmp_path, (HEADER + "a,0,0,0,1,1\n").replace(",", mark))
    with pytest.raises(InputError, match=f"lacks the columns image_id, .*separated by {name}, not by commas"):
        load_dataset("csv", tmp_path)


def test_nan_and_inf_are_names(tmp_path: Path) -> None:
    data = load_dataset("csv", write(tmp_path, HEADER + "a,nan,0,0,1,1\nb,inf,0,0,1,1\n"))
    assert data.classes == ("inf", "nan")


def test_a_tenth_of_train_without_boxes_says_where_it_comes_from(tmp_path: Path) -> None:
    write(tmp_path, HEADER.replace("\n", ",split\n") + "".join(f"{i}.jpg,0,,,,,train\n" for i in range(20)))
    with pytest.raises(InputError, match="has no box; annotate it or assign images with boxes to val, now a tenth of"):
        load_dataset("csv", tmp_path, "val")


def test_val_is_a_tenth_of_train_where_none_is_named(tmp_path: Path) -> None:
    rows = "".join(f"{i}.jpg,0,0,0,1,1,train\n" for i in range(30))
    write(tmp_path, HEADER.replace("\n", ",split\n") + rows)
    val = load_dataset("csv", tmp_path, "val")
    assert (len(val), val.origin) == (3, "tenth-of-train,seed=0")
    assert len(load_dataset("csv", tmp_path, "train")) == 27


def test_a_file_without_rows_to_train_on_says_how_to_mark_them(tmp_path: Path) -> None:
    write(tmp_path, HEADER + "a.jpg,0,0,0,1,1\n")
    with pytest.raises(
        InputError,
        match=r"no row of the split train; write train into a column split .*every row is test.* --no-validation$",
    ):
        load_dataset("csv", tmp_path, "train")
    write(tmp_path, HEADER.replace("\n", ",split\n") + "".join(f"{i}.jpg,0,0,0,1,1,train\n" for i in range(9)))
    with pytest.raises(
        InputError, match="no row of the split val; a tenth of its 9 train images is none: write val into a column"
    ):
        load_dataset("csv", tmp_path, "val")
    assert len(load_dataset("csv", tmp_path, "train")) == 9


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("image_id,x0,y0,x1,y1\na,1,2,3,4\n", "lacks the columns label"),
        (HEADER + "a,0,1,2,3\n", "line 2: the row does not have the 6 fields"),
        (HEADER + "a,0,1,2,3,4,5\n", "line 2: the row does not have the 6 fields"),
        (HEADER + "a,0,1,2,3,x\n", "line 2: 'x' is not a number"),
        (HEADER + "a,0,1,2,3,nan\n", "line 2: 'nan' is not a number"),
        (HEADER + "a,0,1,2,3,\n", "line 2: '' is not a number"),
        (HEADER + "a,0,,,,\n", "a has no box"),
        (HEADER + "a,0,1,2,3,2\n", "a has an empty, inverted or non-finite box"),
        (HEADER + "a,0,3,2,1,4\n", "a has an empty, inverted or non-finite box"),
        (HEADER + "a,0,1,2,3,4\na,1,1,2,3,4\n", "line 3: label, size or split of a differ"),
        (HEADER.replace("\n", ",split\n") + "a,0,1,2,3,4,dev\n", "line 2: unknown split 'dev'"),
        (HEADER.replace("\n", ",width,height\n") + "a,0,1,2,3,4,7.5,3\n", "'7.5' is not an integer"),
        (HEADER + "a,,1,2,3,4\nb,cat,1,2,3,4\n", "the label '' is mixed with names"),
        (HEADER + "a,7,1,2,3,4\nb,cat,1,2,3,4\n", "the label '7' is mixed with names"),
        (HEADER + "a,-1,1,2,3,4\nb,0,1,2,3,4\n", "labels range from -1 to 0; number classes from 0"),
        (HEADER + "a,99999999,1,2,3,4\n", "labels range from 99999999 to 99999999"),
        (HEADER + "a,0.5,1,2,3,4\n", "'0.5' is not an integer"),
        (HEADER + "a" * 200_000 + ",0,1,2,3,4\n", "line 2: field larger than field limit"),
        (HEADER, "has no row of the split test"),
        ("", "lacks the columns"),
    ],
)
def test_broken_rows_are_named(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        load_dataset("csv", write(tmp_path, text))


def test_unknown_arguments_are_named(tmp_path: Path) -> None:
    write(tmp_path, HEADER + "a,0,1,2,3,4\n")
    with pytest.raises(InputError, match="known: edges, inclusive, one-based"):
        load_dataset("csv", tmp_path, dataset_args={"corners": "voc"})
    with pytest.raises(InputError, match="unknown --dataset-arg 'corner'; it takes: file, images, corners"):
        load_dataset("csv", tmp_path, dataset_args={"corner": "edges"})
    (tmp_path / "boxes.csv").write_bytes(HEADER.encode() + b"caf\xe9.jpg,0,1,2,3,4\n")
    with pytest.raises(InputError, match="is not UTF-8 text"):
        load_dataset("csv", tmp_path)
