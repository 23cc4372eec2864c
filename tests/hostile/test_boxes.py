"""Invalid boxes in tables and in COCO's results: one sentence each."""

import json
import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import IDS, PROTOCOL, images, lists, refusal

from wsol.errors import InputError
from wsol.evaluation.sources.boxes import score_boxes
from wsol.protocols import find_protocol
from wsol.runtime.cost import Clock
from wsol.score import main

pytestmark = pytest.mark.slow

HEADER = "image_id,x0,y0,x1,y1"
ROWS = [f"{name},2,3,20,30" for name in IDS]


def table(*rows: str, header: str = HEADER) -> bytes:
    """The given rows, then valid rows of the remaining images."""
    return "\n".join([header, *rows, *ROWS[len(rows) :], ""]).encode()


def class_table(class_id: str, score: str = "0.5") -> bytes:
    rows = [f"{name},0,0.5,2,3,20,30" for name in IDS[1:]]
    return "\n".join(["image_id,class_id,score,x0,y0,x1,y1", f"a.jpg,{class_id},{score},2,3,20,30", *rows]).encode()


def results(**changes: Any) -> bytes:
    """COCO's results with one changed entry."""
    entries = [{"image_id": name, "category_id": 0, "bbox": [2, 3, 18, 27], "score": 0.5} for name in IDS]
    return json.dumps([entries[0] | changes, *entries[1:]]).encode()


def read_curves(path: Path) -> np.ndarray:
    with ThreadPoolExecutor(1) as pool:
        some, protocol = images(), find_protocol(PROTOCOL)
        return score_boxes(path, some, some, protocol, None, False, pool, Clock())[1].stats.curves


def error_sentence(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_curves(path)
    sentence = str(caught.value)
    assert sentence.isprintable()
    assert len(sentence) < 1000
    return sentence


NO_RESULTS = "boxes.json is not COCO's results, a list of image_id, category_id, bbox and score "
OUTSIDE = r"1 unusable: a.jpg \(line 2: a box outside the 32 x 32 image\)"
NONE = r"1 unusable: a.jpg \(line 2: not four finite numbers\)"
CSV = {
    "inverted": (table("a.jpg,20,3,2,30"), r"1 unusable: a.jpg \(line 2: an empty or inverted box\)"),
    "empty box": (table("a.jpg,2,3,1,30"), r"1 unusable: a.jpg \(line 2: an empty or inverted box\)"),
    "huge": (table("a.jpg,2,3,1e308,30"), OUTSIDE),
    "infinite": (table("a.jpg,2,3,1e400,30"), NONE),
    "NaN": (table("a.jpg,nan,3,20,30"), NONE),
    "words": (table("a.jpg,two,3,20,30"), NONE),
    "digits": (table(f"a.jpg,2,3,{'9' * 10_000},30"), NONE),
    "nobody": (
        table("../a.jpg,2,3,20,30"),
        r"1 missing: a.jpg; 1 extra|1 extra: \.\./a.jpg \(line 2\); 1 missing: a.jpg",
    ),
    "twice": (table(*ROWS, ROWS[0]), r"1 duplicate: a.jpg \(two boxes, and no score tells which is better\)"),
    "no file content": (b"", "boxes.csv lacks the columns image_id, x0, y0, x1, y1"),
    "other columns": (b"a,b\n1,2\n", "lacks the columns image_id, x0, y0, x1, y1"),
    "fields": (table("a.jpg,2,3,20,30,7"), "boxes.csv, line 2: .*fields"),
    "UTF-16": (table().decode().encode("utf-16"), "boxes.csv is not UTF-8 text"),
    "bytes": (bytes(range(256)), "boxes.csv"),
    "NUL": (table("a.jpg\0,2,3,20,30"), "boxes.csv, line 2: the control character"),
    "a field over the limit": (table(f"{'x' * 200_000},2,3,20,30"), "boxes.csv, line 2: field larger than field limit"),
    "a line break in quotes": (table('"a\n.jpg",2,3,20,30'), r"1 extra: a\\n.jpg .line"),
    "class": (class_table("lion"), "boxes.csv, line 2: 'lion' is no class of made"),
    "class of many digits": (class_table("9" * 10_000), "boxes.csv, line 2: '9999.* is no class of made"),
    "negative class": (class_table("-1"), "boxes.csv, line 2: '-1' is no class of made"),
    "half a class": (class_table("1.5"), "boxes.csv, line 2: '1.5' is no class of made, which has 3; fix the field"),
    "class beyond the last": (class_table("3"), "boxes.csv, line 2: '3' is no class of made, which has 3"),
    "empty class": (class_table(""), "boxes.csv, line 2: '' is no class of made"),
    "names and indices": (
        class_table("cat"),
        r"has names, such as 'cat' in line 2, and indices, such as '0' in line 3",
    ),
    "two boxes of a class": (
        b"image_id,class_id,x0,y0,x1,y1\n"
        + b"".join(b"%s.jpg,0,2,3,20,30\n" % name for name in (b"a", b"a", b"b", b"c")),
        r"1 duplicate: a.jpg \(two boxes for one class, and no score tells which is better\)",
    ),
    "semicolons": (table().replace(b",", b";"), "lacks the columns image_id, .*separated by semicolons, not by commas"),
    "tabs": (table().replace(b",", b"\t"), "lacks the columns image_id, .*separated by tabs, not by commas"),
    "score": (class_table("0", "high"), "boxes.csv, line 2: 'high' is not a number"),
    "NaN score": (class_table("0", "nan"), "boxes.csv, line 2: 'nan' is not a number"),
    "large score": (class_table("0", "1e300"), "a.jpg .line 2: a score beyond single precision"),
}
JSON = {
    "inverted": (results(bbox=[2, 3, -18, 27]), r"1 unusable: a.jpg \(entry 0: an empty or inverted box\)"),
    "three numbers": (results(bbox=[2, 3, 18]), NO_RESULTS),
    "text as box": (results(bbox="2345"), NO_RESULTS + r".TypeError\(\"'2345' is no list\"\)"),
    "text in box": (results(bbox=["2", 3, 4, 5]), NO_RESULTS),
    "bool in box": (results(bbox=[True, 3, 4, 5]), NO_RESULTS),
    "null": (results(bbox=None), NO_RESULTS),
    "NaN": (results(bbox=[float("nan"), 3, 4, 5]), r"a.jpg \(entry 0: not four finite numbers\)"),
    "infinite": (results(bbox=[1, 3, float("inf"), 5]), r"a.jpg \(entry 0: not four finite numbers\)"),
    "large": (results(bbox=[1, 3, 10**400, 5]), NO_RESULTS),
    "digits": (b'[{"image_id": 1, "category_id": ' + b"9" * 10_000 + b"}]", NO_RESULTS),
    "large category": (results(category_id=1 << 64), NO_RESULTS),
    "half a category": (results(category_id=1.5), NO_RESULTS),
    "category beyond the last": (results(category_id=3), "boxes.json, entry 0: the category_id 3 is no class of made"),
    "negative category": (results(category_id=-1), "boxes.json, entry 0: the category_id -1 is no class of made"),
    "half an image": (results(image_id=1.5), NO_RESULTS),
    "list as image": (results(image_id=["a.jpg"]), NO_RESULTS),
    "nobody": (results(image_id="a\ud800\n"), r"1 extra: a\\ud800\\n"),
    "score of text": (results(score="high"), NO_RESULTS),
    "score of nothing": (results(score=None), NO_RESULTS),
    "large score": (results(score=1e300), r"a.jpg \(entry 0: a score beyond single precision\)"),
    "nested": (b"[" * 100_000, NO_RESULTS),
    "nested in an entry": (b'[{"a":' * 50_000, NO_RESULTS),
    "a key twice": (b'[{"image_id": "a.jpg", "image_id": "b.jpg"}]', NO_RESULTS + ".*has the same name twice"),
    "a dictionary": (b'{"image_id": 1}', NO_RESULTS + r".TypeError\('it is a dict'\)"),
    "a number": (b"7", NO_RESULTS),
    "numbers": (b"[7]", NO_RESULTS),
    "nothing": (b"", NO_RESULTS),
    "UTF-16": (results().decode().encode("utf-16"), "boxes.json is not UTF-8 text"),
}
CASES = {f"CSV: {name}": ("boxes.csv", *case) for name, case in CSV.items()}
CASES |= {f"JSON: {name}": ("boxes.json", *case) for name, case in JSON.items()}


@pytest.mark.parametrize(("file", "content", "sentence"), CASES.values(), ids=CASES)
def test_broken_boxes(tmp_path: Path, file: str, content: bytes, sentence: str) -> None:
    (tmp_path / file).write_bytes(content)
    assert re.search(sentence, error_sentence(tmp_path / file))


@pytest.mark.parametrize("change", [lambda b: b"\xef\xbb\xbf" + b, lambda b: b.replace(b"\n", b"\r\n"), lambda b: b])
def test_marks_and_line_ends_of_other_systems(tmp_path: Path, change: Any) -> None:
    (tmp_path / "boxes.csv").write_bytes(change(table()))
    assert read_curves(tmp_path / "boxes.csv").tolist() == [[1]] * 3  # the true boxes


@pytest.mark.parametrize("name", ["boxes.csv", "boxes.json"])
@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_what_is_no_file(tmp_path: Path, name: str, make: Any) -> None:
    make(tmp_path / name)
    assert re.search(f"{name} cannot be read .it is a (pipe|folder|device)", error_sentence(tmp_path / name))


@pytest.mark.parametrize(
    ("file", "name"), [("boxes.csv", "digits"), ("boxes.json", "nested"), ("boxes.json", "nobody")]
)
def test_the_command(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, capfd: pytest.CaptureFixture[str], file: str, name: str
) -> None:
    content, sentence = {"boxes.csv": CSV, "boxes.json": JSON}[file][name]
    (tmp_path / file).write_bytes(content)
    argv = ["--boxes", tmp_path / file, "--metadata", lists(tmp_path), "--protocol", PROTOCOL]
    assert re.search(sentence, refusal(main, [*argv, "--out", tmp_path_factory.mktemp("out") / "run"], tmp_path, capfd))
