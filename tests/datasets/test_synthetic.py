"""The synthetic data set: the documented properties of its images, measured in their pixels."""

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import skimage
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from wsol.datasets import Dataset, load_dataset, read_image
from wsol.datasets._synthetic import textures
from wsol.datasets._synthetic.random_stream import HashRandom
from wsol.datasets._synthetic.raster import BLOCK, CROSS, DIAMOND, ELLIPSE, EVERYWHERE, SQUARE, WEDGE, light, paint
from wsol.datasets._synthetic.textures import BACKGROUNDS, BODIES, DISTRACTORS, PARTS, cut_texture
from wsol.datasets.synthetic import CLASSES, Scene, SyntheticConfig, render
from wsol.errors import InputError

# Computed with the first version of the generator, on x86-64 with NumPy 2.4; other digests are another data set.
PINNED = {
    ("test", SyntheticConfig()): "b3cb446c7cc12ecf",
    ("train", SyntheticConfig(seed=3, size=64, object_scale=0.6)): "6aff5d04ee0978c9",
    (
        "val",
        SyntheticConfig(instances=3, distractors=3, occlusion=0.3, context_bias=0.7, part_size=0.2),
    ): "e877e92b83469993",
}


def digest(split: str, config: SyntheticConfig) -> str:
    scenes = [render(split, i, config) for i in range(24)]
    return hashlib.sha256(b"".join(s.pixels.tobytes() for s in scenes)).hexdigest()[:16]


def test_the_boxes_are_these() -> None:
    expected = {"test": "87475939d826a654", "val": "3b44d5559091be78"}
    assert {split: load_dataset("synthetic", split=split).fingerprint[:16] for split in expected} == expected


@pytest.mark.parametrize(("setting", "expected"), PINNED.items(), ids=["default", "small", "every setting"])
def test_the_images_are_these(setting: tuple[str, SyntheticConfig], expected: str) -> None:
    assert digest(*setting) == expected


@pytest.mark.slow
def test_another_process_and_other_threads_make_the_same_images() -> None:
    code = "from wsol.datasets._synthetic.scene import *; import hashlib; " + (
        "print(hashlib.sha256(render('val', 7, SyntheticConfig()).pixels.tobytes()).hexdigest())"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    with ThreadPoolExecutor(4) as pool:
        many = {
            *pool.map(
                lambda _: hashlib.sha256(render("val", 7, SyntheticConfig()).pixels.tobytes()).hexdigest(), range(8)
            )
        }
    assert many == {other}


def test_splits_indices_and_seeds_differ_and_more_images_continue() -> None:
    assert len({digest(s, SyntheticConfig(seed=n, size=48)) for s in ("train", "val", "test") for n in (0, 1)}) == 6
    few, many = (load_dataset("synthetic", split="test", dataset_args={"images": n}) for n in ("3", "5"))
    assert [s.boxes.tolist() for s in few] == [s.boxes.tolist() for s in many][:3]
    assert [s.image_id for s in few] == ["test-000000", "test-000001", "test-000002"]


def test_each_photograph_has_one_role_and_its_halves_are_disjoint() -> None:
    photos = [photo for photo, _ in BODIES.values()] + [*PARTS.values(), *BACKGROUNDS, *DISTRACTORS]
    assert len({photo.file for photo in photos}) == len(photos) == 15
    for photo in photos:
        x0, y0, x1, y1 = photo.window
        left, right = cut_texture(photo, training=True), cut_texture(photo, training=False)
        assert left.shape[0] == right.shape[0] == y1 - y0
        assert left.shape[1] + right.shape[1] == x1 - x0
        assert abs(left.shape[1] - right.shape[1]) <= 1


def change_pixel(path: Path) -> None:
    pixels = np.asarray(Image.open(path)).copy()
    pixels[0, 0] ^= 1
    Image.fromarray(pixels).save(path)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (change_pixel, r"coins\.png is not the photograph that synthetic is generated from, .*; "),
        (lambda path: path.write_bytes(b"text"), r"coins\.png is not an image; "),
        (Path.unlink, r"coins\.png is missing: synthetic is generated from this photograph; "),
    ],
    ids=["another", "broken", "missing"],
)
def test_a_photograph_of_another_release_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], object], sentence: str
) -> None:
    coin = replace(PARTS["coin"], window=(0, 0, 9, 9))  # another entry of the cache
    (tmp_path / "data").mkdir()
    copy = tmp_path / "data" / coin.file
    shutil.copy(Path(skimage.__file__).parent / "data" / coin.file, copy)
    monkeypatch.setattr(skimage, "__file__", str(tmp_path / "__init__.py"))
    Image.open(copy).save(copy, compress_level=1)  # other bytes, but the same pixels
    textures._read_pixels.cache_clear()
    cut_texture(coin, training=True)
    textures._read_pixels.cache_clear()
    change(copy)
    with pytest.raises(InputError, match=sentence + r"install a release .* 'scikit-image>=0\.22,<0\.27'$"):
        cut_texture(coin, training=False)


def test_each_photograph_is_checked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []

    def open_and_count(path: Path, *arguments: object) -> object:
        opened.append(path.name)
        return open_image(path, *arguments)

    open_image = textures.open_image
    monkeypatch.setattr(textures, "open_image", open_and_count)
    textures._read_pixels.cache_clear()
    cut_texture.cache_clear()
    for index in range(24):
        render("test", index, SyntheticConfig())
        render("train", index, SyntheticConfig())
    assert len(opened) == len({*opened}) == 15


def default(n: int = 36, **settings: object) -> Dataset:
    return load_dataset("synthetic", dataset_args={"images": str(n)} | {k: str(v) for k, v in settings.items()})


def test_the_box_is_the_extent_of_the_mask_and_the_mask_the_object() -> None:
    for sample in default(n=24):
        mask = sample.mask()
        rows, columns = np.flatnonzero(mask.foreground.any(1)), np.flatnonzero(mask.foreground.any(0))
        assert sample.boxes.tolist() == [[columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]]
        assert not mask.ignore.any()
        assert ndimage.label(mask.foreground, np.ones((3, 3)))[1] == 1  # body and part are connected
        assert sample.size == (224, 224) == read_image(sample)[0].size


def scenes(n: int = 48, split: str = "test", **settings: object) -> list[Scene]:
    return [render(split, i, SyntheticConfig(**settings)) for i in range(n)]


def test_parts_take_their_share() -> None:
    for expected in (0.2, 0.3, 0.45):
        shares = [s.parts.sum() / s.objects.sum() for s in scenes(part_size=expected)]
        assert all(0 < share < 1 for share in shares)
        assert np.mean(shares) == pytest.approx(expected, rel=0.35)  # more, since the part covers some of the body
        assert np.mean(shares) >= expected - 0.01


def test_objects_take_their_scale() -> None:
    for expected in (0.2, 0.38, 0.5):
        cover = np.mean([s.objects.mean() for s in scenes(object_scale=expected)])
        assert np.sqrt(cover) == pytest.approx(expected, rel=0.12)


def test_instances_are_of_the_class_and_apart() -> None:
    images = scenes(instances=4, object_scale=0.2)
    counts = [len(s.boxes) for s in images]
    assert {*counts} == {1, 2, 3, 4}
    for scene in images:
        boxes = np.array(scene.boxes)
        for i in range(len(boxes)):
            for j in range(i):
                low, high = np.maximum(boxes[i, :2], boxes[j, :2]), np.minimum(boxes[i, 2:], boxes[j, 2:])
                assert (high - low).min() <= 1  # boxes may share a border pixel
    assert max(len(s.boxes) for s in scenes(instances=1)) == 1


@pytest.mark.slow
def test_a_crowded_image_has_fewer() -> None:
    for settings in ({"instances": 3}, {"instances": 20}, {"instances": 9, "object_scale": 0.3, "occlusion": 0.5}):
        for scene in scenes(n=60, **settings):
            assert 1 <= len(scene.boxes) <= settings["instances"]
            assert scene.layers.max() // 2 <= settings["instances"]


@pytest.mark.parametrize(
    "settings",
    [
        {"size": 32, "object_scale": 0.7},
        {"size": 48, "object_scale": 0.5, "part_size": 0.05},
        {"object_scale": 0.1, "part_size": 0.1},
        {"object_scale": 0.7, "part_size": 0.9, "occlusion": 0.5, "distractors": 50},
        {"seed": 2**63},
    ],
)
def test_the_limits_of_the_settings(settings: dict[str, object]) -> None:
    for sample in default(n=24, **settings):
        scene = sample.render()
        assert scene.shape == (*(settings.get("size", 224),) * 2, 3)
        assert len(sample.boxes) == 1
    assert np.mean([s.parts.any() for s in scenes(n=24, **settings)]) > 0.9


def test_distractors_and_occlusion_hide_what_they_should() -> None:
    assert all((s.layers != 1).all() for s in scenes(n=12, distractors=0))
    assert np.mean([(s.layers == 1).mean() for s in scenes(distractors=4)]) > 0.1
    plain, hidden = scenes(distractors=0), scenes(distractors=0, occlusion=0.4)
    shares = [h.objects.sum() / p.objects.sum() for p, h in zip(plain, hidden, strict=True)]
    assert 0.5 < np.mean(shares) < 0.85  # about 0.4 of the body, which is about 0.7 of the object
    assert min(shares) > 0.3
    assert all(h.parts.sum() > 0.5 * p.parts.sum() for p, h in zip(plain, hidden, strict=True))


def test_a_setting_changes_nothing_else() -> None:
    plain, biased = scenes(n=24), scenes(n=24, context_bias=1)
    for a, b in zip(plain, biased, strict=True):
        assert np.array_equal(a.layers, b.layers)
    more = scenes(n=24, distractors=3)
    assert all(np.array_equal(a.objects, b.objects) for a, b in zip(plain, more, strict=True))


@pytest.mark.slow
def test_context_bias_binds_the_background_to_the_class() -> None:
    def corner_means(bias: float) -> dict[int, list[NDArray[np.float64]]]:
        data = load_dataset("synthetic", dataset_args={"images": "96", "context_bias": str(bias), "distractors": "0"})
        means: dict[int, list[NDArray[np.float64]]] = {}
        for sample in data:
            scene, mask = sample.render(), sample.mask().foreground
            means.setdefault(sample.label % 4, []).append(scene[~mask].mean(0))
        return means

    def spread(groups: dict[int, list[NDArray[np.float64]]]) -> float:
        means = np.array([np.mean(values, 0) for values in groups.values()])
        return float(means.std(0).sum())

    assert spread(corner_means(1.0)) > 2 * spread(corner_means(0.0))


def test_classes_come_evenly_and_train_has_labels_only() -> None:
    train = load_dataset("synthetic", split="train", dataset_args={"images": "120"})
    assert np.bincount([s.label for s in train]).tolist() == [10] * 12
    assert len(train.classes) == len({*CLASSES}) == 12
    assert all(len(s.boxes) == 0 and s.mask is None for s in train)
    assert [len(load_dataset("synthetic", split=s)) for s in ("val", "test")] == [120, 240]


def test_settings_are_in_the_signature_and_their_ranges_are_checked() -> None:
    assert default(n=4).signature.startswith("synthetic-test#4:")
    assert "(seed=1000001)" in default(n=4, seed=1000001).signature
    with pytest.raises(InputError, match=r"parts would be 2\.3 pixels across"):
        default(size=32, object_scale=0.1, part_size=0.5)
    assert "(part_size=0.2,context_bias=0.8)" in default(n=4, part_size=0.2, context_bias=0.8).signature
    for name, text in (
        ("size", "10"),
        ("context_bias", "2"),
        ("instances", "1.5"),
        ("part_size", "x"),
        ("images", "0"),
    ):
        with pytest.raises(InputError, match=f"synthetic: {name} is '{text}'"):
            default(**{name: text})
    with pytest.raises(InputError, match="unknown --dataset-arg 'scale'"):
        default(scale=2)
    with pytest.raises(InputError, match="is generated and needs no files"):
        load_dataset("synthetic", "somewhere")


def paint_shape(shape: int, side: int = 201) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Paints a shape that fills the image, with a texture whose values are its coordinates."""
    canvas, layers = np.zeros((side, side, 3), np.uint8), np.zeros((side, side), np.uint8)
    half = side // 2
    unit = (1 << 20) // half
    frame = np.array([unit, 0, -unit * half, 0, unit, -unit * half])
    texture = np.stack(np.meshgrid(np.arange(side), np.arange(side), [7], indexing="xy"), -1)[:, :, 0].astype(np.uint8)
    one = 1 << 16
    grain = np.array([one, 0, 0, 0, one, 0])
    paint(canvas, layers, 9, shape, frame, np.array([0, 0, side, side]), texture, grain, 256)
    return canvas, layers


@pytest.mark.parametrize(
    ("shape", "area"),
    [
        (ELLIPSE, np.pi / 4),
        (BLOCK, 0.92703734),  # Gamma(1/4)^2 / (8 sqrt(pi)) of the square: the area within x^4 + y^4 = 1
        (WEDGE, 0.5),
        (CROSS, 2 * 0.42 - 0.42**2),
        (SQUARE, 1.0),
        (DIAMOND, 0.5),
        (EVERYWHERE, 1.0),
    ],
)
def test_shapes_have_their_areas_and_show_their_texture(shape: int, area: float) -> None:
    canvas, layers = paint_shape(shape)
    assert (layers == 9).mean() == pytest.approx(area, abs=0.012)
    rows, columns = np.nonzero(layers)
    assert (canvas[rows, columns, 0] == columns).all()
    assert (canvas[rows, columns, 1] == rows).all()
    assert (canvas[layers == 0] == 0).all()


def test_texture_is_interpolated_and_mirrored() -> None:
    texture = np.repeat(np.array([[[0], [100], [200]]], np.uint8), 3, axis=2)
    canvas, layers = np.zeros((1, 9, 3), np.uint8), np.zeros((1, 9), np.uint8)
    grain = np.array([1 << 15, 0, -(1 << 16), 0, 0, 0])  # half a texture pixel per pixel, starting at -1
    paint(canvas, layers, 1, EVERYWHERE, np.zeros(6, np.int64), np.array([0, 0, 9, 1]), texture, grain, 128)
    # Positions -1, -0.5, 0, ... 3; -1 mirrors to pixel 0 and 3 to pixel 2; then halved by the gain.
    assert canvas[0, :, 0].tolist() == [0, 0, 0, 25, 50, 75, 100, 100, 100]


def test_light_multiplies_and_noise_stays_in_its_range() -> None:
    gray = np.full((64, 64, 3), 100, np.uint8)
    light(gray, np.array([1 << 16, 1 << 15, 3 << 16]), np.array([0, 0]), 0, 1)
    assert gray[5, 5].tolist() == [100, 50, 255]
    noisy = np.full((64, 64, 3), 100, np.uint8)
    light(noisy, np.array([1 << 16] * 3), np.array([0, 0]), 20, 1)
    deviation = noisy.astype(int) - 100
    assert np.abs(deviation).max() <= 20
    assert np.abs(deviation.mean()) < 0.7
    assert deviation.std() == pytest.approx(20 / 255 * np.sqrt((256**2 - 1) / 6), rel=0.05)  # two dice of 256 sides
    assert abs(np.corrcoef(deviation[..., 0].ravel(), deviation[..., 1].ravel())[0, 1]) < 0.05


def test_random_numbers_are_uniform_and_named() -> None:
    a = [HashRandom("a").uniform(2, 4) for _ in range(2)]
    assert a[0] == a[1]
    stream = HashRandom("x")
    values = np.array([stream.uniform(0, 1) for _ in range(4000)])
    assert values.min() >= 0
    assert values.max() < 1
    assert values.mean() == pytest.approx(0.5, abs=0.02)
    counts = np.bincount([stream.randrange(5) for _ in range(5000)], minlength=5)
    assert counts.min() > 850
    assert sorted(stream.permutation(range(10))) == [*range(10)]
