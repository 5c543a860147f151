"""Every private name of PyTorch that Python uses, why, and what happens without it.

A name is private if a part of it begins with one underscore, or if it is below
`torch.fx.experimental`. Each function here imports its names when it is called, so that a name
that is gone costs what its docstring says, and never an import of fnet.
"""

import warnings
from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

# The trees of PyTorch's own functions: PyTorch does not import without them either.
from torch.utils import _pytree as pytree  # noqa: F401

F = TypeVar("F", bound=Callable[..., Any])


@cache
def _gone(name: str, consequence: str) -> None:
    """Warn once about a name that this PyTorch lacks."""
    warnings.warn(f"this PyTorch has no {name}: {consequence}", stacklevel=4)


def nonstrict_trace() -> Callable[[Callable[..., Any]], Callable[..., Any]] | None:
    """Return what makes Dynamo call a function on fake tensors instead of reading its code.

    `torch.compiler` has it from 2.12 on, `torch._dynamo` before. Without it: None, and Dynamo
    reads the code of steps, as in any `torch.compile`.
    """
    try:
        from torch._dynamo import nonstrict_trace
    except ImportError:
        _gone("nonstrict_trace", "Dynamo reads the code of steps, which takes longer to start")
        return None
    return getattr(torch.compiler, "nonstrict_trace", nonstrict_trace)


def is_tracing() -> bool:
    """Say whether what runs is being compiled by `torch.compile`.

    Within `nonstrict_trace` only the tracing context knows it. Without it: the public
    `torch.compiler.is_compiling`, which knows of Dynamo alone.
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
    """Say whether what runs is within a `torch.func` transform, such as `grad` or `vmap`.

    Without the stack of transforms: False, and PyTorch's own error instead of ours.
    """
    return _innermost_transform()() is not None


@cache
def _innermost_transform() -> Callable[[], Any]:
    try:
        from torch._C._functorch import peek_interpreter_stack
    except ImportError:
        return lambda: None
    return peek_interpreter_stack


def default_device() -> torch.device:
    """Return the device of new tensors.

    The public `torch.get_default_device` takes ten times as long as to see that no mode of
    functions is entered, which a default device is. Without the stack of modes: the public one.
    """
    length = getattr(torch._C, "_len_torch_function_stack", None)
    return _CPU if length is not None and not length() else torch.get_default_device()


_CPU = torch.device("cpu")


def stance() -> str | None:
    """Return what `torch.compiler.set_stance` was told: "default", "force_eager", ...

    Without the name: None, and each call goes through Dynamo, which knows.
    """
    from torch._dynamo import eval_frame

    return getattr(getattr(eval_frame, "_stance", None), "stance", None)


def inductor(options: dict[str, Any]) -> Callable[..., Any] | str:
    """Return Inductor as a function of a graph and its inputs, as `torch.compile` makes it.

    So that what it returns can be called without Dynamo, which looks at each call for 0.05 to
    0.1 ms. Without the class: "inductor", and each call goes through Dynamo.
    """
    wrapper = getattr(torch, "_TorchCompileInductorWrapper", None)
    if wrapper is None:
        return "inductor"
    return wrapper(None, options, False)


def is_fake(x: object) -> bool:
    """Say whether `x` is a tensor of a compiler's trace: it has no data.

    Without these classes: True, and a tensor that a function closes over is not noticed.
    """
    try:
        from torch._subclasses import FakeTensor
        from torch._subclasses.functional_tensor import FunctionalTensor
    except ImportError:
        return True
    return isinstance(x, FakeTensor | FunctionalTensor)


def forget_values(inputs: Sequence[Any]) -> None:
    """Have the fake tensors that stand for 0-d integers and float64s forget the inputs' values.

    Dynamo lets a function read them (`if count > 3`), and relies on a guard. Without the
    attribute: nothing to forget.
    """
    for x in inputs:
        if getattr(x, "item_memo", None) is not None:
            x.item_memo = None


def dispatch_mode() -> type:
    """Return the class of modes that see each ATen operation.

    It is documented for this use, but lies in a private module. Without it: a class that sees
    nothing; closed-over tensors, draws and leaks are not noticed.
    """
    try:
        from torch.utils._python_dispatch import TorchDispatchMode
    except ImportError:
        _gone("TorchDispatchMode", "what a step closes over is constant")
        return _Blind
    return TorchDispatchMode


def argument_names(op: Any) -> list[str]:
    """Return the names of an ATen operation's arguments, in order.

    The schema is an attribute with an underscore. Without it: no names; an operation that may
    draw counts as one that does.
    """
    schema = getattr(op, "_schema", None)
    return [] if schema is None else [argument.name for argument in schema.arguments]


def written(op: Any, args: Sequence[Any]) -> list[Any]:
    """Return the arguments that an ATen operation writes to. Without the schema: none."""
    schema = getattr(op, "_schema", None)
    found = [] if schema is None else zip(schema.arguments, args, strict=False)
    return [value for it, value in found if it.alias_info is not None and it.alias_info.is_write]


def is_mutable(op: Any) -> bool:
    """Say whether an ATen operation writes to an argument. Without the schema: True."""
    schema = getattr(op, "_schema", None)
    return True if schema is None else schema.is_mutable


def custom_graph_pass() -> type | None:
    """Return the class of graph passes whose `uuid()` is part of Inductor's cache key.

    It is documented, but lies in a private module. None without it, or without another name that
    the kernels need: steps have the library's kernels.
    """
    try:
        from torch._inductor.custom_graph_pass import CustomGraphPass

        decompositions(), inductor_config(), CppCodeCache(), _make_fx()
    except (ImportError, AttributeError) as error:
        _gone(f"place for a graph pass ({error})", "steps take longer")
        return None
    return CustomGraphPass


def decompositions() -> dict[Any, Callable[..., Any]]:
    """Return how Inductor decomposes operations, to trace what a graph pass adds.

    Without it: no kernels of ours.
    """
    import torch._inductor.lowering  # noqa: F401 (some of them ask for it)
    from torch._inductor.decomposition import select_decomp_table

    return select_decomp_table()


def make_fx(fn: Callable[..., Any], *inputs: Any) -> torch.fx.GraphModule:
    """Return the ATen graph of `fn(*inputs)`, decomposed for Inductor.

    Traces what a graph pass adds. Without it: no kernels of ours.
    """
    return _make_fx()(fn, decomposition_table=decompositions())(*inputs)


def _make_fx() -> Callable[..., Any]:
    from torch.fx.experimental.proxy_tensor import make_fx

    return make_fx


def inductor_config() -> ModuleType:
    """Return Inductor's options, of which one allows FMA contraction in our C++.

    Without it: no kernels of ours.
    """
    from torch._inductor import config

    return config


def CppCodeCache() -> Any:  # noqa: N802
    """Return what compiles C++ and keeps the result. Without it: no kernels of ours."""
    from torch._inductor.codecache import CppCodeCache

    return CppCodeCache


def is_plain(x: Tensor) -> bool:
    """Say whether `x` is under no transform of `torch.func` but one gradient.

    Asks for functorch's stack of transforms. Without these names: False, no kernels of ours in
    batch norm and max pooling.
    """
    try:
        from torch._C._functorch import TransformType, is_batchedtensor, peek_interpreter_stack
    except ImportError:
        return False
    innermost = peek_interpreter_stack()
    alone = innermost is None or (innermost.level() == 1 and innermost.key() == TransformType.Grad)
    return alone and not is_batchedtensor(x)


def unsaved_buffers(layer: nn.Module) -> dict[str, Tensor]:
    """Return the buffers of a layer itself that its `state_dict` leaves out, by name.

    Without the set of their names: none, and `from_state_dict` asks for them.
    """
    unsaved = getattr(layer, "_non_persistent_buffers_set", ())
    return {name: x for name, x in layer.named_buffers(recurse=False) if name in unsaved}


def forward_pre_hooks(layer: nn.Module) -> list[Any]:
    """Return the hooks that run before a layer's `forward`.

    Without the registry: none, and a weight that a hook makes is not refused by its name.
    """
    return list(getattr(layer, "_forward_pre_hooks", {}).values())


def backward_hooks(owner: nn.Module | Tensor) -> bool:
    """Say whether a layer or a tensor has hooks that autograd calls in a backward pass.

    Without the registries: False, and such hooks are left out without a word.
    """
    names = ("_backward_hooks", "_backward_pre_hooks", "_post_accumulate_grad_hooks")
    return any(getattr(owner, name, None) for name in names)


def registries() -> frozenset[str]:
    """Return the attributes by which a layer keeps its tensors and layers: names, not values.

    A name that is gone is the attribute of no layer.
    """
    return frozenset({"_parameters", "_buffers", "_modules", "_non_persistent_buffers_set"})


def version(x: Tensor) -> int:
    """Return how often a tensor was written to. Without the count: 0, and no write is noticed."""
    return getattr(x, "_version", 0)


def batch_norms() -> tuple[type[nn.Module], ...]:
    """Return the classes of batch and instance norms.

    The base class, which a user's own may derive from, is private. Without it: PyTorch's own.
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
    """Copy tensors of one dtype, on a GPU in a few launches. Without the operation: one each."""
    foreach = getattr(torch, "_foreach_copy_", None)
    if foreach is not None:
        foreach(into, of)
        return
    for a, b in zip(into, of, strict=True):
        a.copy_(b)


def compiler_errors() -> tuple[type[Exception], ...]:
    """Return what is raised where the C++ compiler failed. Without the names: a traceback."""
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
    """Have a user's own `torch.compile` call `fn` while it traces, and not look into it.

    As `torch.compiler.assume_constant_result`, which takes seconds to import Dynamo. Without the
    attribute's meaning: Dynamo reads the code of `fn`.
    """
    fn._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return fn


def is_dynamos(fn: Callable[..., Any]) -> bool:
    """Say whether a function is what `torch.compile` returned.

    `fnet.testing` runs such a step as it is, with its own options. No public name says it. Without
    the private one, a compiled step that was called before is compiled once more.
    """
    return hasattr(fn, "_torchdynamo_orig_callable")


class _Blind:
    def __enter__(self) -> "_Blind":
        return self

    def __exit__(self, *_: object) -> None:
        pass
