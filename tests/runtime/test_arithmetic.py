"""The context that sets torch's switches: what is set inside, what is there afterwards, and which thread waits."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from threading import Barrier, Event, Thread

import pytest
import torch
from torch_switches import (
    BACKENDS,
    IS_NEW,
    arithmetic_of,
    list_new_switches,
    lower_everything,
    read_switches,
    restored_switches,
)

from wsol.errors import InputError
from wsol.runtime.precision import arithmetic, check_precision

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    with restored_switches():
        yield


def set_new(**values: str) -> Callable[[], None]:
    def apply() -> None:
        for name, value in values.items():
            list_new_switches()[name.replace("_", ".")].fp32_precision = value

    return apply


def disable_convolutions() -> None:
    BACKENDS.cudnn.allow_tf32 = False


def change_bfloat16_sums() -> None:
    BACKENDS.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    BACKENDS.cudnn.deterministic = True


HOSTS: dict[str, Callable[[], None]] = {
    "torch's defaults": lambda: None,
    "all that is fast": lower_everything,
    "convolutions in float32": disable_convolutions,
    "products in TF32": lambda: torch.set_float32_matmul_precision("high"),
    "sums of bfloat16": change_bfloat16_sums,
}
NEW_HOSTS: dict[str, Callable[[], None]] = {
    "everything in TF32": set_new(everything="tf32"),
    "everything in bfloat16": set_new(everything="bf16"),
    "everything in IEEE float32": set_new(everything="ieee"),
    "cuDNN alone": set_new(cudnn="ieee"),
    "one kind against the other": set_new(cudnn_conv="ieee", cuda_matmul="tf32"),
    "oneDNN": set_new(onednn_matmul="bf16", onednn_conv="tf32"),
    "behind each other": set_new(everything="ieee", cudnn="tf32", cudnn_rnn="ieee"),
}
ALL_HOSTS = {**HOSTS, **(NEW_HOSTS if IS_NEW else {})}


@pytest.mark.parametrize("host", ALL_HOSTS.values(), ids=ALL_HOSTS.keys())
def test_inside_and_afterwards(host: Callable[[], None]) -> None:
    host()
    before = read_switches()
    for precision, expected in (("float32", "ieee"), ("tf32", "tf32"), ("bfloat16", "ieee")):
        with arithmetic(precision):
            inside = read_switches()
            with suppress(ZeroDivisionError), arithmetic("tf32" if expected == "ieee" else "float32"):
                assert arithmetic_of(read_switches()) == {"ieee": "tf32", "tf32": "ieee"}[expected]
                raise ZeroDivisionError
            assert read_switches() == inside
        assert arithmetic_of(inside) == expected
        assert (inside["benchmark"], inside["deterministic"], inside["bfloat16 sums"]) == (False, True, True)
        assert read_switches() == before
    with arithmetic("float32", repeatable=False):
        inside = read_switches()
    assert arithmetic_of(inside) == "ieee"
    assert [inside[name] for name in ("benchmark", "deterministic")] == [before["benchmark"], before["deterministic"]]
    with pytest.raises(ZeroDivisionError), arithmetic("float32"):
        raise ZeroDivisionError
    assert read_switches() == before


@pytest.mark.skipif(not IS_NEW, reason="torch has one kind of switches")
@pytest.mark.parametrize("behind", ["everything", "cudnn"])
def test_what_follows_another_switch_still_follows_it(behind: str) -> None:
    BACKENDS.cudnn.allow_tf32 = False  # follows
    with arithmetic("float32"), arithmetic("tf32"):
        pass
    set_new(**{behind: "tf32"})()
    assert BACKENDS.cudnn.conv.fp32_precision == "tf32"
    set_new(**{behind: "ieee"})()
    assert BACKENDS.cudnn.conv.fp32_precision == "ieee"


def test_a_host_that_allows_less_precise_products_gets_the_same_bits() -> None:
    """Processors with instructions for bfloat16 round to it where the host program allows that; others show nothing."""
    one, other = torch.randn(2, 256, 256, generator=torch.Generator().manual_seed(0)).unbind()
    expected = one @ other
    lower_everything()
    with arithmetic("float32"):
        assert torch.equal(one @ other, expected)


def test_autocast_of_a_host_program_has_no_effect() -> None:
    layer, inputs = torch.nn.Linear(8, 8), torch.randn(3, 8)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(inputs).dtype == torch.bfloat16
        with arithmetic("float32"):
            assert layer(inputs).dtype == torch.float32
        assert torch.is_autocast_enabled("cpu")


def test_threads_of_another_arithmetic_wait_and_others_do_not() -> None:
    lower_everything()
    before, seen = read_switches(), []
    together, leave = Barrier(3, timeout=20), Event()

    def compute(precision: str, *, waits: bool) -> None:
        with arithmetic(precision):
            if not waits:
                together.wait()
                leave.wait(20)
            seen.append(arithmetic_of(read_switches()))

    same = [Thread(target=compute, args=("float32",), kwargs={"waits": False}) for _ in range(2)]
    other = Thread(target=compute, args=("tf32",), kwargs={"waits": True})
    for each in same:
        each.start()
    together.wait()  # both are inside at once
    other.start()
    other.join(0.2)
    assert seen == []
    leave.set()
    for each in (*same, other):
        each.join(20)
    assert seen == ["ieee", "ieee", "tf32"]
    assert read_switches() == before


def test_threads_that_enter_another_arithmetic_inside_do_not_wait_for_each_other_forever() -> None:
    before, seen = read_switches(), []
    together = Barrier(2, timeout=20)

    def compute() -> None:
        for _ in range(20):
            with arithmetic("float32"):
                with suppress(Exception):  # the last round of one may have no other
                    together.wait(0.05)
                with arithmetic("tf32"):
                    seen.append(arithmetic_of(read_switches()))
                seen.append(arithmetic_of(read_switches()))

    threads = [Thread(target=compute) for _ in range(2)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(20)
    assert (len(seen), seen.count("tf32"), seen.count("ieee")) == (80, 40, 40)
    assert read_switches() == before


def test_what_a_device_does_not_compute_in_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    for precision in ("float32", "bfloat16"):
        check_precision(precision, CPU)
    with pytest.raises(InputError, match=r"^tf32 is a format of GPUs, and the device is cpu; leave out --precision$"):
        check_precision("tf32", CPU)
    with pytest.raises(InputError, match=r"^there is no precision 'float16'; give float32, tf32, bfloat16$"):
        check_precision("float16", CPU)  # type: ignore[arg-type]  # as a user might
    gpu = torch.device("cuda:0")
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Old GPU")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    with pytest.raises(InputError, match=r"^Old GPU has no TF32, which GPUs have from compute capability 8.0; leave"):
        check_precision("tf32", gpu)
    check_precision("float32", gpu)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    check_precision("tf32", gpu)


@pytest.mark.parametrize(
    ("variable", "value", "device", "refused"),
    [
        ("ONEDNN_DEFAULT_FPMATH_MODE", "BF16", "cpu", "float32 bfloat16"),
        ("DNNL_DEFAULT_FPMATH_MODE", "any", "cpu", "float32 bfloat16"),
        ("DNNL_DEFAULT_FPMATH_MODE", "strict", "cpu", ""),
        ("NVIDIA_TF32_OVERRIDE", "0", "cuda:0", "tf32"),
        ("NVIDIA_TF32_OVERRIDE", "1", "cuda:0", "float32 bfloat16"),
    ],
)
def test_a_variable_of_the_environment_that_decides_otherwise(
    variable: str, value: str, device: str, refused: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setenv(variable, value)
    precisions = ("float32", "bfloat16") if device == "cpu" else ("float32", "tf32", "bfloat16")
    for precision in precisions:
        if precision in refused.split():
            with pytest.raises(InputError, match=f"^{variable}={value} in the environment .*; unset it$"):
                check_precision(precision, torch.device(device))
        else:
            check_precision(precision, torch.device(device))
