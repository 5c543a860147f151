"""The fnet contender: the computation of `python -m recipes.NAME`, without display and files.

As in the recipes, and unlike the peers, the process disables Triton if there is no GPU, and
does not return freed memory to the operating system.
"""

from fnet.run.process import leave_out_triton

leave_out_triton()

from collections.abc import Iterator
from dataclasses import replace

import torch

from fnet import random
from fnet.evaluation import EVAL_BATCH
from fnet.loop import evaluate, fit
from fnet.metrics import Metrics
from fnet.run.compiled import ready, ready_eval
from fnet.run.process import map_large_blocks
from fnet.run.runtime import Runtime
from recipes.bench.arrays import open_config, open_work
from recipes.bench.contender import Stream, Streams
from recipes.bench.devices import waiting
from recipes.bench.work import Work

_FOREVER = 10**9


def training(work: Work, cuda_graph: bool = False) -> Streams:
    """Return the steps of `fit`, and evaluations of up to `EVAL_BATCH` test images each.

    `cuda_graph` is the option `--cuda-graph` of the recipes.
    """
    map_large_blocks()
    torch.set_num_threads(work.threads)
    experiment, splits = open_work(work)
    train, test = splits.train.to(work.device), splits.test.to(work.device)
    runtime = Runtime(work.device, "bf16" if work.bf16 else "fp32", work.compiled, work.threads)
    config = replace(open_config(work), cuda_graph=cuda_graph)
    step, train = experiment.train_step(train, runtime.dtype)
    step = ready(step, config, runtime)
    eval_step, (test,) = experiment.eval_step(test, dtype=runtime.dtype)
    eval_step = ready_eval(eval_step, config, runtime)

    init_key, data_key = random.split(random.key(0, work.device))
    params = experiment.model.init(init_key)
    opt_state = experiment.tx.init(params.trainable)
    records = fit(step, params, opt_state, data_key, train, size=work.batch_size, epochs=_FOREVER)
    few = test.take(min(EVAL_BATCH, len(test)))

    def evaluations() -> Iterator[Metrics]:
        while True:
            yield evaluate(eval_step, params, few, size=len(few))

    wait = waiting(work.device)
    return {
        "train": Stream(records, work.batch_size, wait),
        "eval": Stream(evaluations(), len(few), wait),
    }
