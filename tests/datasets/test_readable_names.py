"""Readable names of classes, by hand and on genuine folders."""

import os
from pathlib import Path

import pytest

from wsol.datasets import load_dataset, readable_names

REAL = os.environ.get("WSOL_REAL_DATA")
needs_real_data = pytest.mark.skipif(not REAL, reason="set WSOL_REAL_DATA")


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("tench, Tinca tinca", "tench"),
        ("n01440764 tench, Tinca tinca", "tench"),
        ("001.Black_footed_Albatross", "black footed albatross"),
        ("american_bulldog", "american bulldog"),
        ("Abyssinian", "Abyssinian"),
        ("n02085620-Chihuahua", "Chihuahua"),
        ("pottedplant", "potted plant"),
        ("707-320", "707-320"),  # a variant of aircraft
        ("Acura Integra Type R 2001", "Acura Integra Type R 2001"),
        ("n01440764", "n01440764"),  # no name: prompts refuse it
    ],
)
def test_name(written: str, expected: str) -> None:
    assert readable_names([written]) == (expected,)


@needs_real_data
@pytest.mark.parametrize(
    ("name", "folder", "some"),
    [
        ("cub", "CUB_200_2011", {0: "black footed albatross", 1: "laysan albatross", 2: "sooty albatross"}),
        ("oxford-pets", "oxford-iiit-pet", {0: "Abyssinian", 1: "american bulldog", 2: "Bengal"}),
        ("ilsvrc", "imagenet", {0: "tench", 2: "great white shark", 4: "hammerhead", 999: "toilet tissue"}),
        ("tiny-imagenet", "tiny-imagenet-200", {0: "Chihuahua", 1: "chimpanzee", 3: "organ"}),
    ],
)
def test_genuine_folders(name: str, folder: str, some: dict[int, str]) -> None:
    names = readable_names(load_dataset(name, Path(str(REAL)) / folder).classes)
    assert {i: names[i] for i in some} == some
    assert not [each for each in names if "_" in each or "," in each or not each]
