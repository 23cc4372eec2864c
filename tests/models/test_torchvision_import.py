"""Importing networks leaves torch's compiler alone, and whatever asks torchvision or the compiler later gets it."""

import subprocess
import sys

import pytest

SCRIPT = """
import sys
import wsol.models
from torchvision.ops import roi_align
assert not [name for name in sys.modules if name.startswith("torch._dynamo")], "imported"
import torch
if {ask_first}:
    boxes = torch.tensor([[0.0, 0.0, 2.0, 2.0]])
    assert roi_align(torch.ones(1, 1, 4, 4), [boxes], 1).item() == 1
    stand_in = sys.modules["torchvision.ops.roi_align"].is_compile_supported
    from torch._dynamo.utils import is_compile_supported
    assert stand_in("cpu") == is_compile_supported("cpu")
import torch._dynamo
assert torch._dynamo.config.recompile_limit > 0
assert torch._dynamo.__spec__ and torch._dynamo.utils.__spec__
assert torch.compile(lambda x: x + 1, backend="eager")(torch.zeros(2)).tolist() == [1, 1]
"""


@pytest.mark.slow
@pytest.mark.parametrize("ask_first", [False, True])
def test_the_compiler_is_imported_when_it_is_used(ask_first: bool) -> None:
    script = SCRIPT.replace("{ask_first}", str(ask_first))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_torchvision_that_asks_for_more_gets_the_real_compiler() -> None:
    script = """
import sys, types
import torch
class Finder:
    def find_spec(self, name, path=None, target=None):
        import importlib.machinery
        if name == "torchvision":
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
    def create_module(self, spec):
        return None
    def exec_module(self, module):
        from torch._dynamo import config
        from torch._dynamo.utils import counters
        module.found = config.recompile_limit, counters
sys.meta_path.insert(0, Finder())
import importlib.util
spec = importlib.util.find_spec("wsol")
path = spec.submodule_search_locations[0] + "/models/_torchvision.py"
exec(compile(open(path).read(), path, "exec"), {"__name__": "alone"})
import torch._dynamo, torchvision
assert torchvision.found == (torch._dynamo.config.recompile_limit, torch._dynamo.utils.counters)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
