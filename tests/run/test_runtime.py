import dataclasses
import json
import os

import pytest
import torch

from fnet.run import runtime
from fnet.run.config import ConfigError
from fnet.run.runtime import Runtime, apply_runtime, describe, missing_compiler, resolve
from fnet.run.schema import Environment
from fnet.run.typed_json import from_json, to_json


def test_auto_resolves_to_what_is_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    runtime = resolve(compile=False)
    assert (runtime.device, runtime.compiled) == ("cpu", False)
    assert runtime.threads == torch.get_num_threads()
    assert runtime.dtype == {"bf16": torch.bfloat16, "fp32": torch.float32}[runtime.precision]


@pytest.mark.parametrize(
    ("flags", "precision"),
    [
        ("fpu avx512f avx512_bf16", "bf16"),
        ("fpu avx512f amx_bf16 amx_tile", "bf16"),
        ("fpu avx512f avx512bw", "fp32"),
        ("", "fp32"),
    ],
)
def test_bf16_is_chosen_where_the_processor_has_it(monkeypatch, flags, precision):
    monkeypatch.setattr(runtime, "_cpu_info", lambda field: flags if field == "flags" else "")
    assert resolve("cpu").precision == precision
    assert resolve("cpu", "fp32").precision == "fp32"
    assert resolve("cpu", "bf16").precision == "bf16"


@pytest.mark.parametrize("device", ["toaster", "mps", "cuda:99"])
def test_a_device_that_is_not_there_is_refused(device):
    with pytest.raises(ConfigError, match=device):
        resolve(device)


def test_steps_are_compiled_where_there_is_a_compiler(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert missing_compiler() == "no C++ compiler (no-such-compiler)"
    assert not resolve("cpu").compiled
    monkeypatch.setenv("CXX", "sh")
    monkeypatch.setattr(runtime.sysconfig, "get_path", lambda name: "/nowhere")
    assert missing_compiler() == "no Python headers (Python.h)"
    monkeypatch.undo()
    monkeypatch.setattr(runtime, "missing_compiler", lambda: None)
    assert resolve("cpu").compiled
    assert not resolve("cpu", compile=False).compiled


def test_determinism_is_asked_of_a_gpu_where_the_runtime_has_it(monkeypatch):
    asked, setting = [], "CUBLAS_WORKSPACE_CONFIG"
    monkeypatch.setattr(torch, "use_deterministic_algorithms", asked.append)
    monkeypatch.setenv(setting, "")  # is brought back, and so what is set below is taken away
    monkeypatch.delenv(setting)
    cpu = Runtime("cpu", "fp32", False, torch.get_num_threads(), deterministic=True)
    apply_runtime(cpu)
    apply_runtime(dataclasses.replace(cpu, device="cuda:0", deterministic=False))
    assert not asked
    assert setting not in os.environ
    apply_runtime(dataclasses.replace(cpu, device="cuda:0"))
    assert asked == [True]
    assert os.environ[setting] == ":4096:8"


def test_the_record_is_json_and_holds_the_runtime():
    runtime = resolve("cpu")
    record = json.loads(json.dumps(to_json(describe(runtime))))
    assert from_json(Environment, record) == describe(runtime)
    assert record.items() >= dataclasses.asdict(runtime).items()
    assert record["torch"] == torch.__version__
