"""The images of ``synthetic``, which have the same bits on every machine."""

import hashlib

from wsol.datasets import Split, load_dataset
from wsol.selfchecks.expect import assert_equal
from wsol.selfchecks.outcome import Checks

FINGERPRINTS: dict[Split, str] = {"val": "3b44d5559091be78", "test": "87475939d826a654"}
"""First digits of the published fingerprints of ids, labels, boxes and sizes."""

PIXELS: dict[tuple[Split, tuple[tuple[str, str], ...]], str] = {
    ("test", ()): "b3cb446c7cc12ecf",
    ("train", (("seed", "3"), ("size", "64"), ("object_scale", "0.6"))): "6aff5d04ee0978c9",
    (
        "val",
        (
            ("instances", "3"),
            ("distractors", "3"),
            ("occlusion", "0.3"),
            ("context_bias", "0.7"),
            ("part_size", "0.2"),
        ),
    ): "e877e92b83469993",
}
"""First digits of the SHA-256 of the pixels of the first 24 images, by split and settings."""


def _check_boxes() -> None:
    for split, expected in FINGERPRINTS.items():
        assert_equal(load_dataset("synthetic", split=split).fingerprint[:16], expected, f"the fingerprint of {split}")


def _check_pixels() -> None:
    for (split, settings), expected in PIXELS.items():
        images = load_dataset("synthetic", split=split, dataset_args={"images": "24", **dict(settings)})
        digest = hashlib.sha256()
        for sample in images:
            digest.update(b"" if sample.render is None else sample.render().tobytes())
        assert_equal(digest.hexdigest()[:16], expected, f"the SHA-256 of the pixels of {split}")


CHECKS: Checks = {
    "synthetic: published hashes of ids, labels and boxes": _check_boxes,
    "synthetic: published hashes of pixels": _check_pixels,
}
