"""The runtime of a run, resolved once and recorded."""

import os
import platform
import shutil
import sysconfig
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

import numpy
import torch

from fnet.parallel import World
from fnet.run.config import ConfigError, Precision
from fnet.run.schema import Environment


@dataclass(frozen=True)
class Runtime:
    """The device and numerical settings of a run, which together with the versions fix its bits.

    Attributes:
        device: "cpu", "cuda:0", ...
        precision: the precision of the forward and backward pass; weights are always float32.
        compiled: whether steps are compiled.
        threads: threads of one operation on the CPU.
        deterministic: whether a GPU uses only deterministic algorithms.
        processes: the number of processes, each on its own device or with its own threads.
    """

    device: str
    precision: Literal["bf16", "fp32"]
    compiled: bool
    threads: int
    deterministic: bool = False
    processes: int = 1

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the forward and backward pass."""
        return torch.bfloat16 if self.precision == "bf16" else torch.float32


def resolve(
    device: str = "auto",
    precision: Precision = "auto",
    compile: bool = True,
    *,
    deterministic: bool = False,
    world: World = World(),  # noqa: B008 (frozen)
) -> Runtime:
    """Return the runtime for these options on this machine, of this process of a world.

    The device "auto" is the GPU if there is one; the precision "auto" is bf16 if the device has
    bf16 matrix instructions. Steps are compiled if there is a C++ compiler (`missing_compiler`).
    Each process of a world has its own GPU, or an equal share of the machine's cores as threads.

    Raises:
        ConfigError: there is no such device.
    """
    if world.size > 1 and device not in ("auto", "cpu", "cuda"):
        raise ConfigError(
            f"--device {device} is one device, and with torchrun each process has its own: give "
            "auto, cpu or cuda"
        )
    place = _device(world.device(device))
    if precision == "auto":
        precision = "bf16" if _gains_from_bf16(place) else "fp32"
    compiled = compile and missing_compiler() is None
    return Runtime(str(place), precision, compiled, _threads(world), deterministic, world.size)


def apply_runtime(runtime: Runtime) -> None:
    """Apply the process-wide part of a runtime: the threads, and determinism on a GPU."""
    if runtime.threads != torch.get_num_threads():
        torch.set_num_threads(runtime.threads)
    if runtime.deterministic and runtime.device != "cpu":
        # cuBLAS reads this variable when it is initialised.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)


def missing_compiler() -> str | None:
    """Return what is missing on this machine to compile steps, or None."""
    compiler = os.environ.get("CXX", "clang++" if platform.system() == "Darwin" else "g++")
    if shutil.which(compiler) is None:
        return f"no C++ compiler ({compiler})"
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        return "no Python headers (Python.h)"
    return None


def describe(runtime: Runtime) -> Environment:
    """Return the content of `environment.json`: the runtime, the machine, the versions."""
    place = torch.device(runtime.device)
    gpu = torch.cuda.get_device_name(place) if place.type == "cuda" else None
    return Environment(
        **asdict(runtime),
        cpu=_cpu_info("model name") or platform.processor() or platform.machine(),
        gpu=gpu,
        cores=os.cpu_count(),
        system=platform.system(),
        python=platform.python_version(),
        torch=str(torch.__version__),
        torchvision=metadata.version("torchvision"),
        numpy=numpy.__version__,
    )


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    try:
        place = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"there is no device {name!r}: give auto, cpu, cuda or cuda:1") from None
    if place.type == "cuda":
        count = torch.cuda.device_count()
        if (place.index or 0) >= count:
            raise ConfigError(
                f"there is no device {name!r}: PyTorch finds {count} GPUs; give auto, cpu or cuda"
            )
        return torch.device("cuda", place.index or 0)
    if place.type != "cpu":
        raise ConfigError(f"fnet runs on cpu and cuda devices, not on {name!r}: give one of these")
    return torch.device("cpu")


def _threads(world: World) -> int:
    """Return the threads of one operation: a share of the cores, or $OMP_NUM_THREADS.

    torchrun sets the variable to 1 if it is not set.
    """
    if world.size == 1 or os.environ.get("OMP_NUM_THREADS", "1") != "1":
        return torch.get_num_threads()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, (cores or 1) // world.local_size)


def _gains_from_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    flags = _cpu_info("flags").split() or _cpu_info("Features").split()
    return not {"avx512_bf16", "amx_bf16", "bf16"}.isdisjoint(flags)


def _cpu_info(field: str) -> str:
    """Return the first value of a field of /proc/cpuinfo, or "" if there is none."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(field)), "")
