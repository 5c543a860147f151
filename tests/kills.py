"""A run that is killed at random moments and resumed, against the run that was never disturbed.

    python tests/kills.py 200

Runs are forked, so that a kill costs no new start; saving after every step, most kills meet a
checkpoint that is being written.
"""

import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from pictures import draw_folder
from records import read, read_lines
from safetensors.torch import load_file

from fnet.run import cli, train
from recipes import mynet, net

RECIPES = {"net": net.RECIPE, "mynet": mynet.RECIPE}
TIMES = ("seconds", "images_per_second")


def options(data: Path, epochs: int = 3) -> list[str]:
    """Return the options of a run of six steps an epoch, saved after every one."""
    small = ["--variant", "smoke", "--limit", "48", "--batch-size", "8", "--data", str(data)]
    place = ["--device", "cpu", "--precision", "fp32"]
    return [*small, *place, "--epochs", str(epochs), "--checkpoint-minutes", "0"]


def final_state(directory: Path) -> tuple[object, ...]:
    """Return what must not depend on the kills: metrics, weights, the last checkpoint."""
    lines = read_lines(directory / "metrics.jsonl")
    result = read(directory / "result.json")
    newest = max((directory / "checkpoints").glob("step-*"))
    tensors = load_file(newest / "tensors.safetensors").items()
    return (
        [{k: v for k, v in line.items() if k not in TIMES} for line in lines],
        result["status"],
        result["step"],
        newest.name,
        *[(directory / f"{name}.safetensors").read_bytes() for name in ("best", "final")],
        {name: (leaf.dtype, leaf.shape, leaf.numpy().tobytes()) for name, leaf in tensors},
    )


def kill_and_resume(name: str, root: Path, kills: int, seed: int) -> int:
    """Kill a run at random moments, `kills` times at most; return how often it was killed.

    Raises:
        AssertionError: the run that ends is not the undisturbed one, bit for bit.
    """
    recipe, draw = RECIPES[name], random.Random(seed)
    own = options(draw_folder(root / "data"))
    began = time.monotonic()
    assert _start(recipe, [*own, "--out", str(root / "straight")], None) == 0
    longest = 0.35 * (time.monotonic() - began)
    straight = root / "straight" / f"{name}-smoke-s0"
    killed = root / "killed" / f"{name}-smoke-s0"
    arguments = [*own, "--out", str(root / "killed")]
    done = 0
    while True:
        limit = draw.uniform(0, longest) if done < kills else None
        code = _start(recipe, arguments, limit)
        if code == 0:
            break
        assert code == -signal.SIGKILL, f"the run ended with code {code}"
        done += 1
        if (killed / "result.json").exists():  # killed while it wrote its report
            break
        if (killed / "config.json").exists():
            arguments = ["--resume", str(killed)]
        else:  # killed before there was a run to resume
            arguments = [*own, "--out", str(root / f"killed-{done}")]
            killed = root / f"killed-{done}" / f"{name}-smoke-s0"
    assert final_state(killed) == final_state(straight)
    return done


def _start(recipe, arguments: list[str], seconds: float | None) -> int | None:
    """Run the recipe in a fork, which is killed after so many seconds; return its exit code."""
    process = multiprocessing.get_context("fork").Process(target=_child, args=(recipe, arguments))
    process.start()
    process.join(seconds)
    if process.is_alive():
        process.kill()
    process.join()
    return process.exitcode


def _child(recipe, arguments: list[str]) -> None:
    # Drawn when all is over, and taking longer than all before it.
    train._write_report = lambda *args: None
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        sys.exit(cli.main(recipe, arguments))


if __name__ == "__main__":
    wanted, seed, killed = int(sys.argv[1]), 0, 0
    while killed < wanted:
        for name in sys.argv[2:] or RECIPES:
            with tempfile.TemporaryDirectory() as root:
                began = time.monotonic()
                killed += kill_and_resume(name, Path(root), min(40, wanted - killed), seed)
                print(f"{killed} kills, {name}, seed {seed}: {time.monotonic() - began:.0f} s")
        seed += 1
