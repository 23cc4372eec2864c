"""Training methods that change images or the pooling, compared with loops over pixels."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from wsol.errors import InputError
from wsol.training import Recipe, Stage, train
from wsol.training.methods import TrainMethod, find_train_method
from wsol.training.methods.cutmix import place_interval

SMOOTHING = 0.1
CLASSES = 3


class Recorder:
    """A linear network in double precision, which keeps the images that it is given."""

    def __init__(self, side: int) -> None:
        generator = torch.Generator().manual_seed(1)
        self.weight = torch.randn(3 * side * side, CLASSES, generator=generator, dtype=torch.float64) / side
        self.weight.requires_grad_()
        self.images = torch.empty(0)

    def __call__(self, images: Tensor) -> Tensor:
        self.images = images.clone()
        return images.flatten(1) @ self.weight


def make_batch(n: int, side: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(n, 3, side, side, generator=generator, dtype=torch.float64)
    return images, torch.randint(CLASSES, (n,), generator=generator)


def compute(method: TrainMethod, network: Recorder, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    torch.manual_seed(5)
    criterion = nn.CrossEntropyLoss(label_smoothing=SMOOTHING)
    return method.compute_loss(network, images.clone(), labels, criterion)


def smoothed_target(label: int) -> list[float]:
    return [SMOOTHING / CLASSES + (1 - SMOOTHING) * (c == label) for c in range(CLASSES)]


def check_loss_and_gradient(
    network: Recorder, loss: Tensor, images: list[list[float]], targets: list[list[float]]
) -> None:
    """Compare with the cross-entropy and its gradient, ``x (softmax - target) / n``, written as sums."""
    weight = network.weight.tolist()
    expected, gradient = 0.0, [[0.0] * CLASSES for _ in weight]
    for image, target in zip(images, targets, strict=True):
        scores = [sum(x * w[c] for x, w in zip(image, weight, strict=True)) for c in range(CLASSES)]
        total = math.log(sum(math.exp(score) for score in scores))
        expected -= sum(t * (score - total) for t, score in zip(target, scores, strict=True)) / len(images)
        for x, row in zip(image, gradient, strict=True):
            for c in range(CLASSES):
                row[c] += x * (math.exp(scores[c] - total) - target[c]) / len(images)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    (found,) = torch.autograd.grad(loss, network.weight)
    torch.testing.assert_close(found, torch.tensor(gradient, dtype=torch.float64), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("grid", "side"), [(4, 8), (3, 8), (8, 8), (1, 4)])
def test_has_hides_cells_with_a_probability(grid: int, side: int) -> None:
    images, labels = make_batch(5, side)
    network = Recorder(side)
    loss, logits = compute(find_train_method(f"has:grid={grid},rate=0.4"), network, images, labels)
    torch.manual_seed(5)
    draws = torch.rand(5, 1, grid, grid).tolist()
    expected = images.clone()
    for i in range(5):
        for y in range(side):
            for x in range(side):
                if draws[i][0][math.floor(y * grid / side)][math.floor(x * grid / side)] < 0.4:
                    expected[i, :, y, x] = 0
    assert not torch.equal(expected, images)
    assert torch.equal(network.images, expected)
    torch.testing.assert_close(logits, (expected.flatten(1) @ network.weight).float())
    check_loss_and_gradient(network, loss, expected.flatten(1).tolist(), [smoothed_target(int(i)) for i in labels])


def test_has_draws_every_cell_and_image_independently() -> None:
    images = torch.ones(4000, 3, 4, 4)
    network = Recorder(4)
    find_train_method("has:grid=2,rate=0.3").compute_loss(
        lambda given: network(given.double()), images, torch.zeros(4000, dtype=torch.int64), nn.CrossEntropyLoss()
    )
    hidden = (network.images[:, 0, ::2, ::2] == 0).flatten(1).double()
    # The standard error of a share of 0.3 among 4,000 is 0.007, that of a correlation 0.016.
    assert hidden.mean(0).tolist() == pytest.approx([0.3] * 4, abs=0.03)
    correlations = torch.corrcoef(torch.cat([hidden, hidden.roll(1, 0)], 1).T).fill_diagonal_(0)
    assert correlations.abs().max() < 0.07
    assert torch.equal(network.images, torch.kron(1 - hidden.view(-1, 1, 2, 2), torch.ones(1, 3, 2, 2)))


@pytest.mark.parametrize("side", [7, 8])
@pytest.mark.parametrize("alpha", [0.5, 1.0, 3.0])
def test_cutmix_pastes_a_box_and_mixes_the_labels_by_its_area(alpha: float, side: int) -> None:
    images, labels = make_batch(6, side)
    network = Recorder(side)
    loss, _ = compute(find_train_method(f"cutmix:alpha={alpha}"), network, images, labels)
    torch.manual_seed(5)
    _, x, y = torch.rand(3, dtype=torch.float64).tolist()
    parameter = torch.tensor(alpha, dtype=torch.float64)
    share = torch.distributions.Beta(parameter, parameter).sample().item()
    order = torch.randperm(6).tolist()
    half = side * math.sqrt(1 - share) / 2
    x0, x1 = (round(min(max(x * side + sign * half, 0), side)) for sign in (-1, 1))
    y0, y1 = (round(min(max(y * side + sign * half, 0), side)) for sign in (-1, 1))
    expected, replaced = images.clone(), 0
    for row in range(side):
        for column in range(side):
            if y0 <= row < y1 and x0 <= column < x1:
                replaced += 1
                for i in range(6):
                    expected[i, :, row, column] = images[order[i], :, row, column]
    assert 0 < replaced < side * side
    assert torch.equal(network.images, expected)
    kept = 1 - replaced / side**2
    targets = []
    for i in range(6):
        mine, other = smoothed_target(int(labels[i])), smoothed_target(int(labels[order[i]]))
        targets.append([kept * a + (1 - kept) * b for a, b in zip(mine, other, strict=True)])
    check_loss_and_gradient(network, loss, expected.flatten(1).tolist(), targets)


def test_cutmix_boxes_by_hand() -> None:
    assert place_interval(0.5, 0.5, 8) == (2, 6)
    assert place_interval(0.1, 0.5, 10) == (0, 4)  # from -1.5 to 3.5, rounded to even
    assert place_interval(0.9, 0.6, 10) == (6, 10)
    assert place_interval(0.3, 0.0, 10) == (3, 3)
    assert place_interval(0.5, 1.0, 7) == (0, 7)


def test_cutmix_mixes_steps_with_a_probability_and_lambda_is_of_the_beta_distribution() -> None:
    images = torch.arange(2.0)[:, None, None, None].expand(2, 1, 64, 64)  # a pasted pixel is a changed one
    shares = []
    torch.manual_seed(0)
    criterion, labels = nn.CrossEntropyLoss(), torch.tensor([0, 1])

    def run(given: Tensor) -> Tensor:
        shares.append(float((given[0] == 1).double().mean()))
        return given.mean((2, 3)).repeat(1, 2)

    for _ in range(400):
        find_train_method("cutmix:probability=0.5").compute_loss(run, images.clone(), labels, criterion)
    # Half of the steps are mixed, and the order of two images is changed in half of these.
    assert sum(share > 0 for share in shares) / 400 == pytest.approx(0.25, abs=0.06)
    # A uniform area with a uniform center: each side is clipped to (1 - r / 4) r on average, and r^2 is uniform.
    mixed = torch.tensor([share for share in shares if share > 0])
    expected = sum((r - r * r / 4) ** 2 * 2 * r * 0.001 for r in (i / 1000 for i in range(1001)))
    assert float(mixed.mean()) == pytest.approx(expected, abs=0.06)


@pytest.mark.parametrize("alpha", ["0.01", "1000"])
def test_cutmix_takes_extreme_distributions(alpha: str) -> None:
    images, labels = make_batch(3, 4)
    assert compute(find_train_method(f"cutmix:alpha={alpha}"), Recorder(4), images, labels)[0].isfinite()


@pytest.mark.parametrize("name", ["has:rate=0", "cutmix:probability=0"])
def test_methods_that_change_nothing_are_plain_training(name: str) -> None:
    images, labels = make_batch(4, 6)
    results = [compute(find_train_method(each), Recorder(6), images, labels) for each in (name, "cam")]
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("has:grid=0", "training method has: grid is 0, which must be 1 or more"),
        ("has:grid=4.5", "training method has: grid cannot be '4.5'; give an integer, such as its default, 4"),
        ("has:rate=1.5", "training method has: rate is 1.5, which must be from 0 to 1"),
        ("has:rate=nan", "training method has: rate is nan, which must be from 0 to 1"),
        ("cutmix:alpha=0", "training method cutmix: alpha is 0.0, which must be 0.01 or more and finite"),
        ("cutmix:alpha=inf", "training method cutmix: alpha is inf, which must be 0.01 or more and finite"),
        ("cutmix:probability=-1", "training method cutmix: probability is -1.0, which must be from 0 to 1"),
        ("tap:theta=1", "training method tap: theta is 1.0, which must be 0 or more and below 1"),
    ],
)
def test_settings_are_checked(name: str, message: str) -> None:
    with pytest.raises(InputError) as raised:
        find_train_method(name)
    assert str(raised.value) == message


def test_has_needs_a_pixel_per_cell() -> None:
    has = find_train_method("has:grid=33")
    has.prepare(nn.Identity(), "any", 33)
    with pytest.raises(InputError, match=r"^has cannot divide images of 32 x 32 into 33 x 33 cells; give a s"):
        has.prepare(nn.Identity(), "any", 32)


def test_tap_names_the_network() -> None:
    name: Callable[[str], str] = find_train_method("tap:theta=0.25").name_network
    assert name("resnet18-gap") == "resnet18-tap:theta=0.25"
    assert name("vgg16-gap") == "vgg16-tap:theta=0.25"
    for refused in ("resnet18", "resnet18-gmp", "alexnet-star-gap", "resnet18-tap:theta=0.1", "net.py:make"):
        with pytest.raises(InputError, match=f"has a NAME-tap, which '{refused}' is not; give another --model or --tr"):
            name(refused)


def test_the_cells_of_has_fit_in_the_smallest_images_of_a_curriculum(tmp_path: Path) -> None:
    recipe = Recipe((Stage(1, 64, 4), Stage(1, 32, 4)))
    with pytest.raises(InputError, match=r"^has cannot divide images of 32 x 32 into 40 x 40 cells"):
        train("squeezenet1_1-gap", recipe=recipe, train_method="has:grid=40", out=tmp_path / "out", device="cpu")
