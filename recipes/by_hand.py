"""A training loop written by hand, without recipes: `python recipes/by_hand.py`."""

from fnet import data, losses, metrics, models, optim, random
from fnet.compiler import compile
from fnet.loop import evaluate, fit
from fnet.step import make_eval, make_grad, make_step

train, test = (data.load("shapes", split=split) for split in ("train", "test"))
train, test = train.take(5000), test.take(1000)
normalize = data.Normalize(*data.statistics(train))
epochs, size = 3, 50

k_init, k_data = random.split(random.key(0))
model = models.cnn()
rate = optim.schedules.one_cycle(1e-2, epochs * data.steps_per_epoch(len(train), size))
tx = optim.chain(optim.clip_by_global_norm(1.0), optim.adamw(rate, weight_decay=0.05))
params = model.init(k_init)
opt_state = tx.init(params.trainable)

grad_fn = make_grad(model, losses.cross_entropy, preprocess=normalize)
step = compile(make_step(grad_fn, tx))
eval_step = compile(make_eval(model, losses.cross_entropy, preprocess=normalize))
for record in fit(step, params, opt_state, k_data, train, size=size, epochs=epochs):
    if record.epoch_done:
        sums = evaluate(eval_step, record.params, test, size=size)
        print(record.epoch, "train", metrics.means(record.metrics), "test", metrics.means(sums))
