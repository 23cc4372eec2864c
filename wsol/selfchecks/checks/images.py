"""The images of ``synthetic``: the same bits on every machine."""

import hashlib

from wsol.datasets import Split, load_dataset
from wsol.selfchecks.expect import Checks, assert_equal

FINGERPRINTS: dict[Split, str] = {"val": "3b44d5559091be78", "test": "87475939d826a654"}
"""How the published fingerprints of ids, labels, boxes and sizes begin."""

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
"""How the SHA-256 of the pixels of the first 24 images begins, by split and knobs."""


def _boxes() -> None:
    for split, known in FINGERPRINTS.items():
        assert_equal(load_dataset("synthetic", split=split).fingerprint[:16], known, f"the fingerprint of {split}")


def _pixels() -> None:
    for (split, knobs), known in PIXELS.items():
        images = load_dataset("synthetic", split=split, dataset_args={"images": "24", **dict(knobs)})
        digest = hashlib.sha256()
        for sample in images:
            digest.update(b"" if sample.render is None else sample.render().tobytes())
        assert_equal(digest.hexdigest()[:16], known, f"the SHA-256 of the pixels of {split}")


CHECKS: Checks = {
    "synthetic: ids, labels and boxes are the published ones": _boxes,
    "synthetic: pixels are the published ones": _pixels,
}
