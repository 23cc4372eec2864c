"""Caffe weights: files written here byte by byte, and OpenCV's Caffe importer as the judge of what they compute."""

import contextlib
import struct
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wsol.errors import InputError
from wsol.models import find_gap, load_model
from wsol.models.caffe import IMAGENET_BGR, CaffeModel, read_caffemodel

# Numbers of caffe.proto: of a layer's settings in the newer and the older generation, and of the single settings.
SETTINGS: dict[str, tuple[str, int, int, dict[str, int]]] = {
    "Convolution": (
        "convolution_param",
        106,
        10,
        {
            **{"num_output": 1, "bias_term": 2, "pad": 3, "kernel_size": 4, "group": 5, "stride": 6, "pad_h": 9},
            **{"pad_w": 10, "kernel_h": 11, "kernel_w": 12, "stride_h": 13, "stride_w": 14, "axis": 16, "dilation": 18},
        },
    ),
    "InnerProduct": ("inner_product_param", 117, 17, {"num_output": 1, "bias_term": 2, "axis": 5, "transpose": 6}),
    "Pooling": (
        "pooling_param",
        121,
        19,
        {
            **{"pool": 1, "kernel_size": 2, "stride": 3, "pad": 4, "kernel_h": 5, "kernel_w": 6, "stride_h": 7},
            **{"stride_w": 8, "pad_h": 9, "pad_w": 10, "global_pooling": 12, "round_mode": 13},
        },
    ),
    "LRN": ("lrn_param", 118, 18, {"local_size": 1, "alpha": 2, "beta": 3, "norm_region": 4, "k": 5}),
    "ReLU": ("relu_param", 123, 30, {"negative_slope": 1}),
    "Dropout": ("dropout_param", 108, 12, {"dropout_ratio": 1}),
    "Concat": ("concat_param", 104, 9, {"concat_dim": 1, "axis": 2}),
    "Flatten": ("flatten_param", 135, 0, {"axis": 1, "end_axis": 2}),
    "Data": ("transform_param", 100, 36, {"scale": 1, "mirror": 2, "crop_size": 3, "mean_file": 4, "mean_value": 5}),
}
ENUMS = {"MAX": 0, "AVE": 1, "STOCHASTIC": 2, "ACROSS_CHANNELS": 0, "WITHIN_CHANNEL": 1, "FLOOR": 1}
V1 = {
    **{"Accuracy": 1, "Concat": 3, "Convolution": 4, "Data": 5, "Dropout": 6, "Flatten": 8, "InnerProduct": 14},
    **{"LRN": 15, "Pooling": 17, "ReLU": 18, "Softmax": 20, "SoftmaxWithLoss": 21, "Split": 22, "Eltwise": 25},
}
V1_NAMES = {"InnerProduct": "INNER_PRODUCT"}  # the others are their type in capitals


@dataclass
class Layer:
    kind: str
    name: str
    bottoms: list[str]
    tops: list[str]
    settings: dict[str, Any] = field(default_factory=dict)
    blobs: list[NDArray[np.float32]] = field(default_factory=list)


def varint(n: int) -> bytes:
    n &= 2**64 - 1
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def put(number: int, value: int | float | str | bytes) -> bytes:
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    content = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(content)) + content


def each(value: Any) -> Iterable[Any]:
    return value if isinstance(value, (list, tuple)) else (value,)


def wire_blob(blob: NDArray[np.floating], old: bool) -> bytes:
    if old:
        shape = b"".join(put(i, n) for i, n in enumerate([1] * (4 - blob.ndim) + [*blob.shape], 1))
    else:
        shape = put(7, put(1, b"".join(varint(n) for n in blob.shape)))
    return shape + put(8 if blob.dtype == np.float64 else 5, blob.tobytes())


def wire_layer(layer: Layer, old: bool) -> bytes:
    name, bottom, top, blobs = (4, 2, 3, 6) if old else (1, 3, 4, 7)
    out = put(name, layer.name) + (put(5, V1[layer.kind]) if old else put(2, layer.kind))
    out += b"".join(put(bottom, b) for b in layer.bottoms) + b"".join(put(top, t) for t in layer.tops)
    if layer.settings:
        _, new_number, old_number, numbers = SETTINGS[layer.kind]
        content = b"".join(put(numbers[k], ENUMS.get(v, v)) for k, vs in layer.settings.items() for v in each(vs))
        out += put(old_number if old else new_number, content)
    return out + b"".join(put(blobs, wire_blob(blob, old)) for blob in layer.blobs)


def wire(layers: list[Layer], old: bool) -> bytes:
    return put(1, "net") + b"".join(put(2 if old else 100, wire_layer(layer, old)) for layer in layers)


def prototxt(layers: list[Layer], old: bool, shape: tuple[int, ...]) -> str:
    out = 'input: "data"\n' + "".join(f"input_dim: {n}\n" for n in shape)
    for layer in layers:
        if layer.kind in ("Data", "Accuracy", "SoftmaxWithLoss"):
            continue
        kind = V1_NAMES.get(layer.kind, layer.kind.upper()) if old else f'"{layer.kind}"'
        out += f'{"layers" if old else "layer"} {{ name: "{layer.name}" type: {kind}\n'
        out += "".join(f'bottom: "{b}" ' for b in layer.bottoms) + "".join(f'top: "{t}" ' for t in layer.tops)
        if layer.settings:
            words = (
                (k, str(v).lower() if isinstance(v, bool) else v) for k, vs in layer.settings.items() for v in each(vs)
            )
            out += f"{SETTINGS[layer.kind][0]} {{ {' '.join(f'{k}: {v}' for k, v in words)} }}"
        out += "}\n"
    return out


RNG = np.random.default_rng(0)


def conv(name: str, bottom: str, inputs: int, outputs: int, kernel: int, **settings: Any) -> Layer:
    shape = (
        outputs,
        inputs // settings.get("group", 1),
        settings.get("kernel_h", kernel),
        settings.get("kernel_w", kernel),
    )
    blobs = [RNG.normal(0, (2 / np.prod(shape[1:])) ** 0.5, shape).astype(np.float32)]
    if settings.get("bias_term", True):
        blobs.append(RNG.normal(0, 0.5, outputs).astype(np.float32))
    size = {} if "kernel_h" in settings else {"kernel_size": kernel}
    return Layer("Convolution", name, [bottom], [name], {"num_output": outputs, **size, **settings}, blobs)


def pool(name: str, bottom: str, method: str, kernel: int, stride: int, **settings: Any) -> Layer:
    return Layer(
        "Pooling", name, [bottom], [name], {"pool": method, "kernel_size": kernel, "stride": stride, **settings}
    )


def inplace(kind: str, blob: str, **settings: Any) -> Layer:
    return Layer(kind, f"{blob}_{kind}", [blob], [blob], settings)


def linear(name: str, bottom: str, inputs: int, outputs: int, **settings: Any) -> Layer:
    blobs = [RNG.normal(0, 1, (outputs, inputs)).astype(np.float32)]
    if settings.get("bias_term", True):
        blobs.append(RNG.normal(0, 0.5, outputs).astype(np.float32))
    return Layer("InnerProduct", name, [bottom], [name], {"num_output": outputs, **settings}, blobs)


def data(**settings: Any) -> Layer:
    return Layer("Data", "data", [], ["data", "label"], settings)


def loss(bottom: str) -> Layer:
    return Layer("SoftmaxWithLoss", f"loss_{bottom}", [bottom, "label"], [f"loss_{bottom}"])


def vgg() -> list[Layer]:
    return [
        data(mean_value=[103.5, 116.25, 123.0], crop_size=32, mirror=True),
        conv("conv1", "data", 3, 8, 3, pad=1),
        inplace("ReLU", "conv1"),
        pool("pool1", "conv1", "MAX", 2, 2),
        conv("conv2", "pool1", 8, 12, 3, pad=2, dilation=2, bias_term=False),
        inplace("ReLU", "conv2", negative_slope=0.125),
        conv("CAM_conv", "conv2", 12, 16, 3, pad=1, group=2),
        inplace("ReLU", "CAM_conv"),
        pool("CAM_pool", "CAM_conv", "AVE", 16, 16),
        inplace("Dropout", "CAM_pool", dropout_ratio=0.25),
        linear("fc", "CAM_pool", 16, 5, bias_term=False),
        loss("fc"),
        Layer("Accuracy", "top1", ["fc", "label"], ["top1"]),
    ]


def googlenet() -> list[Layer]:
    return [
        data(mean_value=104.0, scale=0.5),
        conv("conv1/7x7", "data", 3, 8, 7, pad=3, stride=2),
        inplace("ReLU", "conv1/7x7"),
        pool("pool1", "conv1/7x7", "MAX", 3, 2),
        Layer("LRN", "norm1", ["pool1"], ["norm1"], {"local_size": 5, "alpha": 0.5, "beta": 0.75}),
        Layer("Split", "split", ["norm1"], ["norm1_0", "norm1_1", "norm1_2", "norm1_3"]),
        conv("a/1x1", "norm1_0", 8, 4, 1),
        conv("a/1x3", "norm1_1", 8, 6, 0, kernel_h=1, kernel_w=3, pad_h=0, pad_w=1, stride_h=1, stride_w=1),
        pool("a/pool", "norm1_2", "MAX", 3, 1, pad=1),
        pool("a/average", "norm1_3", "AVE", 3, 1, pad=1),
        Layer("Concat", "a/output", ["a/1x1", "a/1x3", "a/pool", "a/average"], ["a/output"]),
        pool("loss1/pool", "a/output", "AVE", 5, 3),
        linear("loss1/fc", "loss1/pool", 26 * 16, 7),
        loss("loss1/fc"),
        pool("pool2", "a/output", "AVE", 3, 2, pad=1),
        conv("CAM_conv", "pool2", 26, 12, 3, pad=1),
        pool("CAM_pool", "CAM_conv", "AVE", 7, 7),
        linear("fc", "CAM_pool", 12, 7),
        loss("fc"),
    ]


def alexnet() -> list[Layer]:
    return [
        conv("conv1", "data", 3, 8, 5, stride=2),
        inplace("ReLU", "conv1"),
        pool("pool1", "conv1", "MAX", 3, 2),
        Layer("LRN", "norm1", ["pool1"], ["norm1"], {"local_size": 3, "alpha": 0.25, "beta": 0.5}),
        conv("conv2", "norm1", 8, 12, 3, pad=1, group=2),
        inplace("ReLU", "conv2"),
        pool("pool2", "conv2", "AVE", 3, 2),
        conv("conv3", "pool2", 12, 12, 3, pad=1, group=4),
        pool("pool3", "conv3", "MAX", 5, 1),
        linear("fc", "pool3", 12, 6),
        Layer("Softmax", "prob", ["fc"], ["prob"]),
    ]


NETS = {"vgg": (vgg(), 32), "googlenet": (googlenet(), 47), "alexnet": (alexnet(), 47)}
MEANS = {"vgg": (103.5, 116.25, 123.0), "googlenet": (104.0,) * 3, "alexnet": IMAGENET_BGR}


def read(folder: Path, layers: list[Layer], old: bool = False) -> CaffeModel:
    path = folder / "net.caffemodel"
    path.write_bytes(wire(layers, old))
    return read_caffemodel(path)


def scores(model: CaffeModel, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    with torch.inference_mode():
        return model.network(model.preprocessing.normalize(pixels, torch.device("cpu"))).numpy()


@pytest.mark.parametrize("old", [False, True], ids=["layer", "layers"])
@pytest.mark.parametrize("name", NETS)
def test_opencv(tmp_path: Path, name: str, old: bool) -> None:
    cv2 = pytest.importorskip("cv2")
    if not hasattr(cv2.dnn, "readNetFromCaffe"):
        pytest.skip("OpenCV 5 has no Caffe importer; install opencv-python-headless<5")
    layers, side = NETS[name]
    model = read(tmp_path, layers, old)
    pixels = np.random.default_rng(1).integers(0, 256, (2, side, side, 3), np.uint8)
    (tmp_path / "net.prototxt").write_text(prototxt(layers, old, (2, 3, side, side)))
    judge = cv2.dnn.readNetFromCaffe(str(tmp_path / "net.prototxt"), str(tmp_path / "net.caffemodel"))
    scale = 0.5 if name == "googlenet" else 1.0
    judge.setInput(cv2.dnn.blobFromImages([*pixels[..., ::-1]], scale, mean=MEANS[name], swapRB=False))
    expected = judge.forward("fc")
    np.testing.assert_allclose(scores(model, pixels), expected, atol=1e-5 * np.abs(expected).max(), rtol=0)


@pytest.mark.parametrize("name", NETS)
def test_gap_is_found(tmp_path: Path, name: str) -> None:
    layers, side = NETS[name]
    network = read(tmp_path, layers).network
    gap = find_gap(network, name)
    assert gap.pooling == ("max" if name == "alexnet" else "average")
    assert gap.linear is not None
    images = torch.randn(2, 3, side + 30, side + 10)  # larger than the crops of training
    with torch.inference_mode():
        torch.testing.assert_close(gap(images), network(images))
        assert min(gap.features(images).shape[2:]) > 1
    assert not any("loss1" in key for key in network.state_dict())
    assert not network.training


@pytest.mark.parametrize("name", NETS)
def test_preprocessing(tmp_path: Path, name: str) -> None:
    preprocessing = read(tmp_path, NETS[name][0]).preprocessing
    scale = 0.5 if name == "googlenet" else 1.0
    assert preprocessing.mean == pytest.approx([value / 255 for value in MEANS[name][::-1]])
    assert preprocessing.std == pytest.approx([1 / 255 / scale] * 3)


def test_mean_of_a_file_that_is_not_at_hand(tmp_path: Path) -> None:
    model = read(tmp_path, [data(mean_file="mean.binaryproto", scale=0.25), *alexnet()])
    assert model.preprocessing.mean == pytest.approx([value / 255 for value in IMAGENET_BGR[::-1]])
    assert model.preprocessing.std == pytest.approx([4 / 255] * 3)


def features(folder: Path, *middle: Layer, channels: int = 4) -> Callable[[Tensor], Tensor]:
    """What layers make of the images, in float64: a convolution before them passes BGR and a fourth channel, B + G."""
    weights = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0]], np.float32).reshape(4, 3, 1, 1)
    settings = {"num_output": 4, "kernel_size": 1, "bias_term": False}
    first = Layer("Convolution", "first", ["data"], ["first"], settings, [weights])
    last = middle[-1].tops[0]
    tail = [pool("pool", last, "AVE", 7, 1), linear("fc", "pool", channels, 2)]
    network: Any = read(folder, [first, *middle, *tail]).network.double()
    outputs: list[Tensor] = []
    list(network.layers.values())[len(middle)].register_forward_hook(lambda _, __, output: outputs.append(output))

    def run(images: Tensor) -> Tensor:
        network(images)
        return outputs.pop()

    return run


@pytest.fixture
def images() -> Tensor:
    return torch.randn(2, 3, 6, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_response_normalization_by_hand(tmp_path: Path, images: Tensor) -> None:
    made = features(
        tmp_path, Layer("LRN", "lrn", ["first"], ["lrn"], {"local_size": 3, "alpha": 0.5, "beta": 0.25, "k": 2.0})
    )
    b, g, r = images.flip(1).unbind(1)
    # Channels B, G, R, B + G; the sum goes over the neighbors and alpha is divided by three.
    expected = g / (2 + 0.5 / 3 * (b**2 + g**2 + r**2)) ** 0.25
    torch.testing.assert_close(made(images)[:, 1], expected)
    torch.testing.assert_close(made(images)[:, 0], b / (2 + 0.5 / 3 * (b**2 + g**2)) ** 0.25)


@pytest.mark.parametrize("method", ["MAX", "AVE"])
@pytest.mark.parametrize(("kernel", "stride", "pad"), [(3, 2, 0), (3, 2, 1), (2, 2, 1), (4, 3, 2), (2, 1, 0)])
def test_pooling_by_hand(tmp_path: Path, images: Tensor, method: str, kernel: int, stride: int, pad: int) -> None:
    made = features(tmp_path, pool("middle", "first", method, kernel, stride, pad=pad))(images)[:, :3]
    windows = []
    for size in images.shape[2:]:
        # Rounded up; a window that would start in the padding behind the map is left out.
        count = -((size + 2 * pad - kernel) // -stride) + 1
        count -= pad > 0 and (count - 1) * stride >= size + pad
        windows.append([i * stride - pad for i in range(count)])
    assert made.shape[2:] == (len(windows[0]), len(windows[1]))
    H, W = images.shape[2:]
    for i, y in enumerate(windows[0]):
        for j, x in enumerate(windows[1]):
            window = images.flip(1)[..., max(y, 0) : y + kernel, max(x, 0) : x + kernel]
            # The average counts the padding, though nothing beyond it.
            area = (min(y + kernel, H + pad) - y) * (min(x + kernel, W + pad) - x)
            expected = window.amax((2, 3)) if method == "MAX" else window.sum((2, 3)) / area
            torch.testing.assert_close(made[..., i, j], expected)


def test_rounding_down(tmp_path: Path, images: Tensor) -> None:
    made = features(tmp_path, pool("middle", "first", "MAX", 3, 2, round_mode="FLOOR"))
    assert made(images).shape[2:] == (2, 4)


def test_sides_of_their_own(tmp_path: Path, images: Tensor) -> None:
    sides = {"kernel_h": 2, "kernel_w": 4, "stride_h": 2, "stride_w": 3, "pad_h": 1, "pad_w": 2}
    pooled = Layer("Pooling", "middle", ["first"], ["middle"], {"pool": "MAX", **sides})
    first = features(tmp_path, inplace("Dropout", "first"))(images)
    expected = torch.max_pool2d(first, (2, 4), (2, 3), (1, 2), ceil_mode=True)
    torch.testing.assert_close(features(tmp_path, pooled)(images), expected)
    named = conv("middle", "first", 4, 5, 0, **sides)
    expected = torch.conv2d(first, *(torch.from_numpy(b).double() for b in named.blobs), (2, 3), (1, 2))
    torch.testing.assert_close(features(tmp_path, named, channels=5)(images), expected)
    named.settings = {"num_output": 5, "kernel_size": [2, 4], "stride": [2, 3], "pad": [1, 2]}
    torch.testing.assert_close(features(tmp_path, named, channels=5)(images), expected)


def test_defaults(tmp_path: Path, images: Tensor) -> None:
    first = features(tmp_path, inplace("ReLU", "first"))(images)
    made = features(tmp_path, inplace("ReLU", "first"), inplace("LRN", "first"))(images)
    torch.testing.assert_close(made, nn.LocalResponseNorm(5, 1, 0.75, 1)(first))
    pooled = Layer("Pooling", "middle", ["first"], ["middle"], {"kernel_size": 2})
    made = features(tmp_path, inplace("ReLU", "first"), pooled)(images)
    torch.testing.assert_close(made, torch.max_pool2d(first, 2, 1))
    pooled.settings = {"pool": "AVE", "global_pooling": True}
    made = features(tmp_path, inplace("ReLU", "first"), pooled)(images)
    torch.testing.assert_close(made, first.mean((2, 3), keepdim=True))
    network = read(tmp_path, [*alexnet()[:9], inplace("Dropout", "pool3"), *alexnet()[9:]]).network
    assert [module.p for module in network.modules() if isinstance(module, nn.Dropout)] == [0.5]


def test_every_layer_that_reads_the_image_takes_rgb(tmp_path: Path, images: Tensor) -> None:
    branches = [conv("a", "data_0", 3, 2, 3, pad=1), conv("b", "data_1", 3, 4, 1), conv("c", "data", 3, 1, 1)]
    layers = [
        Layer("Split", "split", ["data"], ["data_0", "data_1"]),
        *branches,
        Layer("Concat", "all", ["a", "b", "c"], ["all"]),
        pool("pool", "all", "AVE", 6, 1),
        linear("fc", "pool", 7, 3),
    ]
    bgr = images.flip(1).float()
    maps = [
        torch.conv2d(bgr, *map(torch.from_numpy, branch.blobs), padding=branch.settings.get("pad", 0))
        for branch in branches
    ]
    weight, bias = map(torch.from_numpy, layers[-1].blobs)
    expected = torch.cat(maps, 1).mean((2, 3)) @ weight.T + bias
    torch.testing.assert_close(read(tmp_path, layers).network(images.float()), expected)


def test_class_maps_without_a_linear_layer(tmp_path: Path, images: Tensor) -> None:
    last = pool("pool", "conv", "AVE", 6, 1)
    layers = [conv("conv", "data", 3, 5, 1), last, Layer("Flatten", "flat", ["pool"], ["flat"])]
    network = read(tmp_path, layers).network
    assert network(images.float()).shape == (2, 5)
    assert find_gap(network, "net").linear is None
    last.settings = {"pool": "AVE", "global_pooling": True}
    torch.testing.assert_close(read(tmp_path, layers[:2]).network(images.float()), network(images.float()))


def test_weights_of_double_precision(tmp_path: Path, images: Tensor) -> None:
    layers = alexnet()
    single = read(tmp_path, layers).network.state_dict()
    for layer in layers:
        layer.blobs = [blob.astype(np.float64) for blob in layer.blobs]
    double = read(tmp_path, layers).network.state_dict()
    assert all(torch.equal(double[key], value) for key, value in single.items())


def test_layer_names_run_nothing(tmp_path: Path, images: Tensor) -> None:
    layers = [
        conv('a.b/1"), 1/0, ("', "data", 3, 4, 1),
        pool("", 'a.b/1"), 1/0, ("', "AVE", 6, 1),
        linear("pop", "", 4, 2),
    ]
    network = read(tmp_path, layers).network
    torch.testing.assert_close(find_gap(network, "net")(images.float()), network(images.float()))


def changed(kind: str, blobs: list[NDArray[Any]] | None = None, **settings: Any) -> Callable[[list[Layer]], None]:
    """Changes the last layer of a type."""

    def change(layers: list[Layer]) -> None:
        layer = next(layer for layer in reversed(layers) if layer.kind == kind)
        layer.settings |= settings
        layer.blobs = layer.blobs if blobs is None else blobs

    return change


def zeros(*shape: int) -> NDArray[np.float32]:
    return np.zeros(shape, np.float32)


@pytest.mark.parametrize("old", [False, True], ids=["layer", "layers"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (changed("InnerProduct", []), r"layer 'fc' of type 'InnerProduct' has no weights; use"),
        (
            changed("Convolution", [zeros(12, 3, 3, 3)]),
            r"'conv3' of type 'Convolution' has 1 weight tensors where .* require 2;",
        ),
        (changed("InnerProduct", [zeros(6, 13), zeros(6)]), r"has 78 weights of shape .*13\) .* require \(6, 12\);"),
        (changed("InnerProduct", num_output=7), r"has 72 weights of shape .*6, 12\) .* require \(7, 12\);"),
        (changed("InnerProduct", num_output=2**32 - 1), r"require \(4294967295, 12\);"),
        (changed("InnerProduct", [zeros(0, 12), zeros(0)], num_output=0), r"has 0 weights"),
        (changed("Convolution", kernel_size=5), r"has 324 weights of shape \(12, 3, 3, 3\) .* \(12, 3, 5, 5\);"),
        (changed("Convolution", group=0), "has 0 groups for 12 to 12 channels;"),
        (changed("Convolution", group=5), "has 5 groups for 12 to 12 channels;"),
        (changed("Convolution", stride=0), r"has stride \[0\], which must be one or two numbers from 1 to 1024;"),
        (
            changed("Convolution", pad=[1, 1, 1]),
            r"has pad \[1, 1, 1\], which must be one or two numbers from 0 to 1024;",
        ),
        (changed("Convolution", axis=2), "has axis 2; only 1 can be read"),
        (changed("InnerProduct", axis=2), "has axis 2; only 1 can be read"),
        (lambda n: n.insert(9, inplace("Concat", "pool3", axis=2)), "has axis 2; only 1 can be read"),
        (lambda n: n.insert(9, inplace("Concat", "pool3", concat_dim=0)), "has concat_dim 0; only 1 can be read"),
        (changed("InnerProduct", transpose=True), "has transpose True; only False can be read"),
        (changed("LRN", norm_region="WITHIN_CHANNEL"), "has norm_region 1; only 0 can be read"),
        (changed("LRN", local_size=4), "has local_size 4, which must be odd and at most 1024;"),
        (
            lambda n: setattr(n[6], "settings", {"pool": "AVE"}),
            r"'pool2' of type 'Pooling' has kernel_size \[0\], which must",
        ),
        (lambda n: n[6].settings.update(pad=2), r"'pool2' of type 'Pooling' pads by \(2, 2\); only up to half"),
        (lambda n: n[6].settings.update(pool="STOCHASTIC"), "pools by method 2; only 0, max, and 1, average,"),
        (lambda n: n.insert(9, inplace("Dropout", "pool3", dropout_ratio=1.5)), r"has dropout_ratio 1.5, which must"),
        (lambda n: n.insert(0, inplace("ReLU", "data")), "reads the image; only networks whose first layer"),
        (lambda n: n[0].bottoms.append("data"), r"'conv1' of type 'Convolution' reads 2 blobs instead of one;"),
        (lambda n: n[7].bottoms.append("depth"), r"not computed from one image but from 'data', 'depth'; only"),
        (lambda n: n[9].bottoms.clear(), r"not computed from one image but from 'fc'; only networks"),
        (
            lambda n: n.insert(9, inplace("Eltwise", "pool3")),
            r"'pool3_Eltwise' of type 'Eltwise' is not supported; only",
        ),
        (
            lambda n: n.insert(0, data(mean_value=[1.0, 2.0])),
            r"'data' of type 'Data' has 2 mean values and scale 1; only one or",
        ),
        (lambda n: n.insert(0, data(scale=0.0)), r"has 0 mean values and scale 0; only one or"),
    ],
)
def test_networks_that_cannot_be_read(
    tmp_path: Path, change: Callable[[list[Layer]], None], message: str, old: bool
) -> None:
    layers = alexnet()
    change(layers)
    with pytest.raises(InputError, match=message) as caught:
        read(tmp_path, layers, old)
    assert str(caught.value).startswith(str(tmp_path / "net.caffemodel") + ": ")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "net.caffemodel"
    content = wire(alexnet(), old=False)
    for written, message in [
        (b"", "is not a .caffemodel file: it has no layers with weights;"),
        (put(1, "net") + put(200, b"something else"), "it has no layers with weights;"),
        (b"PK\x03\x04" * 50, "is not a .caffemodel file, or only part of one; download it again"),
        (content[: len(content) // 2], "is not a .caffemodel file, or only part of one; download it again"),
        (content.replace(b"norm1", b"norm\xff"), "is not a .caffemodel file, or only part of one; download it again"),
        (wire(alexnet(), old=True).replace(put(5, 18), put(5, 77)), r"of type 'number 77' is not supported;"),
        (wire([*alexnet()[:9], inplace("Flatten", "pool3", axis=2), *alexnet()[9:]], old=False), "has axis 2; only 1"),
        (
            wire([*alexnet()[:9], inplace("Flatten", "pool3", end_axis=2), *alexnet()[9:]], old=False),
            "has end_axis 2; only -1",
        ),
        (put(100, put(7, b"")), "not computed from one image but from ''; only"),
    ]:
        path.write_bytes(written)
        with pytest.raises(InputError, match=message):
            read_caffemodel(path)
    path.unlink()
    with pytest.raises(InputError, match=r"cannot be read \(No such file or directory\); check --weights"):
        read_caffemodel(path)


def test_damage_is_always_an_input_error(tmp_path: Path) -> None:
    path = tmp_path / "net.caffemodel"
    layers = [conv("conv", "data", 3, 2, 1), pool("pool", "conv", "AVE", 6, 1), linear("fc", "pool", 2, 2)]
    content = wire([data(mean_value=104.0), *layers, loss("fc")], old=False)
    rng = np.random.default_rng(0)
    for _ in range(150):
        damaged = bytearray(content[: rng.integers(1, len(content) + 1)] if rng.random() < 0.3 else content)
        for place in rng.integers(0, len(damaged), 2):
            damaged[place] = rng.integers(0, 256)
        path.write_bytes(damaged)
        with contextlib.suppress(InputError):
            read_caffemodel(path)


def test_a_file_brings_its_own_network(tmp_path: Path) -> None:
    # Seven convolutions, as AlexNet*-GAP has them; only their number is compared with the name.
    layers = [
        conv(f"c{i}", f"c{i - 1}" if i else "data", 4 if i else 3, 4, 3, pad=1, stride=2 - i % 2) for i in range(7)
    ]
    layers += [pool("gap", "c6", "AVE", 14, 14), linear("fc", "gap", 4, 5)]
    (tmp_path / "w.caffemodel").write_bytes(wire(layers, old=False))
    model = load_model("alexnet-star-gap", tmp_path / "w.caffemodel")
    assert (model.classes, model.weights, model.network.layer) == (5, "w.caffemodel", "layers.6_c6")
    assert model.preprocessing.mean == pytest.approx([value / 255 for value in reversed(IMAGENET_BGR)])
    images = torch.rand(2, 3, 224, 224)
    with torch.no_grad():
        torch.testing.assert_close(model.network(images), read_caffemodel(tmp_path / "w.caffemodel").network(images))
    with pytest.raises(InputError, match=r"w\.caffemodel has 7 convolutions, vgg16-gap has 14; fix --model"):
        load_model("vgg16-gap", tmp_path / "w.caffemodel")
    with pytest.raises(InputError, match=r"w\.caffemodel defines its own network; leave out --map-size"):
        load_model("alexnet-star-gap", tmp_path / "w.caffemodel", map_size=14)


WITHOUT_PROTOBUF = """
import sys
sys.modules["google.protobuf"] = None
from wsol.errors import InputError
from wsol.models import load_model
from wsol.selfchecks.checks.packages import CHECKS
for check in CHECKS.values():
    check()
try:
    load_model("alexnet-star-gap", sys.argv[1])
except InputError as error:
    print(error)
"""


@pytest.mark.slow
def test_protobuf_is_optional(tmp_path: Path) -> None:
    path = tmp_path / "net.caffemodel"
    path.write_bytes(wire(alexnet(), old=False))
    output = subprocess.run(
        [sys.executable, "-c", WITHOUT_PROTOBUF, str(path)], check=True, capture_output=True, text=True
    ).stdout
    assert output == "a .caffemodel file needs the package protobuf; pip install 'wsol[caffe]'\n"
