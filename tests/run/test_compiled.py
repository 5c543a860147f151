"""What is made of a step, of a run's options and of what it runs on."""

import pytest

from fnet.run import compiled as module
from fnet.run.compiled import ready, ready_eval
from fnet.run.config import Config
from fnet.run.runtime import Runtime

BOTH = {"cuda_graph": True, "cpp_wrapper": True}


@pytest.fixture
def named(monkeypatch):
    """Have what is made of a step be its name."""

    def namer(name):
        def make(step, **options):
            told = [key for key, value in options.items() if value not in (False, "auto")]
            return f"{name}({', '.join([step, *told])})"

        return make

    for name in ("compile", "cuda_graph", "skip_nonfinite", "first_call_without_fragmentation"):
        monkeypatch.setattr(module, name, namer(name))


@pytest.mark.parametrize(
    ("device", "compiled", "options", "expected"),
    [
        ("cpu", False, BOTH, "step"),
        ("cpu", True, {}, "compile(step)"),
        ("cpu", True, BOTH, "compile(step, cpp_wrapper)"),
        ("cpu", True, {"kernels": "library"}, "compile(step, kernels)"),
        ("cuda:0", True, {}, "compile(step)"),
        ("cuda:0", True, BOTH, "cuda_graph(compile(step))"),
        ("cuda:0", False, BOTH, "step"),
        ("cuda:0", True, {"on_nonfinite": "skip"}, "compile(skip_nonfinite(step))"),
    ],
)
def test_what_is_made_of_a_step(device, compiled, options, expected, named):
    runtime = Runtime(device, "fp32", compiled, threads=1)
    assert (
        ready("step", Config(**options), runtime) == f"first_call_without_fragmentation({expected})"
    )


@pytest.mark.parametrize(("compiled", "expected"), [(False, "step"), (True, "compile(step)")])
def test_what_is_made_of_an_evaluation_step(compiled, expected, named):
    runtime = Runtime("cpu", "fp32", compiled, threads=1)
    assert ready_eval("step", Config(), runtime) == f"first_call_without_fragmentation({expected})"
