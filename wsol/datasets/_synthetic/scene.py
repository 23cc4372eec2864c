"""What stands where in one synthetic image, and the image itself."""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

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
BODY_SHAPES = ((ELLIPSE, 0.75), (BLOCK, 0.55), (WEDGE, 0.8), (CROSS, 0.85))  # of each family, with width : length
PART_SHAPES = (ELLIPSE, SQUARE, DIAMOND)  # of each member
_AREAS = {ELLIPSE: 3.1416, BLOCK: 3.7081, WEDGE: 2.0, CROSS: 2.6544, SQUARE: 4.0, DIAMOND: 2.0}  # within [-1, 1]^2
BACKGROUND, CLUTTER, FIRST = 0, 1, 2  # layers; instance i has its body in 2 + 2 i and its part in 3 + 2 i


@dataclass(frozen=True)
class SyntheticConfig:
    """What can be set; see ``wsol.datasets.synthetic``."""

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
    """One image with everything known about it.

    Attributes:
        pixels: uint8 ``(size, size, 3)``, RGB.
        layers: uint8 ``(size, size)``: 0 background, 1 distractors and what occludes, ``2 + 2 i`` the body and
            ``3 + 2 i`` the part of instance ``i``.
    """

    pixels: NDArray[np.uint8]
    layers: NDArray[np.uint8]

    @property
    def objects(self) -> NDArray[np.bool_]:
        """Where an object is visible, bool ``(size, size)``."""
        return self.layers >= FIRST

    @property
    def parts(self) -> NDArray[np.bool_]:
        """Where a discriminative part is visible, bool ``(size, size)``."""
        found: NDArray[np.bool_] = (self.layers >= FIRST) & (self.layers % 2 == 1)
        return found

    @property
    def boxes(self) -> list[list[int]]:
        """The extent of each instance's visible pixels, half-open edges."""
        found = []
        for i in range(int(self.layers.max()) // 2):
            seen = self.layers // 2 == i + 1
            rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
            if len(rows):  # not hidden behind what occludes another
                found.append([int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1])
        return found


def label_of(split: str, index: int, seed: int) -> int:
    """Return the class of an image: each block of as many images as there are classes has every class once."""
    block, place = divmod(index, len(CLASSES))
    return HashRandom(f"{_VERSION}/{seed}/{split}/block {block}").shuffled(range(len(CLASSES)))[place]


def render(split: str, index: int, knobs: SyntheticConfig) -> Scene:
    """Make an image, a pure function of its arguments.

    Args:
        split: ``train``, ``val`` or ``test``.
        index: Place in the split, from 0.
        knobs: The settings.
    """
    key = f"{_VERSION}/{knobs.seed}/{split}/{index}"
    family, member = divmod(label_of(split, index, knobs.seed), len(MEMBERS))
    canvas = _Canvas(knobs.size, training=split == "train")
    draws = HashRandom(f"{key}/background")
    told = draws.uniform(0, 1) < knobs.context_bias
    other = draws.below(len(BACKGROUNDS))
    favourite = (family * len(MEMBERS) + member) % len(BACKGROUNDS)
    scene = BACKGROUNDS[favourite if told else other]
    canvas.paint(BACKGROUND, _Shape(EVERYWHERE, 0, 0, 1, 1, 1, 0), cut_texture(scene, canvas.training), draws)
    for i in range(knobs.distractors):
        _distract(canvas, HashRandom(f"{key}/distractor {i}"), knobs)
    count = 1 + HashRandom(f"{key}/instances").below(knobs.instances)
    taken: list[tuple[float, float, float, float]] = []
    for i in range(count):
        _place(canvas, HashRandom(f"{key}/object {i}"), knobs, (family, member), taken)
    _light(canvas, HashRandom(f"{key}/light"))
    return Scene(canvas.pixels, canvas.layers)


_VERSION = "1"  # part of every draw: another generation is another data set


@dataclass(frozen=True)
class _Shape:
    """A shape with its centre, half length and half width in pixels, and the direction of its length."""

    kind: int
    x: float
    y: float
    length: float
    width: float
    cosine: float
    sine: float

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """A box around it."""
        across = abs(self.cosine) * self.length + abs(self.sine) * self.width
        down = abs(self.sine) * self.length + abs(self.cosine) * self.width
        return self.x - across, self.y - down, self.x + across, self.y + down


class _Canvas:
    def __init__(self, size: int, training: bool) -> None:
        self.size = size
        self.training = training
        self.pixels = np.zeros((size, size, 3), np.uint8)
        self.layers = np.zeros((size, size), np.uint8)

    def paint(self, layer: int, shape: _Shape, texture: NDArray[np.uint8], draws: HashRandom) -> None:
        """Paint a shape with a random cut of a texture that turns with it."""
        x0, y0, x1, y1 = (0.0, 0.0, float(self.size), float(self.size))
        if shape.kind != EVERYWHERE:
            left, top, right, bottom = shape.extent
            x0, y0, x1, y1 = max(x0, left - 1), max(y0, top - 1), min(x1, right + 2), min(y1, bottom + 2)
        window = np.array([int(x0), int(y0), int(max(x1, x0)), int(max(y1, y0))], np.int64)
        u, v = (
            (shape.cosine / shape.length, shape.sine / shape.length),
            (-shape.sine / shape.width, shape.cosine / shape.width),
        )
        grain = 1 / draws.uniform(0.8, 1.3)
        flip = 1 - 2 * draws.below(2)
        start = draws.below(texture.shape[1]), draws.below(texture.shape[0])
        s, t = (flip * grain * shape.cosine, flip * grain * shape.sine), (-grain * shape.sine, grain * shape.cosine)
        gain = 256 if shape.kind == EVERYWHERE else round(draws.uniform(215, 290))
        paint(
            self.pixels,
            self.layers,
            layer,
            shape.kind,
            np.concatenate([_affine(u, shape, 0, 20), _affine(v, shape, 0, 20)]),
            window,
            texture,
            np.concatenate([_affine(s, shape, start[0], 16), _affine(t, shape, start[1], 16)]),
            gain,
        )


def _affine(direction: tuple[float, float], shape: _Shape, start: float, digits: int) -> NDArray[np.int64]:
    """Return a coordinate along ``direction`` from the shape's centre as whole numbers, for pixel centres."""
    dx, dy = direction
    zero = start + dx * (0.5 - shape.x) + dy * (0.5 - shape.y)
    return np.array([round(value * (1 << digits)) for value in (dx, dy, zero)], np.int64)


def _turn(t: float) -> tuple[float, float]:
    """Return cosine and sine of the angle with the half-angle tangent ``t``, without a library's rounding."""
    return (1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)


def _place(
    canvas: _Canvas,
    draws: HashRandom,
    knobs: SyntheticConfig,
    kind: tuple[int, int],
    taken: list[tuple[float, float, float, float]],
) -> None:
    """Place and paints one object where it fits, off the objects that stand there already."""
    family, member = kind
    for _ in range(30):
        body, part = _object(draws, knobs, kind)
        (a, b, c, d), (e, f, g, h) = body.extent, part.extent
        left, top, right, bottom = min(a, e), min(b, f), max(c, g), max(d, h)
        dx = draws.uniform(0, 1) * (canvas.size - (right - left)) - left
        dy = draws.uniform(0, 1) * (canvas.size - (bottom - top)) - top
        box = (left + dx, top + dy, right + dx, bottom + dy)
        if all(box[0] >= o[2] or o[0] >= box[2] or box[1] >= o[3] or o[1] >= box[3] for o in taken):
            break
    else:
        return  # a crowded image has fewer
    layer = FIRST + 2 * len(taken)
    taken.append(box)
    body, part = (replace(shape, x=shape.x + dx, y=shape.y + dy) for shape in (body, part))
    photo, tint = BODIES[FAMILIES[family]]
    canvas.paint(layer, body, cut_texture(photo, canvas.training, tint), draws)
    photo = PARTS[[*PARTS][(family + member) % len(PARTS)]]
    canvas.paint(layer + 1, part, cut_texture(photo, canvas.training, TINTS[MEMBERS[member]]), draws)
    if knobs.occlusion:
        _occlude(canvas, draws, body, knobs.occlusion)


def _object(draws: HashRandom, knobs: SyntheticConfig, kind: tuple[int, int]) -> tuple[_Shape, _Shape]:
    """Return body and part around the origin; together they cover ``(object_scale size)^2`` pixels on average."""
    family, member = kind
    shape, slenderness = BODY_SHAPES[family]
    area = (knobs.object_scale * knobs.size) ** 2 * draws.uniform(0.6, 1.5)
    length = math.sqrt((1 - knobs.part_size) * area / (_AREAS[shape] * slenderness))
    width = length * slenderness
    cosine, sine = _turn(draws.uniform(-0.36, 0.36))
    facing = 1 - 2 * draws.below(2)
    body = _Shape(shape, 0, 0, length, width, facing * cosine, facing * sine)
    radius = math.sqrt(knobs.part_size * area / _AREAS[PART_SHAPES[member]])
    along, aside = _turn(draws.uniform(-0.22, 0.22))
    along, aside = along * length, aside * width * (0.5 if shape == CROSS else 1)
    x, y = body.cosine * along - body.sine * aside, body.sine * along + body.cosine * aside
    return body, _Shape(PART_SHAPES[member], x, y, radius, radius, *_turn(draws.uniform(-0.2, 0.2)))


def _distract(canvas: _Canvas, draws: HashRandom, knobs: SyntheticConfig) -> None:
    texture = cut_texture(DISTRACTORS[draws.below(len(DISTRACTORS))], canvas.training)
    kind = (ELLIPSE, BLOCK, SQUARE, DIAMOND, WEDGE)[draws.below(5)]
    length = knobs.object_scale * knobs.size * draws.uniform(0.3, 0.6)
    width = length * draws.uniform(0.6, 1)
    x, y = draws.uniform(0, canvas.size), draws.uniform(0, canvas.size)
    canvas.paint(CLUTTER, _Shape(kind, x, y, length, width, *_turn(draws.uniform(-1, 1))), texture, draws)


def _occlude(canvas: _Canvas, draws: HashRandom, body: _Shape, share: float) -> None:
    """Lay a strip across the body, ``share`` of its length wide, off the end that bears the part."""
    texture = cut_texture(DISTRACTORS[draws.below(len(DISTRACTORS))], canvas.training, PLAIN)
    at = draws.uniform(share - 1, 0.6 - share) * body.length
    x, y = body.x + body.cosine * at, body.y + body.sine * at
    strip = _Shape(SQUARE, x, y, share * body.length, 1.3 * body.width, body.cosine, body.sine)
    canvas.paint(CLUTTER, strip, texture, draws)


def _light(canvas: _Canvas, draws: HashRandom) -> None:
    whole = draws.uniform(0.75, 1.2)
    gains = [whole * draws.uniform(0.94, 1.06) for _ in range(3)]
    slope = [draws.uniform(-0.25, 0.25) / canvas.size for _ in range(2)]
    fixed = [np.array([round(value * 65536) for value in values], np.int64) for values in (gains, slope)]
    light(canvas.pixels, fixed[0], fixed[1], draws.below(25), draws.bits())
