"""Steps on several processes against the same steps on one: `python tests/many_processes.py 4`."""

import json
import os
import sys
from functools import partial

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
import torch.distributed as dist
from forks import Launcher
from networks import batch, full

from fnet import losses, optim, random, tree
from fnet.data import NORM_HALF, augment
from fnet.nn import Params
from fnet.parallel import mean_over_processes, process_group
from fnet.step import make_grad, make_step

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


def steps(tx, dtype, wrap, size, count=STEPS):
    """Return params and summed metrics after some steps with augmentation, dropout, batch norm."""
    model = full()
    params = tree.map(lambda x: x.to(dtype), model.init(random.key(0)))
    shift = augment.compose(augment.random_crop(2), augment.random_flip())
    grad_fn = make_grad(
        model, losses.cross_entropy, preprocess=NORM_HALF, augment=shift, dtype=dtype
    )
    step, opt_state, total = make_step(wrap(grad_fn), tx), tx.init(params.trainable), []
    for seed in range(count):
        params, opt_state, sums = step(params, opt_state, batch(seed, size))
        total.append(torch.stack(list(sums.values())))
    return params, torch.stack(total)


def distance(a: Params, b: Params) -> float:
    """Return the largest |a - b| / |b| of all leaves."""
    if os.environ.get("SHOW"):
        for (path, x), y in zip(tree.flatten_with_path(a), tree.leaves(b), strict=True):
            print(path, float((x - y).norm()), float(y.norm()))
    return max(
        float((x - y).norm() / y.norm())
        for x, y in zip(tree.leaves(a), tree.leaves(b), strict=True)
        if y.norm() > 0
    )


def compare(size: int, report) -> None:
    """Write how far the steps of a group of processes are from those of one, by case."""
    alone = {name: steps(tx, dtype, lambda f: f, size) for name, (tx, dtype, _) in CASES.items()}
    found = {}
    with process_group():
        wrap = partial(mean_over_processes, sync_batch_norm=True)
        for name, (tx, dtype, _) in CASES.items():
            params, sums = steps(tx, dtype, wrap, size)
            far = (sums - alone[name][1]).abs() / alone[name][1].abs().clamp(min=1.0)
            found[name] = [distance(params, alone[name][0]), float(far.max())]
        report(found)


if __name__ == "__main__":
    size = int(sys.argv[1])

    def report(found):
        if dist.get_rank() == 0:
            print(json.dumps(found))

    codes = Launcher(size).run(lambda: compare(16, report))
    print(codes)
