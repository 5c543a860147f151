"""The private names of PyTorch that our Python code uses, each with its fallback.

A name is private if a part of it begins with one underscore, or if it is below
`torch.fx.experimental`. Each function here imports its names when it is called. So if a future
PyTorch removes a name, the fallback in the docstring applies, and `import fnet` never fails.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

# Pytrees. No fallback: PyTorch itself cannot be imported without this module.
from torch.utils import _pytree as pytree  # noqa: F401

F = TypeVar("F", bound=Callable[..., Any])


@cache
def _warn_missing(name: str, consequence: str) -> None:
    """Warn once about a name that this PyTorch lacks."""
    warnings.warn(f"this PyTorch has no {name}: {consequence}", stacklevel=4)


def nonstrict_trace() -> Callable[[Callable[..., Any]], Callable[..., Any]] | None:
    """Return the decorator that makes Dynamo call a function on fake tensors.

    Otherwise Dynamo would trace its bytecode. It is in `torch.compiler` from 2.12 on, in
    `torch._dynamo` before. Without it: None, and Dynamo traces the bytecode of steps, as in any
    `torch.compile`.
    """
    try:
        from torch._dynamo import nonstrict_trace
    except ImportError:
        _warn_missing("nonstrict_trace", "Dynamo traces the bytecode of steps, so they start later")
        return None
    return getattr(torch.compiler, "nonstrict_trace", nonstrict_trace)


def is_tracing() -> bool:
    """Return whether `torch.compile` is tracing the running code.

    Within `nonstrict_trace` only the tracing context tells this. Without it: the public
    `torch.compiler.is_compiling`, which only detects Dynamo.
    """
    return torch.compiler.is_compiling() or _tracing_context()() is not None


@cache
def _tracing_context() -> Callable[[], Any]:
    try:
        from torch._guards import TracingContext
    except ImportError:
        return lambda: None
    return TracingContext.try_get


def is_transformed() -> bool:
    """Return whether the running code is inside a `torch.func` transform or a dual level.

    Without functorch's interpreter stack: False, and PyTorch's own error instead of ours. Without
    the number of the dual level: a compiled function drops tangents.
    """
    in_dual_level = getattr(forward_ad, "_current_level", -1) >= 0
    return in_dual_level or _innermost_transform()() is not None


@cache
def _innermost_transform() -> Callable[[], Any]:
    try:
        from torch._C._functorch import peek_interpreter_stack
    except ImportError:
        return lambda: None
    return peek_interpreter_stack


def default_device() -> torch.device:
    """Return the default device of new tensors.

    A default device is a torch function mode. Checking that no such mode is active takes a tenth of
    the time of the public `torch.get_default_device`. Without the mode stack: the public function.
    """
    length = getattr(torch._C, "_len_torch_function_stack", None)
    return _CPU if length is not None and not length() else torch.get_default_device()


_CPU = torch.device("cpu")


def stance() -> str | None:
    """Return the current stance of `torch.compiler.set_stance`: "default", "force_eager", ...

    Without the name, or if the stance forces a backend: None, and each call goes through Dynamo,
    which checks the stance itself.
    """
    from torch._dynamo import eval_frame

    stance = getattr(eval_frame, "_stance", None)
    return None if getattr(stance, "backend", None) else getattr(stance, "stance", None)


def inductor(options: dict[str, Any]) -> Callable[..., Any] | str:
    """Return Inductor as a backend function of a graph and its inputs, as `torch.compile` makes it.

    What the backend returns can then be called without Dynamo, which takes 0.05 to 0.1 ms per call.
    Without the class: the name "inductor", and each call goes through Dynamo.
    """
    wrapper = getattr(torch, "_TorchCompileInductorWrapper", None)
    if wrapper is None:
        return "inductor"
    return wrapper(None, options, False)


def is_fake(x: object) -> bool:
    """Return whether `x` is a fake or functional tensor of a trace, which has no data.

    Without these classes: True, and a tensor that a function closes over is not detected.
    """
    try:
        from torch._subclasses import FakeTensor
        from torch._subclasses.functional_tensor import FunctionalTensor
    except ImportError:
        return True
    return isinstance(x, FakeTensor | FunctionalTensor)


def forget_values(inputs: Sequence[Any]) -> None:
    """Remove the values that Dynamo memoizes in fake 0-d integer and float64 tensors.

    Dynamo lets a function read these values (`if count > 3`) and adds a guard; we drop the guards.
    If this PyTorch has no such attribute, it does not memoize, and nothing is done.
    """
    for x in inputs:
        if getattr(x, "item_memo", None) is not None:
            x.item_memo = None


def dispatch_mode() -> type:
    """Return `TorchDispatchMode`, the base class of modes that intercept each ATen operation.

    It is documented for this use, but is in a private module. Without it: a class that intercepts
    nothing; closed-over tensors, random draws and leaked tensors are not detected.
    """
    try:
        from torch.utils._python_dispatch import TorchDispatchMode
    except ImportError:
        _warn_missing("TorchDispatchMode", "tensors that a step closes over become constants")
        return _NoDispatchMode
    return TorchDispatchMode


def arguments(op: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a call of an ATen operation by name, also those left at defaults.

    The schema is a private attribute. Without it: only those given by name; an operation that may
    draw random numbers is treated as one that does.
    """
    schema = getattr(op, "_schema", None)
    known = [] if schema is None else schema.arguments
    defaults = {it.name: it.default_value for it in known if it.has_default_value()}
    given = zip((it.name for it in known), args, strict=False)
    return {**defaults, **dict(given), **kwargs}


def written(op: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Any]:
    """Return the arguments that an ATen operation writes to. Without the schema: none."""
    schema = getattr(op, "_schema", None)
    known = [] if schema is None else schema.arguments
    values = arguments(op, args, kwargs)
    changed = [it.name for it in known if it.alias_info is not None and it.alias_info.is_write]
    return [values[name] for name in changed if name in values]


def is_mutable(op: Any) -> bool:
    """Return whether an ATen operation writes to an argument. Without the schema: True."""
    schema = getattr(op, "_schema", None)
    return True if schema is None else schema.is_mutable


def custom_graph_pass() -> type | None:
    """Return the class of graph passes whose `uuid()` is part of Inductor's cache key.

    It is documented, but is in a private module. Without it, or without another name that our
    kernels need: None, and steps use the library's kernels.
    """
    try:
        from torch._inductor.custom_graph_pass import CustomGraphPass

        decompositions(), inductor_config(), CppCodeCache(), _make_fx()
    except (ImportError, AttributeError) as error:
        _warn_missing(f"hook for a graph pass ({error})", "steps take longer")
        return None
    return CustomGraphPass


def decompositions() -> dict[Any, Callable[..., Any]]:
    """Return Inductor's decompositions, for tracing the operations that a graph pass inserts.

    Without them: the library's kernels.
    """
    import torch._inductor.lowering  # noqa: F401 (some decompositions need it)
    from torch._inductor.decomposition import select_decomp_table

    return select_decomp_table()


def make_fx(fn: Callable[..., Any], *inputs: Any) -> torch.fx.GraphModule:
    """Return the ATen graph of `fn(*inputs)`, decomposed for Inductor.

    It traces the operations that a graph pass inserts. Without it: the library's kernels.
    """
    return _make_fx()(fn, decomposition_table=decompositions())(*inputs)


def _make_fx() -> Callable[..., Any]:
    from torch.fx.experimental.proxy_tensor import make_fx

    return make_fx


def inductor_config() -> ModuleType:
    """Return Inductor's options; one of them allows FMA contraction in our C++.

    Without it: the library's kernels.
    """
    from torch._inductor import config

    return config


def CppCodeCache() -> Any:  # noqa: N802
    """Return Inductor's cache of compiled C++. Without it: the library's kernels."""
    from torch._inductor.codecache import CppCodeCache

    return CppCodeCache


def is_plain(x: Tensor) -> bool:
    """Return whether `x` is under no `torch.func` transform, or under a single `grad` only.

    It inspects functorch's interpreter stack. Without these names: False, and batch norm and max
    pooling use the library's kernels.
    """
    try:
        from torch._C._functorch import TransformType, is_batchedtensor, peek_interpreter_stack
    except ImportError:
        return False
    innermost = peek_interpreter_stack()
    alone = innermost is None or (innermost.level() == 1 and innermost.key() == TransformType.Grad)
    return alone and not is_batchedtensor(x)


def unsaved_buffers(layer: nn.Module) -> dict[str, Tensor]:
    """Return a layer's own non-persistent buffers by name: its `state_dict` leaves them out.

    Without the set of their names: none, and `from_state_dict` requires them.
    """
    unsaved = getattr(layer, "_non_persistent_buffers_set", ())
    return {name: x for name, x in layer.named_buffers(recurse=False) if name in unsaved}


def forward_pre_hooks(layer: nn.Module) -> list[Any]:
    """Return the hooks that run before a layer's `forward`.

    Without the registry: none, and a weight that a hook computes gets no error that names the hook.
    """
    return list(getattr(layer, "_forward_pre_hooks", {}).values())


def backward_hooks(owner: nn.Module | Tensor) -> bool:
    """Return whether a layer or a tensor has hooks that autograd calls in a backward pass.

    Without the registries: False, and such hooks are silently ignored.
    """
    names = ("_backward_hooks", "_backward_pre_hooks", "_post_accumulate_grad_hooks")
    return any(getattr(owner, name, None) for name in names)


def registries() -> frozenset[str]:
    """Return the names of the attributes in which a layer registers its tensors and sublayers.

    If PyTorch drops a name, no layer has such an attribute, and the name has no effect.
    """
    return frozenset({"_parameters", "_buffers", "_modules", "_non_persistent_buffers_set"})


def version(x: Tensor) -> int:
    """Return a tensor's version counter. Without it: 0, and in-place writes are not detected."""
    return getattr(x, "_version", 0)


def batch_norms() -> tuple[type[nn.Module], ...]:
    """Return the classes of batch and instance norms.

    Their base class, from which a user's class may derive, is private. Without it: only PyTorch's
    own classes.
    """
    base = getattr(nn.modules.batchnorm, "_NormBase", None)
    own: tuple[type[nn.Module], ...] = (
        nn.BatchNorm1d,
        nn.BatchNorm2d,
        nn.BatchNorm3d,
        nn.SyncBatchNorm,
    )
    own += nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d
    return own if base is None else (*own, base)


def copy_all(into: list[Tensor], of: list[Tensor]) -> None:
    """Copy tensors of one dtype, on a GPU in a few launches. Without it: one launch per tensor."""
    foreach = getattr(torch, "_foreach_copy_", None)
    if foreach is not None:
        foreach(into, of)
        return
    for a, b in zip(into, of, strict=True):
        a.copy_(b)


def compiler_errors() -> tuple[type[Exception], ...]:
    """Return the exceptions raised if the C++ compiler fails. Without the names: a traceback."""
    errors = []
    for module, name in (
        ("torch._dynamo.exc", "BackendCompilerFailed"),
        ("torch._inductor.exc", "InductorError"),
    ):
        try:
            errors.append(getattr(import_module(module), name))
        except (ImportError, AttributeError):
            continue
    return tuple(errors)


def constant(fn: F) -> F:
    """Mark `fn` so that a user's own `torch.compile` calls it during tracing as a constant.

    As `torch.compiler.assume_constant_result`, which imports Dynamo, for seconds. If the attribute
    loses its meaning: Dynamo traces the bytecode of `fn`.
    """
    fn._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return fn


def is_torch_compiled(fn: Callable[..., Any]) -> bool:
    """Return whether `torch.compile` returned this function.

    `fnet.testing` runs such a step without compiling it again, so that it keeps its own options.
    There is no public name for this check. Without the private one: False, and the step is compiled
    once more.
    """
    return hasattr(fn, "_torchdynamo_orig_callable")


class _NoDispatchMode:
    def __enter__(self) -> "_NoDispatchMode":
        return self

    def __exit__(self, *_: object) -> None:
        pass
