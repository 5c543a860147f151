"""Runs and steps of several processes, against those of one, and with processes that die.

    python tests/many_processes.py 4          # steps of 4 processes against those of one
    python tests/many_processes.py kills 10   # one of two workers is killed at random moments
    python tests/many_processes.py torchrun 10   # the same under a real torchrun: minutes

Processes are forked, as if torchrun had started them, so that a start costs no imports.
"""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from forks import Launcher, wait
from kills import final_state, options
from networks import batch
from pictures import draw_folder
from records import read
from torch import nn

from fnet import losses, optim, tree
from fnet.data import NORM_HALF, augment
from fnet.nn import Model, Params, check, from_module
from fnet.parallel import launched, mean_over_processes, process_group
from fnet.random import key
from fnet.run import cli, train
from fnet.run.epochs import Trainer
from fnet.step import accumulate, make_grad, make_step
from recipes import cnn

STEPS = 20
MUON = optim.partition(
    {"muon": optim.muon(0.02, weight_decay=0.01), "adam": optim.adam(3e-3)},
    lambda path, leaf: "muon" if leaf.ndim >= 2 else "adam",
)
CASES = {
    "sgd": (optim.sgd(0.05, momentum=0.9), torch.float32, 1e-5),
    "adam": (optim.adam(1e-3), torch.float64, 1e-9),
    "muon": (MUON, torch.float64, 1e-9),
}
"""Optimizers, each with a dtype and the largest distance, relative to the norm of a leaf."""


def network() -> Model:
    """Two convolutions with batch norm, dropout of elements and of channels.

    Without biases before batch norm: their gradient is exactly 0, but rounding makes it 1e-17, and
    Adam, which divides it by its own size plus 1e-8, changes them by different amounts of 1e-9.
    """
    return from_module(
        lambda: nn.Sequential(
            nn.Conv2d(3, 4, 3, bias=False),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Dropout2d(0.25),
            nn.Conv2d(4, 6, 3, bias=False),
            nn.BatchNorm2d(6, affine=False),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Flatten(),
            nn.Linear(96, 12, bias=False),
            nn.BatchNorm1d(12, momentum=0.3),
            nn.Linear(12, 5),
        ),
        memory_format=torch.channels_last,
    )


def steps(tx, dtype, wrap, size, weights=None, count=STEPS):
    """Return params and metrics after some steps with augmentation and dropout."""
    params = tree.map(lambda x: x.to(dtype), network().init(key(0)))
    moved = augment.compose(augment.random_crop(2), augment.random_flip())
    grad_fn = make_grad(
        network(), losses.cross_entropy, preprocess=NORM_HALF, augment=moved, dtype=dtype
    )
    step, opt_state, total = make_step(wrap(grad_fn), tx), tx.init(params.trainable), []
    for seed in range(count):
        rows = batch(seed, size)
        if weights is not None:
            rows = rows._replace(weight=weights)
        params, opt_state, sums = step(params, opt_state, rows)
        total.append(torch.stack(list(sums.values())))
    return params, torch.stack(total)


def distance(a: Params, b: Params) -> float:
    """Return the largest |a - b| / |b| of all leaves."""
    pairs = zip(tree.leaves(a), tree.leaves(b), strict=True)
    return max(float((x - y).norm() / y.norm()) for x, y in pairs)


def distances(size: int, file: Path) -> None:
    """Write how far the steps of a group of processes are from those of one, by case."""
    rows = 4 * size
    # Other sums of weights on each process, and one row that counts nothing.
    weights = torch.arange(rows) / rows
    sync = partial(mean_over_processes, sync_batch_norm=True)

    def all_steps(sync, local):
        found = {name: steps(tx, dtype, sync, rows) for name, (tx, dtype, _) in CASES.items()}
        adam, double, _ = CASES["adam"]
        found["weights"] = steps(adam, double, sync, rows, weights, count=4)
        # Micro-batches: those of the processes together are those of one process, in another order.
        found["local"] = steps(optim.sgd(0.05), double, local, rows, count=4)
        return found

    def of_ghosts(grad_fn):
        """Batch norm of the parts of a batch, all on one process, with averaged statistics."""
        parts = accumulate(grad_fn, size)

        def mean(params, rows):
            grads, _, sums = parts(params, rows)
            each = [grad_fn(params, part)[1] for part in rows_of(rows, size)]
            return grads, tree.map(lambda *leaves: sum(leaves) / size, *each), sums

        return mean

    alone = all_steps(lambda f: f, of_ghosts) if launched().is_first else {}
    with process_group() as world:
        found = all_steps(sync, mean_over_processes)
    if world.is_first:
        result = {}
        for name, (params, sums) in found.items():
            params_alone, sums_alone = alone[name]
            far = float((sums - sums_alone).norm() / sums_alone.norm())
            result[name] = max(distance(params, params_alone), far)
        file.write_text(json.dumps(result))


def rows_of(rows, parts):
    """Return the parts of a batch."""
    names = ("images", "labels", "index", "weight")
    cut = [getattr(rows, name).chunk(parts) for name in names]
    return [rows._replace(**dict(zip(names, part, strict=True))) for part in zip(*cut, strict=True)]


def limit_of(name: str) -> float:
    """Return the largest distance of a case of `distances`."""
    return CASES[name][2] if name in CASES else 1e-9


def start_run(arguments: list[str]) -> int:
    """Run the recipe in this process of a group, without its report, which takes longer."""
    train._write_report = lambda *_: None
    return cli.main(cnn.RECIPE, arguments)


def is_same(run: Path, straight: Path) -> bool:
    """Return whether two runs ended with the same bits; print which parts differ."""
    pairs = zip(final_state(run), final_state(straight), strict=True)
    different = [place for place, (a, b) in enumerate(pairs) if a != b]
    if different:
        print("parts of the final state that differ:", different)
    return not different


def killed_run(root: Path, kills: int, seed: int) -> tuple[int, bool]:
    """Kill one of two processes at random moments; restart both, as torchrun does.

    Returns how often that was, and whether the run ended as the undisturbed one, bit for bit.
    """
    draw = random.Random(seed)
    own = [*options(draw_folder(root / "data"), epochs=20), "--sync-bn", "--out"]
    began = time.monotonic()
    work = partial(start_run, [*own, str(root / "straight")])
    assert Launcher(2).run(work) == [0, 0]
    longest = (time.monotonic() - began) / 4
    launcher, done = Launcher(2), 0
    work = partial(start_run, [*own, str(root / "killed")])
    while True:
        processes = launcher.start(work)
        if done < kills:
            processes[0].join(draw.uniform(0, longest))
            victim = processes[draw.randrange(2)]
            done += victim.is_alive()
            victim.kill()
            victim.join()
            for process in processes:
                if process.is_alive():
                    process.terminate()
        codes = wait(processes)
        if codes == [0, 0]:
            break
    runs = [path for path in (root / "killed").iterdir() if (path / "config.json").exists()]
    assert len(runs) == 1, runs
    return done, is_same(runs[0], root / "straight" / "cnn-smoke-s0")


def killed_torchrun(root: Path, kills: int, seed: int) -> tuple[int, bool]:
    """As `killed_run`, with the launcher itself: minutes, because every start imports PyTorch."""
    draw = random.Random(seed)
    own = [*options(draw_folder(root / "data"), epochs=16), "--sync-bn", "--no-compile", "--out"]
    command = [str(Path(sys.executable).with_name("torchrun")), "--nproc-per-node", "2"]

    def start(out: str, restarts: int) -> subprocess.Popen:
        words = ["--max-restarts", str(restarts), "-m", "recipes.cnn", *own, str(root / out)]
        return subprocess.Popen([*command, *words], stderr=subprocess.DEVNULL)

    began = time.monotonic()
    assert start("straight", 0).wait() == 0
    longest = (time.monotonic() - began) / 2
    process, done = start("killed", kills), 0
    while process.poll() is None:
        time.sleep(draw.uniform(0, longest))
        if process.poll() is None and done < kills:
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            if len(children) == 2:
                os.kill(int(children[draw.randrange(2)]), signal.SIGKILL)
                done += 1
    assert process.returncode == 0
    (run,) = (root / "killed").iterdir()
    return done, is_same(run, root / "straight" / "cnn-smoke-s0")


def signalled(number: int, step: int, arguments: list[str]) -> int:
    """Run the recipe; the second process sends itself a signal after a step."""
    shown = Trainer._show

    def show(self, record, note):
        shown(self, record, note)
        if record.step == step and os.environ["RANK"] == "1":
            os.kill(os.getpid(), number)

    Trainer._show = show
    return start_run(arguments)


def disturbed_run(root: Path) -> dict[str, object]:
    """Kill one of two processes; restart both; stop one; resume both; return what happened."""
    data = draw_folder(root / "data")
    straight, run = (root / name / "cnn-smoke-s0" for name in ("straight", "disturbed"))
    own = [*options(data, epochs=2), "--out"]
    assert Launcher(2).run(partial(start_run, [*own, str(straight.parent)])) == [0, 0]
    found, launcher, arguments = {}, Launcher(2), [*own, str(run.parent)]
    found["killed"] = launcher.run(partial(signalled, signal.SIGKILL, 4, arguments))
    # The same command, as torchrun starts it again.
    found["stopped"] = launcher.run(partial(signalled, signal.SIGTERM, 8, arguments))
    found["status"] = read(run / "result.json")["status"]
    found["resumed"] = Launcher(2).run(partial(start_run, ["--resume", str(run)]))
    found["is straight"] = final_state(run) == final_state(straight)
    found["processes"] = read(run / "environment.json")["processes"]
    found["runs"] = len(list(run.parent.iterdir()))
    odd = [*own, str(root / "odd"), "--sync-bn"]
    found["--sync-bn"] = Launcher(3).run(partial(start_run, odd))
    return found


def main(what: str, number: int, root: Path) -> object:
    """Do what the command line asks for."""
    check(network(), (3, 8, 8))  # imports once, before the forks, what a dry run needs
    if what == "kills":
        return killed_run(root, number, seed=0)
    if what == "torchrun":
        return killed_torchrun(root, number, seed=0)
    if what == "disturbed":
        return disturbed_run(root)
    file = root / "distances.json"
    codes = Launcher(int(what)).run(lambda: distances(int(what), file))
    return {"codes": codes, "distances": json.loads(file.read_text())}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as root:
        os.environ.setdefault("FNET_CACHE", str(Path(root) / "cache"))
        print(json.dumps(main(sys.argv[1], int((*sys.argv, 0)[2]), Path(root))))
