"""The layout of one synthetic image, and its pixels."""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from wsol.datasets._extent import extent_of
from wsol.datasets._synthetic.random_stream import HashRandom
from wsol.datasets._synthetic.raster import (
    BLOCK,
    CROSS,
    DIAMOND,
    ELLIPSE,
    EVERYWHERE,
    SQUARE,
    WEDGE,
    light,
    paint,
)
from wsol.datasets._synthetic.textures import BACKGROUNDS, BODIES, DISTRACTORS, PARTS, PLAIN, TINTS, cut_texture

FAMILIES, MEMBERS = tuple(BODIES), tuple(TINTS)
CLASSES = tuple(
    f"{body}-{tint}-{[*PARTS][(f + m) % len(PARTS)]}"
    for f, body in enumerate(FAMILIES)
    for m, tint in enumerate(MEMBERS)
)
BODY_SHAPES = ((ELLIPSE, 0.75), (BLOCK, 0.55), (WEDGE, 0.8), (CROSS, 0.85))  # per family, with width / length
PART_SHAPES = (ELLIPSE, SQUARE, DIAMOND)  # per member
_AREAS = {ELLIPSE: 3.1416, BLOCK: 3.7081, WEDGE: 2.0, CROSS: 2.6544, SQUARE: 4.0, DIAMOND: 2.0}  # in [-1, 1]^2
BACKGROUND, CLUTTER, FIRST = 0, 1, 2  # layers; the body of instance i is layer 2 + 2 i, its part layer 3 + 2 i


@dataclass(frozen=True)
class SyntheticConfig:
    """Settings of the generator; see ``wsol.datasets.synthetic``."""

    seed: int = 0
    size: int = 224
    object_scale: float = 0.38
    part_size: float = 0.3
    instances: int = 1
    distractors: int = 1
    occlusion: float = 0.0
    context_bias: float = 0.0


@dataclass(frozen=True)
class Scene:
    """One image with its complete annotation.

    Attributes:
        pixels: uint8 ``(size, size, 3)``, RGB.
        layers: uint8 ``(size, size)``: 0 background, 1 distractors and occluders, ``2 + 2 i`` the body and ``3 + 2 i``
            the part of instance ``i``.
    """

    pixels: NDArray[np.uint8]
    layers: NDArray[np.uint8]

    @property
    def objects(self) -> NDArray[np.bool_]:
        """Visible pixels of objects, bool ``(size, size)``."""
        return self.layers >= FIRST

    @property
    def parts(self) -> NDArray[np.bool_]:
        """Visible pixels of discriminative parts, bool ``(size, size)``."""
        is_part: NDArray[np.bool_] = (self.layers >= FIRST) & (self.layers % 2 == 1)
        return is_part

    @property
    def boxes(self) -> list[list[int]]:
        """The extent of each instance's visible pixels, half-open edges."""
        extents = (extent_of(self.layers // 2 == i + 1) for i in range(int(self.layers.max()) // 2))
        return [[*extent] for extent in extents if extent]  # the occluder of another instance may hide it


def label_of(split: str, index: int, seed: int) -> int:
    """Return the class of an image: each block of as many images as classes has every class once."""
    block, position = divmod(index, len(CLASSES))
    return HashRandom(f"{_VERSION}/{seed}/{split}/block {block}").permutation(range(len(CLASSES)))[position]


def render(split: str, index: int, config: SyntheticConfig) -> Scene:
    """Render an image, a pure function of the arguments.

    Args:
        split: ``train``, ``val`` or ``test``.
        index: Index in the split, from 0.
        config: The settings.
    """
    key = f"{_VERSION}/{config.seed}/{split}/{index}"
    family, member = divmod(label_of(split, index, config.seed), len(MEMBERS))
    canvas = _Canvas(config.size, training=split == "train")
    rng = HashRandom(f"{key}/background")
    is_biased = rng.uniform(0, 1) < config.context_bias
    any_background = rng.randrange(len(BACKGROUNDS))
    class_background = (family * len(MEMBERS) + member) % len(BACKGROUNDS)
    photo = BACKGROUNDS[class_background if is_biased else any_background]
    canvas.paint(BACKGROUND, _Shape(EVERYWHERE, 0, 0, 1, 1, 1, 0), cut_texture(photo, canvas.training), rng)
    for i in range(config.distractors):
        _add_distractor(canvas, HashRandom(f"{key}/distractor {i}"), config)
    count = 1 + HashRandom(f"{key}/instances").randrange(config.instances)
    occupied: list[tuple[float, float, float, float]] = []
    for i in range(count):
        _place_object(canvas, HashRandom(f"{key}/object {i}"), config, (family, member), occupied)
    _light(canvas, HashRandom(f"{key}/light"))
    return Scene(canvas.pixels, canvas.layers)


_VERSION = "1"  # in the name of every stream: another version of the generator is another data set


@dataclass(frozen=True)
class _Shape:
    """A shape with its center, half length and half width in pixels, and the direction of its length."""

    kind: int
    x: float
    y: float
    length: float
    width: float
    cosine: float
    sine: float

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """A box that contains the shape."""
        across = abs(self.cosine) * self.length + abs(self.sine) * self.width
        down = abs(self.sine) * self.length + abs(self.cosine) * self.width
        return self.x - across, self.y - down, self.x + across, self.y + down


class _Canvas:
    def __init__(self, size: int, training: bool) -> None:
        self.size = size
        self.training = training
        self.pixels = np.zeros((size, size, 3), np.uint8)
        self.layers = np.zeros((size, size), np.uint8)

    def paint(self, layer: int, shape: _Shape, texture: NDArray[np.uint8], rng: HashRandom) -> None:
        """Paint a shape with a random cut of a texture, rotated like the shape."""
        x0, y0, x1, y1 = (0.0, 0.0, float(self.size), float(self.size))
        if shape.kind != EVERYWHERE:
            left, top, right, bottom = shape.extent
            x0, y0, x1, y1 = max(x0, left - 1), max(y0, top - 1), min(x1, right + 2), min(y1, bottom + 2)
        window = np.array([int(x0), int(y0), int(max(x1, x0)), int(max(y1, y0))], np.int64)
        u, v = (
            (shape.cosine / shape.length, shape.sine / shape.length),
            (-shape.sine / shape.width, shape.cosine / shape.width),
        )
        grain = 1 / rng.uniform(0.8, 1.3)
        flip = 1 - 2 * rng.randrange(2)
        start = rng.randrange(texture.shape[1]), rng.randrange(texture.shape[0])
        s, t = (flip * grain * shape.cosine, flip * grain * shape.sine), (-grain * shape.sine, grain * shape.cosine)
        gain = 256 if shape.kind == EVERYWHERE else round(rng.uniform(215, 290))
        paint(
            self.pixels,
            self.layers,
            layer,
            shape.kind,
            np.concatenate([_fixed_point(u, shape, 0, 20), _fixed_point(v, shape, 0, 20)]),
            window,
            texture,
            np.concatenate([_fixed_point(s, shape, start[0], 16), _fixed_point(t, shape, start[1], 16)]),
            gain,
        )


def _fixed_point(direction: tuple[float, float], shape: _Shape, start: float, bits: int) -> NDArray[np.int64]:
    """Return the coefficients of the coordinate along ``direction``, ``start`` at the shape's center, as integers.

    The coordinate of pixel ``(x, y)``, measured at its center, is ``dx x + dy y + offset``, in units of 2^-bits.
    """
    dx, dy = direction
    offset = start + dx * (0.5 - shape.x) + dy * (0.5 - shape.y)
    return np.array([round(value * (1 << bits)) for value in (dx, dy, offset)], np.int64)


def _rotation(t: float) -> tuple[float, float]:
    """Return cosine and sine of the angle with half-angle tangent ``t``, independent of a math library's rounding."""
    return (1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)


def _place_object(
    canvas: _Canvas,
    rng: HashRandom,
    config: SyntheticConfig,
    kind: tuple[int, int],
    occupied: list[tuple[float, float, float, float]],
) -> None:
    """Paint one object at a random position where it overlaps no earlier object."""
    family, member = kind
    for _ in range(30):
        body, part = _random_object(rng, config, kind)
        (a, b, c, d), (e, f, g, h) = body.extent, part.extent
        left, top, right, bottom = min(a, e), min(b, f), max(c, g), max(d, h)
        dx = rng.uniform(0, 1) * (canvas.size - (right - left)) - left
        dy = rng.uniform(0, 1) * (canvas.size - (bottom - top)) - top
        box = (left + dx, top + dy, right + dx, bottom + dy)
        if all(box[0] >= o[2] or o[0] >= box[2] or box[1] >= o[3] or o[1] >= box[3] for o in occupied):
            break
    else:
        return  # a crowded image has fewer objects
    layer = FIRST + 2 * len(occupied)
    occupied.append(box)
    body, part = (replace(shape, x=shape.x + dx, y=shape.y + dy) for shape in (body, part))
    photo, tint = BODIES[FAMILIES[family]]
    canvas.paint(layer, body, cut_texture(photo, canvas.training, tint), rng)
    photo = PARTS[[*PARTS][(family + member) % len(PARTS)]]
    canvas.paint(layer + 1, part, cut_texture(photo, canvas.training, TINTS[MEMBERS[member]]), rng)
    if config.occlusion:
        _occlude(canvas, rng, body, config.occlusion)


def _random_object(rng: HashRandom, config: SyntheticConfig, kind: tuple[int, int]) -> tuple[_Shape, _Shape]:
    """Return body and part around the origin; together they cover ``(object_scale size)^2`` pixels on average."""
    family, member = kind
    shape, slenderness = BODY_SHAPES[family]
    area = (config.object_scale * config.size) ** 2 * rng.uniform(0.6, 1.5)
    length = math.sqrt((1 - config.part_size) * area / (_AREAS[shape] * slenderness))
    width = length * slenderness
    cosine, sine = _rotation(rng.uniform(-0.36, 0.36))
    facing = 1 - 2 * rng.randrange(2)
    body = _Shape(shape, 0, 0, length, width, facing * cosine, facing * sine)
    radius = math.sqrt(config.part_size * area / _AREAS[PART_SHAPES[member]])
    along, aside = _rotation(rng.uniform(-0.22, 0.22))
    along, aside = along * length, aside * width * (0.5 if shape == CROSS else 1)
    x, y = body.cosine * along - body.sine * aside, body.sine * along + body.cosine * aside
    return body, _Shape(PART_SHAPES[member], x, y, radius, radius, *_rotation(rng.uniform(-0.2, 0.2)))


def _add_distractor(canvas: _Canvas, rng: HashRandom, config: SyntheticConfig) -> None:
    texture = cut_texture(DISTRACTORS[rng.randrange(len(DISTRACTORS))], canvas.training)
    kind = (ELLIPSE, BLOCK, SQUARE, DIAMOND, WEDGE)[rng.randrange(5)]
    length = config.object_scale * config.size * rng.uniform(0.3, 0.6)
    width = length * rng.uniform(0.6, 1)
    x, y = rng.uniform(0, canvas.size), rng.uniform(0, canvas.size)
    canvas.paint(CLUTTER, _Shape(kind, x, y, length, width, *_rotation(rng.uniform(-1, 1))), texture, rng)


def _occlude(canvas: _Canvas, rng: HashRandom, body: _Shape, share: float) -> None:
    """Paint a strip across the body, ``share`` of its length wide, away from the end with the part."""
    texture = cut_texture(DISTRACTORS[rng.randrange(len(DISTRACTORS))], canvas.training, PLAIN)
    at = rng.uniform(share - 1, 0.6 - share) * body.length
    x, y = body.x + body.cosine * at, body.y + body.sine * at
    strip = _Shape(SQUARE, x, y, share * body.length, 1.3 * body.width, body.cosine, body.sine)
    canvas.paint(CLUTTER, strip, texture, rng)


def _light(canvas: _Canvas, rng: HashRandom) -> None:
    brightness = rng.uniform(0.75, 1.2)
    gains = [brightness * rng.uniform(0.94, 1.06) for _ in range(3)]
    slope = [rng.uniform(-0.25, 0.25) / canvas.size for _ in range(2)]
    fixed = [np.array([round(value * 65536) for value in values], np.int64) for values in (gains, slope)]
    light(canvas.pixels, fixed[0], fixed[1], rng.randrange(25), rng.random_bits())
