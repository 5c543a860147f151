"""The compilation of a run's steps, for its runtime and its options."""

from fnet.compiler import compile
from fnet.compiler.cuda_graph import cuda_graph
from fnet.run.config import Config
from fnet.run.process import first_call_without_fragmentation
from fnet.run.runtime import Runtime
from fnet.step import EvalStep, Step, skip_nonfinite


def ready(step: Step, config: Config, runtime: Runtime) -> Step:
    """Return the training step for this config and runtime: compiled, skipping non-finite steps."""
    if config.on_nonfinite == "skip":
        step = skip_nonfinite(step)
    if runtime.compiled:
        on_cpu = runtime.device == "cpu"
        cpp_wrapper = config.cpp_wrapper and on_cpu
        step = compile(step, cpp_wrapper=cpp_wrapper, kernels=config.kernels)
        if config.cuda_graph and not on_cpu:
            step = cuda_graph(step)
    return first_call_without_fragmentation(step)


def ready_eval(step: EvalStep, config: Config, runtime: Runtime) -> EvalStep:
    """Return the evaluation step for this config and runtime, compiled if possible."""
    if runtime.compiled:
        step = compile(step, kernels=config.kernels)
    return first_call_without_fragmentation(step)
