"""MATLAB files, as scipy writes and reads them."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy.io import loadmat, savemat

from wsol.errors import InputError
from wsol.io.matlab import read_mat

TEXTS = st.text(st.characters(codec="ascii", min_codepoint=32), min_size=1, max_size=30)
NUMBERS = st.sampled_from([np.float64, np.float32, np.uint8, np.int8, np.uint16, np.int16, np.int32, np.int64])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(
    st.lists(TEXTS, max_size=6),
    NUMBERS.flatmap(lambda kind: arrays(kind, array_shapes(min_dims=2, max_dims=3))),
    st.booleans(),
)
def test_lists_are_read_as_scipy_writes_them(
    tmp_path: Path, texts: list[str], numbers: np.ndarray, compressed: bool
) -> None:
    cells = np.empty((len(texts), 1), object)
    for i, text in enumerate(texts):
        cells[i, 0] = text
    path = tmp_path / "list.mat"
    savemat(path, {"file_list": cells, "labels": numbers, "other": "x"}, do_compression=compressed)
    read = read_mat(path, ("file_list", "labels"), "lists")
    assert read.keys() == {"file_list", "labels"}
    assert read["file_list"] == texts
    np.testing.assert_array_equal(read["labels"], loadmat(path)["labels"])


def test_structures(tmp_path: Path) -> None:
    """As in Stanford Cars: an array of structures of numbers and text."""
    fields = np.zeros((1, 2), [("bbox_x1", object), ("a_longer_name_of_a_field", object), ("cells", object)])
    fields[0, 0] = np.uint8([[5]]), "00001.jpg", np.array(["a", "bc"], object)
    fields[0, 1] = np.float64([[2.5]]), "", np.empty((0, 0))
    savemat(tmp_path / "list.mat", {"annotations": fields}, do_compression=True)
    first, second = read_mat(tmp_path / "list.mat", ["annotations"], "annotations")["annotations"]
    assert (first["bbox_x1"].item(), first["a_longer_name_of_a_field"], first["cells"]) == (5, "00001.jpg", ["a", "bc"])
    assert (second["bbox_x1"].item(), second["a_longer_name_of_a_field"], second["cells"].size) == (2.5, "", 0)


def test_order_is_that_of_matlab(tmp_path: Path) -> None:
    cells = np.array([["a", "b"], ["c", "d"]], object)
    savemat(tmp_path / "list.mat", {"cells": cells, "numbers": np.arange(6).reshape(2, 3)})
    read = read_mat(tmp_path / "list.mat", ("cells", "numbers"), "lists")
    assert read["cells"] == ["a", "c", "b", "d"]
    assert read["numbers"].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_variables_that_are_missing(tmp_path: Path) -> None:
    savemat(tmp_path / "list.mat", {"labels": [1]})
    with pytest.raises(InputError, match=r"list\.mat lacks the variables file_list: it should contain the lists; res"):
        read_mat(tmp_path / "list.mat", ("file_list", "labels"), "the lists")
    with pytest.raises(InputError, match=r"other\.mat is missing: it should contain the lists; check --data-root"):
        read_mat(tmp_path / "other.mat", (), "the lists")
