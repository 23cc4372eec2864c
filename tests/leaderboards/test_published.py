"""Published numbers: as printed, and next to measured rows with the differences in conventions."""

from pathlib import Path
from typing import Any

import pytest

from wsol.errors import InputError
from wsol.leaderboards.published import PublishedNumber, build_published_rows, is_comparable, read_published

HEADER = "source,year,place,dataset,split,n,model,method,metric,tau_rule,tau,protocol,classifier,value,quoted_by,note"
LINE = "Someone,2020,Table 1,ilsvrc,test,50000,VGG,cam,top1_loc_err,fixed,0.2,zhou2016:crops=10,own,57.20,,"


def entry(**changes: Any) -> PublishedNumber:
    known = {
        "source": "Someone 2020", "year": 2020, "place": "Table 1", "dataset": "ilsvrc", "split": "test", "n": 50000,
        "model": "VGG", "method": "cam", "metric": "top1_loc_err", "tau_rule": "fixed", "tau": 0.2,
        "protocol": "zhou2016:crops=10", "classifier": "own", "value": 57.2, "quoted_by": "", "note": "",
    }  # fmt: skip
    return PublishedNumber(**(known | changes))


def measured(dataset: str, protocol: str) -> dict[str, Any]:
    return {"kind": "measured", "dataset": dataset, "protocol": protocol}


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (LINE.replace("57.20", "157.20"), r"line 2: 157\.20 is not a percentage"),
        (LINE.replace("57.20", "57,20"), r"line 2: the row does not have the 16 fields"),
        (LINE.replace("57.20", "n/a"), r"line 2: 'n/a' is not a number"),
        (LINE.replace("top1_loc_err", "top1"), r"line 2: unknown metric 'top1'"),
        (LINE.replace("fixed", "best"), r"line 2: unknown threshold rule 'best'"),
        (LINE.replace("50000", "5e4.2"), r"line 2: '5e4\.2' is not a number"),
    ],
)
def test_a_line_that_cannot_be_read_is_named(tmp_path: Path, line: str, sentence: str) -> None:
    (tmp_path / "a.csv").write_text(f"{HEADER}\n{line}\n")
    with pytest.raises(InputError, match=sentence):
        read_published(tmp_path)


def test_printed_accuracies_become_errors(tmp_path: Path) -> None:
    lines = [LINE, LINE.replace("loc_err", "loc_acc"), LINE.replace("top1_loc_err", "top5_cls_acc")]
    (tmp_path / "a.csv").write_text("\n".join([HEADER, *lines]) + "\n")
    values = [(number.metric, number.value) for number in read_published(tmp_path)]
    assert values == [("top1_loc_err", 57.2), ("top1_loc_err", 42.8), ("top5_cls_err", 42.8)]


def test_a_data_set_has_one_name_in_leaderboards(tmp_path: Path) -> None:
    unknown = LINE.replace("ilsvrc", "our-birds")
    (tmp_path / "a.csv").write_text("\n".join([HEADER, LINE, LINE.replace("ilsvrc", "imagenet"), unknown]) + "\n")
    assert [number.dataset for number in read_published(tmp_path)] == ["ilsvrc", "ilsvrc", "our-birds"]


def test_a_folder_without_tables(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="contains no tables of published numbers"):
        read_published(tmp_path)
    (tmp_path / "a.csv").write_text("source,value\nSomeone,3\n")
    with pytest.raises(InputError, match=r"lacks the columns year, place, dataset"):
        read_published(tmp_path)


def test_numbers_of_one_network_and_method_are_one_row() -> None:
    entries = [
        entry(method="", metric="top1_cls_err", tau_rule="", tau=None, value=33.4, protocol="zhou2016"),
        entry(),
        entry(metric="top5_loc_err", value=45.14, place="Table 2", note="two\nlines"),
        entry(method="backprop", value=61.12, tau_rule="", tau=None, protocol="zhou2016"),
        entry(model="NIN", method="", metric="top1_cls_err", tau_rule="", tau=None, value=41.9),
    ]
    cam, backprop, nin = build_published_rows(
        entries, [measured("ilsvrc-test#50000:ab", "zhou2016:box=paper,crops=10")]
    )
    assert cam == {
        "kind": "published", "group": "ilsvrc-test#50000:ab|zhou2016:box=paper,crops=10",
        "dataset": "ilsvrc-test#50000", "n": 50000,
        "model": "VGG", "method": "cam", "protocol": "zhou2016:crops=10", "source": "Someone 2020",
        "place": "Table 1, Table 2", "note": "two\nlines", "mismatch": "", "top1_cls_err": 33.4,
        "classifier": "own", "quoted_by": "",
        "top1_loc_err@fixed": 57.2, "top1_loc_err@fixed.tau": 0.2, "top5_loc_err@fixed": 45.14,
        "top5_loc_err@fixed.tau": 0.2,
    }  # fmt: skip
    assert (backprop["method"], backprop["top1_loc_err"], backprop["top1_cls_err"]) == ("backprop", 61.12, 33.4)
    assert (nin["model"], nin["method"], nin["top1_cls_err"]) == ("NIN", "", 41.9)


@pytest.mark.parametrize(
    ("dataset", "protocol", "mismatch"),
    [
        ("ilsvrc-test#50000:ab", "zhou2016:box=paper,crops=10,step=0.01", ""),
        ("ilsvrc-test#270:ab+masks", "zhou2016:box=paper,crops=10", "images: 50000, not 270"),
        (
            "ilsvrc-test#50000:ab",
            "zhou2016:box=paper,crops=1",
            "crops: 10, not 1",
        ),
        (
            "ilsvrc-test#270:ab",
            "exact:levels=256",
            "images: 50000, not 270; protocol: zhou2016:crops=10, not exact:levels=256",
        ),
        ("ilsvrc-test(part)#50000:ab", "zhou2016:crops=10", "images: 50000, not 50000 of part"),
        (
            "metadata-test#50000:ab",
            "zhou2016:crops=10",
            "data set: assumed to be ilsvrc-test, as it also has 50000 images",
        ),
        ("metadata-test#10000:ab", "zhou2016:crops=10", None),
        ("ilsvrc-val#50000:ab", "zhou2016:crops=10", None),
        ("cub-test#50000:ab", "zhou2016:crops=10", None),
        ("named by hand", "zhou2016:crops=10", None),
    ],
)
def test_what_does_not_match_is_named(dataset: str, protocol: str, mismatch: str | None) -> None:
    rows = build_published_rows([entry()], [measured(dataset, protocol)])
    assert [row["mismatch"] for row in rows] == ([] if mismatch is None else [mismatch])
    assert [is_comparable(row) for row in rows] == [row["mismatch"][:17] in ("", "data set: assumed") for row in rows]


def test_rows_stand_with_their_own_protocol_where_there_is_one() -> None:
    runs = [
        measured("ilsvrc-test#270:ab", protocol)
        for protocol in ("exact:levels=6", "zhou2016:crops=1", "exact:levels=6")
    ]
    assert [row["group"] for row in build_published_rows([entry()], runs)] == ["ilsvrc-test#270:ab|zhou2016:crops=1"]
    others = build_published_rows([entry(protocol="wsolevaluation")], runs)
    assert [row["group"] for row in others] == [
        "ilsvrc-test#270:ab|exact:levels=6",
        "ilsvrc-test#270:ab|zhou2016:crops=1",
    ]


@pytest.mark.parametrize(
    ("protocol", "mismatch"),
    [
        ("wsolevaluation:step=0.001,norm=minmax", ""),
        ("wsolevaluation:step=0.1,norm=minmax,percentile=0.45", ""),
        ("wsolevaluation:step=0.001,norm=max", "norm: minmax, not max"),
        ("wsolevaluation:step=0.001", "norm: minmax, not stated"),
        ("exact:norm=minmax", "protocol: wsolevaluation:norm=minmax, not exact:norm=minmax"),
    ],
)
def test_the_normalization_is_compared(protocol: str, mismatch: str) -> None:
    rows = build_published_rows(
        [entry(protocol="wsolevaluation:norm=minmax")], [measured("ilsvrc-test#50000:a", protocol)]
    )
    assert [row["mismatch"] for row in rows] == [mismatch]
    assert is_comparable(rows[0]) == (not mismatch)


def test_rows_stand_where_they_are_comparable_if_they_are_anywhere() -> None:
    runs = [
        measured("ilsvrc-test#50000:a", f"wsolevaluation:step=0.1,norm={norm}") for norm in ("max", "minmax", "pas")
    ]
    for norm, groups in (("pas", ["pas"]), ("ivr", ["max", "minmax", "pas"])):
        rows = build_published_rows([entry(protocol=f"wsolevaluation:norm={norm}")], runs)
        assert [row["group"].rpartition("=")[2] for row in rows] == groups


def test_a_rule_agrees_with_what_it_chose() -> None:
    stated = entry(protocol="wsolevaluation:norm=ivr,percentile=val")
    used = {f"wsolevaluation:norm=ivr,percentile={text}": ok for text, ok in (("val=0.45", True), ("0.45", False))}
    for protocol, agrees in used.items():
        (row,) = build_published_rows([stated], [measured("ilsvrc-test#50000:a", protocol)])
        assert is_comparable(row) == agrees
        assert row["mismatch"] == ("" if agrees else "percentile: val, not 0.45")


def test_conventions_without_a_protocol_here_are_a_mismatch() -> None:
    own = "GenPromp's own evaluation at 512 x 512"
    rows = build_published_rows([entry(protocol=own)], [measured("ilsvrc-test#50000:a", "exact")])
    assert [row["mismatch"] for row in rows] == [f"protocol: {own}, not exact"]
    assert not is_comparable(rows[0])


def test_assumed_images_do_not_hide_another_mismatch() -> None:
    rows = build_published_rows([entry()], [measured("metadata-test#50000:a", "zhou2016:crops=1")])
    assert rows[0]["mismatch"].endswith("50000 images; crops: 10, not 1")
    assert not is_comparable(rows[0])


def test_copied_numbers_are_rows_beside_the_original() -> None:
    copied = entry(value=58.0, quoted_by="Someone else")
    rows = build_published_rows([entry(), copied], [measured("ilsvrc-test#50000:a", "zhou2016:crops=10")])
    assert [(row["quoted_by"], row["top1_loc_err@fixed"]) for row in rows] == [("", 57.2), ("Someone else", 58.0)]
