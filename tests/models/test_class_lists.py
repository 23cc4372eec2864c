"""Lists of class names, files that hold one, and joins worked out by hand."""

import importlib
from pathlib import Path

import pytest

from wsol.errors import InputError
from wsol.models.class_lists import imagenet_list, make_class_list, read_class_list
from wsol.models.class_map import ClassMap, join_classes
from wsol.models.imagenet import COUNT, imagenet_names, imagenet_synsets

BIRD, MACHINE, SWIMSUIT, TANK_SUIT = "n02012849", "n03126707", "n03710637", "n03710721"


def test_the_ids_of_imagenet() -> None:
    synsets = imagenet_synsets()
    assert len(synsets) == len(set(synsets)) == len(imagenet_names()) == COUNT
    assert [*synsets] == sorted(synsets)
    places = {"n01440764": 0, "n02099712": 208, "n02504458": 386, "n03345487": 555, "n15075141": 999}
    assert {synset: synsets.index(synset) for synset in places} == places
    assert [imagenet_names()[i] for i in (0, 208, 386, 555, 999)] == [
        "tench",
        "Labrador retriever",
        "African elephant",
        "fire engine",
        "toilet tissue",
    ]


def test_the_ids_of_imagenet_are_those_of_timm() -> None:
    timm = pytest.importorskip("timm")
    assert [*imagenet_synsets()] == timm.data.ImageNetInfo("imagenet-1k").label_names()


def test_the_ids_and_names_of_imagenet_are_those_of_the_challenge(real_data: Path) -> None:
    lines = (real_data / "imagenet" / "LOC_synset_mapping.txt").read_text().splitlines()
    assert [line.split(" ", 1)[0] for line in lines] == [*imagenet_synsets()]
    firsts = [line.split(" ", 1)[1].split(",")[0] for line in lines]
    assert [i for i, name in enumerate(firsts) if name != imagenet_names()[i]] == [134, 639]  # a crane, a maillot


@pytest.mark.parametrize(
    ("outputs", "classes", "expected"),
    [
        (("ant", "bee", "cat"), ("cat", "ant"), (2, 0)),
        (("ant", "bee"), ("bee", "ant"), (1, 0)),
        (("Great_White_Shark", "tench"), ("tench, Tinca tinca", "great white shark, man-eater"), (1, 0)),
        (("n00000001", "n00000002", "n00000003"), ("n00000003", "n00000001"), (2, 0)),
        (("n00000001 ant", "n00000002 bee"), ("bee", "ant"), (1, 0)),  # ids on one side alone: by name
        (("n00000001 crane", "n00000002 crane"), ("n00000002 crane", "n00000001 crane"), (1, 0)),
        (("crane", "crane, a bird"), ("crane, a bird",), (1,)),  # the whole name is unique
    ],
)
def test_joins_by_hand(outputs: tuple[str, ...], classes: tuple[str, ...], expected: tuple[int, ...]) -> None:
    assert join_classes(make_class_list(outputs, outputs=True), make_class_list(classes)) == expected


@pytest.mark.parametrize(
    ("outputs", "classes", "fault"),
    [
        (("ant", "bee"), ("ant", "cow"), "its class 'cow', label 1, is not among them"),
        (("n00000001 ant",), ("n00000002 ant",), r"its class 'ant' \(n00000002\), label 0, is not among them"),
        (("crane", "bee", "crane"), ("crane",), "'crane', label 0, has a name that several classes have"),
        (("Cardigan", "cardigan"), ("cardigan",), "'cardigan', label 0, has a name that several classes have"),
        (("crane", "bee"), ("bee", "crane", "crane"), "'crane', label 1, has a name that several"),
        (("n00000001", "n00000001"), ("n00000001",), "has a name that several"),
        (("ant", "bee"), ("n00000001", "bee"), "'n00000001', label 0, is not among them"),
        (("ant", ""), ("ant", "bee"), "'bee', label 1, is not among them"),
        (("n00000001 ant", "bee"), ("n00000001", "n00000001 ant"), r"its classes .* are both output 0"),
    ],
)
def test_what_cannot_be_joined(outputs: tuple[str, ...], classes: tuple[str, ...], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        join_classes(make_class_list(outputs, outputs=True), make_class_list(classes))


def test_names_that_two_classes_of_imagenet_have_are_never_joined_by_name() -> None:
    """torchvision calls the bird ``crane bird``, so that its ``crane`` is the machine and seems unique."""
    outputs = imagenet_list()
    assert join_classes(outputs, make_class_list([MACHINE, BIRD, TANK_SUIT, SWIMSUIT])) == (517, 134, 639, 638)
    assert join_classes(outputs, make_class_list(["golden retriever", "tench"])) == (207, 0)
    for name in ("crane", "Crane", "maillot", "cardigan"):
        with pytest.raises(ValueError, match="has a name that several classes have"):
            join_classes(outputs, make_class_list([name]))
        with pytest.raises(ValueError, match="has a name that several classes have"):
            join_classes(make_class_list(imagenet_names(), outputs=True), make_class_list([name]))


def test_what_a_map_says_in_the_signature() -> None:
    one, other = ClassMap((1, 6), 7), ClassMap((6, 1), 7)
    assert one.suffix.startswith("+classes=mapped(2/7):")
    assert one.suffix != other.suffix
    assert ClassMap((1, 6), 7, "all").suffix.startswith("+classes=mapped(2/7,all):")
    assert one.labels() == [2, 0, 4, 5, 6, 7, 1]  # an output that is no class of the data set comes after those


def test_files_of_names(tmp_path: Path) -> None:
    path = tmp_path / "classes.txt"
    path.write_text("ant\nbee, Apis\nn01440764 tench, Tinca tinca\n")
    found = read_class_list(path, 3)
    assert found.names == ("ant", "bee, Apis", "tench, Tinca tinca")
    assert found.synsets == ("", "", "n01440764")
    path.write_text("2,cat\r\n0, ant\r\n\r\n")
    assert read_class_list(path, 4).names == ("ant", "", "cat", "")
    assert read_class_list("imagenet", 1000) == imagenet_list()


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "is empty; write"),
        ("ant\n", "has 1 names, but the network has 3 outputs; write one name for each, or index,name for some"),
        ("ant\nbee\ncat\ndog\n", "has 4 names, but the network has 3 outputs"),
        ("ant\n\ncat\n", "line 2: there is no name"),
        ("0,ant\n1,\n", "line 2: there is no name"),
        ("0,ant\n3,bee\n", "line 2: there is no output 3; the network has 3, counted from 0"),
        ("0,ant\n0,bee\n", "line 2: output 0 has a name already"),
        ("0,ant\nbee\n2,cat\n", "line 2: 'bee' is not written as the last line is"),
        ("0,ant\n1,bee\ncat\n", "line 1: '0,ant' is not written as the last line is"),
        ("an\0t\n", "control character"),
    ],
)
def test_broken_files(tmp_path: Path, text: str, fault: str) -> None:
    path = tmp_path / "classes.txt"
    path.write_text(text)
    with pytest.raises(InputError, match=fault):
        read_class_list(path, 3)


def test_no_file() -> None:
    with pytest.raises(InputError, match="nowhere is no file; --classes takes a text file with one name a line"):
        read_class_list("nowhere", 3)
    with pytest.raises(InputError, match="--classes imagenet names 1000 outputs, but the network has 7"):
        read_class_list("imagenet", 7)


def test_the_list_comes_with_the_package() -> None:
    package = importlib.import_module("wsol.models")
    assert (Path(str(package.__file__)).parent / "imagenet_synsets.txt").is_file()
