"""The places of a layer's output are those that its values depend on.

The reference is the network itself: one patch of the image is changed, and the positions of the output that change are
its place. Sizes are chosen so that they tell nothing.
"""

from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from wsol.errors import InputError
from wsol.models import find_classifier
from wsol.models.layout import find_layout
from wsol.models.places import is_reached, track_elements, track_images

PATCH, ROWS, COLUMNS, CHANNELS = 4, 4, 6, 24  # as many channels as places


class Patches(nn.Module):
    """Patches of 4 x 4 pixels, each seen by itself, moved about by some function."""

    def __init__(self, move: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.move = nn.Conv2d(3, CHANNELS, PATCH, PATCH), move

    def forward(self, images: Tensor) -> Tensor:
        return self.move(self.embed(images))


def tokens(maps: Tensor) -> Tensor:
    return maps.flatten(2).transpose(1, 2)


def windows(maps: Tensor) -> Tensor:
    """Tokens window by window, 2 x 2 each, as in the mask units of Hiera."""
    n, c, h, w = maps.shape
    return maps.view(n, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 3, 5, 1).reshape(n, h * w, c)


def heads(maps: Tensor) -> Tensor:
    return tokens(maps).reshape(len(maps), -1, 4, 6).transpose(1, 2)


def with_class_tokens(where: int, count: int = 1) -> Callable[[Tensor], Tensor]:
    def join(maps: Tensor) -> Tensor:
        patches = tokens(maps)
        extra = torch.ones(1, count, CHANNELS).expand(len(maps), -1, -1)
        return torch.cat([patches[:, :where], extra, patches[:, where:]], 1)

    return join


ORDER = torch.randperm(ROWS * COLUMNS, generator=torch.Generator().manual_seed(4))

MOVES: dict[str, Callable[[Tensor], Tensor]] = {
    "maps": lambda x: x,
    "channels last": lambda x: x.permute(0, 2, 3, 1),
    "columns first": lambda x: x.permute(0, 1, 3, 2),
    "tokens": tokens,
    "flat maps": lambda x: x.flatten(2),
    "tokens in reverse": lambda x: tokens(x).flip(1),
    "shuffled tokens": lambda x: tokens(x)[:, ORDER],
    "tokens by index_select": lambda x: tokens(x).index_select(1, ORDER),
    "tokens by gather": lambda x: tokens(x).gather(1, ORDER[None, :, None].expand(len(x), -1, CHANNELS)),
    "windows": windows,
    "rolled maps": lambda x: x.roll((1, 2), (2, 3)),
    "class token first": with_class_tokens(0),
    "class token last": with_class_tokens(ROWS * COLUMNS),
    "class token in the middle": with_class_tokens(11),
    "three registers": with_class_tokens(0, 3),
    "windows of batch, undone": lambda x: windows(x).reshape(-1, 4, CHANNELS).reshape(len(x), -1, CHANNELS),
    "a linear layer by einsum": lambda x: torch.einsum("nchw,cd->nhwd", x, torch.eye(CHANNELS)),
    "normalized, gated, activated": lambda x: x.softmax(1) * x.mean((2, 3), keepdim=True) + nn.functional.gelu(x),
    "attention of all places": lambda x: tokens(x) + tokens(x) @ tokens(x).transpose(1, 2) @ tokens(x) * 1e-9,
}


@pytest.mark.parametrize("name", MOVES)
def test_a_changed_patch_is_where_the_layout_says(name: str) -> None:
    net = Patches(MOVES[name]).eval()
    images = torch.randn(2, 3, PATCH * ROWS, PATCH * COLUMNS, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        layout = find_layout(net(track_images(images)), 2)
        assert layout is not None
        before, others = layout.to_maps(net(images))
        assert before.shape == (2, CHANNELS, ROWS, COLUMNS)
        torch.testing.assert_close(layout.to_output(before, others), net(images))
        for row, column in ((0, 0), (1, 4), (3, 5), (2, 0)):
            changed = images.clone()
            changed[:, :, row * PATCH : (row + 1) * PATCH, column * PATCH : (column + 1) * PATCH] += 3
            difference = (layout.to_maps(net(changed))[0] - before).abs().sum(1)
            assert divmod(int(difference[0].argmax()), COLUMNS) == (row, column)


NOT_MAPS: dict[str, Callable[[Tensor], Tensor]] = {
    "one axis averaged": lambda x: x.mean(3),
    "channels, averaged over places": lambda x: x.mean((2, 3)).reshape(len(x), 4, 6)[:, :, :],
    "windows in the batch": lambda x: windows(x).reshape(-1, 4, CHANNELS),
    "heads": heads,
    "attention of heads": lambda x: (
        tokens(x).reshape(len(x), -1, 4, 6).transpose(1, 2) @ tokens(x).reshape(len(x), -1, 4, 6).permute(0, 2, 3, 1)
    ).softmax(-1),
    "attention of channels": lambda x: x.flatten(2) @ tokens(x),
    "places mixed by a linear layer": lambda x: x.flatten(2) @ torch.ones(24, 24),
    "sorted": lambda x: x.flatten(2).sort(-1)[0],
    "a part of the places": lambda x: tokens(x)[:, :7],
    "the lower half": lambda x: x[:, :, 2:],
    "without its border": lambda x: x[:, :, 1:-1, 1:-1],
    "neighbors added": lambda x: x + x.roll(1, 3),
    "flattened": lambda x: x.flatten(1),
    "images exchanged": lambda x: x.flip(0),
    "images added": lambda x: x + x.flip(0),
    "images added by a product": lambda x: (torch.ones(2, 2) @ x.flatten(1)).view(x.shape),
    "places of a parameter": lambda x: torch.ones(2, CHANNELS, ROWS, COLUMNS) + x.mean((2, 3), keepdim=True),
}


@pytest.mark.parametrize("name", NOT_MAPS)
def test_what_has_no_places_is_not_taken_for_maps(name: str) -> None:
    images = torch.randn(2, 3, PATCH * ROWS, PATCH * COLUMNS)
    with torch.no_grad():
        assert find_layout(Patches(NOT_MAPS[name])(track_images(images)), 2) is None


STEPS = ["flip", "roll", "shuffle", "transpose", "windows", "pad", "join", "gate"]


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.sampled_from(["flip", "roll", "shuffle", "transpose", "windows", "pad", "join", "gate"]), max_size=5),
    st.integers(0, 99),
)
def test_any_sequence_of_moves(names: list[str], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(ROWS * COLUMNS, generator=generator)

    def move(maps: Tensor) -> Tensor:
        x = tokens(maps)
        for name in names:
            if name == "flip":
                x = x.flip(1)
            elif name == "roll":
                x = x.roll(5, 1)
            elif name == "shuffle":
                x = x[:, order]
            elif name == "transpose":
                x = x.reshape(len(x), 4, 6, -1).transpose(1, 2).reshape(len(x), 24, -1)
            elif name == "windows":
                x = x.reshape(len(x), 2, 12, -1).unbind(1)[1].repeat(1, 2, 1) * 0 + x
            elif name == "pad":
                x = nn.functional.pad(x, (0, 0, 0, 2))[:, :-2]
            elif name == "join":
                x = torch.cat(x.split(7, 1)[::-1], 1)
            else:
                x = x * x.mean(1, keepdim=True).sigmoid()
        return x

    net = Patches(move).eval()
    images = torch.randn(2, 3, PATCH * ROWS, PATCH * COLUMNS, generator=generator)
    with torch.no_grad():
        layout = find_layout(net(track_images(images)), 2)
        if layout is None:  # refused; never wrong
            assert "windows" in names
            return
        before = layout.to_maps(net(images))[0]
        for cell in range(0, 24, 5):
            row, column = divmod(cell, COLUMNS)
            changed = images.clone()
            changed[:, :, row * PATCH : (row + 1) * PATCH, column * PATCH : (column + 1) * PATCH] += 5
            difference = (layout.to_maps(net(changed))[0] - before).abs().sum(1)[0]
            assert divmod(int(difference.argmax()), COLUMNS) == (row, column)


def test_convolutions_divide_the_image_evenly() -> None:
    # 7 x 7 outputs of a stride of 32 belong to blocks of 32 pixels, whatever kernels, padding and poolings lie between.
    net = torchvision.models.resnet18().eval()
    seen: list[Any] = []
    net.layer4.register_forward_hook(lambda _, __, output: seen.append(output))
    with torch.no_grad():
        net(track_images(torch.randn(2, 3, 224, 224)))
    boxes = seen[0].tracker.find_boxes(seen[0].ids)[1, 0] * torch.tensor([1, 1, 7, 7, 7, 7])
    edges = torch.arange(7.0, dtype=torch.float64)
    torch.testing.assert_close(boxes[..., 2], edges[:, None].expand(7, 7), atol=1e-4, rtol=0)
    torch.testing.assert_close(boxes[..., 5], (edges + 1)[None].expand(7, 7), atol=1e-4, rtol=0)
    assert (boxes[..., :2] == 1).all()  # of the second image


def test_what_reaches_the_result() -> None:
    values = torch.randn(2, 5, 3)
    for position in range(5):
        chosen = (torch.arange(5) == position)[None, :, None]
        source = track_elements(values, chosen)
        assert is_reached(source[:, 2].softmax(-1), source) == (position == 2)
        source = track_elements(values, chosen)
        assert is_reached(source[:, 1:4].mean(1), source) == (1 <= position <= 3)
        source = track_elements(values, chosen)
        assert is_reached((source @ source.transpose(1, 2))[:, 0], source)
        source = track_elements(values, chosen)
        buffer = torch.zeros(2, 3)
        buffer.copy_(source[:, 4])  # not followed: it may have been reached
        assert is_reached(buffer, source)


@pytest.mark.parametrize("position", [0, 1, 2])
def test_whatever_an_operation_reads_reaches_its_result(position: int) -> None:
    # Attention reads keys and values, a convolution its weights, a normalization its scale.
    attend = nn.functional.scaled_dot_product_attention
    calls: list[tuple[Callable[..., Tensor], list[Tensor]]] = [
        (attend, [torch.randn(2, 1, 5, 4) for _ in range(3)]),
        (nn.functional.conv2d, [torch.randn(2, 3, 8, 8), torch.randn(4, 3, 3, 3), torch.randn(4)]),
        (lambda x, w, b: nn.functional.layer_norm(x, (4,), w, b), [torch.randn(2, 4), torch.randn(4), torch.randn(4)]),
        (torch.addmm, [torch.randn(2, 4), torch.randn(2, 3), torch.randn(3, 4)]),
        (torch.lerp, [torch.randn(2, 4) for _ in range(3)]),
    ]
    for call, tensors in calls:
        source = track_elements(tensors[position], torch.ones((1,) * tensors[position].dim()))
        plain = track_elements(tensors[0], torch.zeros((1,) * tensors[0].dim()))
        plain.tracker = source.tracker
        given = [plain if i == 0 else each for i, each in enumerate(tensors)]
        given[position] = source
        assert is_reached(call(*given), source)


@pytest.mark.slow
def test_hiera_in_the_order_of_its_mask_units() -> None:
    # Its tokens are in the order of mask units, of which timm's own ``reroll`` makes maps again.
    torch.manual_seed(0)
    net = timm.create_model("hiera_tiny_224").eval().requires_grad_(False)
    images = torch.randn(1, 3, 224, 224)
    found = find_classifier(net, "hiera", "blocks.6")
    seen: list[Tensor] = []
    net.blocks[6].register_forward_hook(lambda _, __, output: seen.append(output))
    expected = net(images)
    maps = net.reroll(seen[0], 6).permute(0, 3, 1, 2)
    features, extras = found.forward_features(images)
    assert not torch.equal(maps.flatten(2), seen[0].transpose(1, 2))  # the order is another one
    torch.testing.assert_close(features, maps)
    torch.testing.assert_close(found.forward_head(features, extras), expected)


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    ("name", "layer"),
    [
        pytest.param("swin_t", "features.1.0.attn", marks=pytest.mark.slow),
        ("timm/swin_tiny_patch4_window7_224", "layers.0.blocks.0.attn.qkv"),  # 64 windows of each image
        pytest.param("timm/swin_tiny_patch4_window7_224", "layers.0.blocks.0.attn.softmax", marks=pytest.mark.slow),
        ("timm/vit_tiny_patch16_224", "blocks.3.attn.softmax"),
        ("timm/vit_tiny_patch16_224", "head"),
    ],
)
def test_layers_without_places_are_refused(name: str, layer: str) -> None:
    bare = name.removeprefix("timm/")
    with torch.device("meta"):
        net: Any = torchvision.models.get_model(name) if bare == name else timm.create_model(bare)
    if layer.endswith("softmax"):
        for module in net.modules():
            if hasattr(module, "fused_attn"):
                module.fused_attn = False
    if name == "swin_t":  # the module returns the windows to their places
        assert find_classifier(net.eval(), name, layer).layout.grid == (56, 56)
        return
    with pytest.raises(InputError, match=r"not feature maps or patches whose places are known; name another layer"):
        find_classifier(net.eval(), name, layer)


def test_images_that_are_not_square_on_a_transformer_of_any_size() -> None:
    # 9 x 16 patches are as many as 12 x 12.
    torch.manual_seed(0)
    net = timm.create_model("vit_tiny_patch16_224", depth=2, dynamic_img_size=True).eval().requires_grad_(False)
    found = find_classifier(net, "vit")
    images = torch.randn(2, 3, 144, 256)
    features, extras = found.forward_features(images)
    assert features.shape == (2, 192, 9, 16)
    torch.testing.assert_close(found.forward_head(features, extras), net(images))
    patches = found.trunk(images)[0][:, 1:]
    torch.testing.assert_close(features[:, :, 4, 13], patches[:, 4 * 16 + 13])
