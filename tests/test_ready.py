"""What is made of a step, of a run's options and of what it runs on."""

import pytest

from fnet import ready as module
from fnet.config import Config
from fnet.environment import Runtime
from fnet.ready import ready

BOTH = {"cuda_graph": True, "cpp_wrapper": True}


@pytest.mark.parametrize(
    ("device", "compiled", "options", "expected"),
    [
        ("cpu", False, BOTH, "step"),
        ("cpu", True, {}, "compile(step)"),
        ("cpu", True, BOTH, "compile(step, cpp_wrapper)"),
        ("cuda:0", True, {}, "compile(step)"),
        ("cuda:0", True, BOTH, "cuda_graph(compile(step))"),
        ("cuda:0", False, BOTH, "step"),
        ("cuda:0", True, {"on_nonfinite": "skip"}, "compile(skip_nonfinite(step))"),
    ],
)
def test_what_is_made_of_a_step(device, compiled, options, expected, monkeypatch):
    def named(name):
        def make(step, **options):
            return f"{name}({', '.join([step, *[key for key in options if options[key]]])})"

        return make

    for name in ("compile", "cuda_graph", "skip_nonfinite", "first_call_apart"):
        monkeypatch.setattr(module, name, named(name))
    runtime = Runtime(device, "fp32", compiled, threads=1)
    assert ready("step", Config(**options), runtime) == f"first_call_apart({expected})"
