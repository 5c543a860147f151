"""Steps as a run takes them: compiled, and whatever else the run's options ask for."""

from fnet.compiler import compile
from fnet.compiler.cuda_graph import cuda_graph
from fnet.run.config import Config
from fnet.run.process import first_call_apart
from fnet.run.runtime import Runtime
from fnet.step import EvalStep, Step, skip_nonfinite


def ready(step: Step, config: Config, runtime: Runtime) -> Step:
    """Return the step as a run of this config takes it on this runtime."""
    if config.on_nonfinite == "skip":
        step = skip_nonfinite(step)
    if runtime.compiled:
        on_cpu = runtime.device == "cpu"
        step = compile(step, cpp_wrapper=config.cpp_wrapper and on_cpu)
        if config.cuda_graph and not on_cpu:
            step = cuda_graph(step)
    return first_call_apart(step)


def ready_eval(step: EvalStep, runtime: Runtime) -> EvalStep:
    """Return the evaluation step as a run takes it on this runtime."""
    return first_call_apart(compile(step) if runtime.compiled else step)
