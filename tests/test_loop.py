import weakref

import pytest
import torch
from networks import full

from fnet import data, metrics, optim, random, tree
from fnet.data import Dataset, batch_at, batches
from fnet.loop import evaluate, fit, scan
from fnet.losses import cross_entropy
from fnet.step import make_eval, make_grad, make_step


def preprocess(images):
    return images.to(torch.float32) / 255


MODEL = full()
TX = optim.sgd(0.1, momentum=0.9)
STEP = make_step(make_grad(MODEL, cross_entropy, preprocess=preprocess), TX)
KEY = random.key(7)


def dataset(n=20):
    images = random.randint(random.key(1), (n, 8, 8, 3), 0, 256).to(torch.uint8)
    classes = ("a", "b", "c", "d", "e")
    return Dataset(images.permute(0, 3, 1, 2), torch.arange(n) % 5, classes, "noise")


def start():
    params = MODEL.init(random.key(0))
    return params, TX.init(params.trainable)


def test_fit_holds_no_state_that_its_caller_has_let_go():
    params, state = start()
    first = weakref.ref(params.trainable["0.weight"])
    records = fit(STEP, params, state, KEY, dataset(), size=8, epochs=2)
    del params, state
    next(records)
    assert first() is None


def test_scan_is_the_loop_written_out():
    params, state = start()
    losses = []
    for batch in batches(KEY, dataset(), 8, epochs=2):
        params, state, sums = STEP(params, state, batch)
        losses.append(sums["loss"])
    carry, stacked = scan(STEP, start(), batches(KEY, dataset(), 8, epochs=2))
    tree.assert_equal(carry, (params, state))
    assert torch.equal(stacked["loss"], torch.stack(losses))
    with pytest.raises(ValueError, match="at least one batch"):
        scan(STEP, start(), [])


def test_fit_tells_where_it_is():
    records = list(fit(STEP, *start(), KEY, dataset(), size=8, epochs=2))
    assert [(r.step, r.epoch, r.epoch_done) for r in records] == [
        (1, 0, False),
        (2, 0, True),
        (3, 1, False),
        (4, 1, True),
    ]
    assert [float(r.metrics["count"]) for r in records] == [8, 16, 8, 16]
    carry, stacked = scan(STEP, start(), batches(KEY, dataset(), 8, epochs=2))
    tree.assert_equal((records[-1].params, records[-1].opt_state), carry)
    assert records[1].metrics["loss"] == stacked["loss"][:2].sum()


@pytest.mark.parametrize("stop", [1, 2, 3])
def test_fit_goes_on_from_any_step_bit_for_bit(stop):
    straight = list(fit(STEP, *start(), KEY, dataset(), size=8, epochs=2))
    first = straight[stop - 1]
    rest = list(
        fit(STEP, first.params, first.opt_state, KEY, dataset(), size=8, epochs=2, start=stop)
    )
    assert len(rest) == 4 - stop
    tree.assert_equal(rest[-1].params, straight[-1].params)


def test_fit_trains_on_the_batches_of_batch_at():
    seen = []

    def step(params, state, batch):
        seen.append(batch)
        return STEP(params, state, batch)

    list(fit(step, *start(), KEY, dataset(), size=8, epochs=2))
    for n, batch in enumerate(seen):
        tree.assert_equal(batch, batch_at(KEY, dataset(), 8, n))


@pytest.mark.parametrize("size", [1, 3, 7, 20, 32])
def test_every_image_is_evaluated_once_at_any_batch_size(size):
    eval_step = make_eval(MODEL, cross_entropy, preprocess=preprocess)
    params, _ = start()
    sums = evaluate(eval_step, params, dataset(), size=size)
    assert float(sums["count"]) == 20
    whole = next(data.eval_batches(dataset(), 20))
    expected = metrics.means(eval_step(params, whole))
    assert metrics.means(sums) == pytest.approx(expected, rel=1e-5)


def test_a_batch_larger_than_the_data_is_refused_at_the_call():
    with pytest.raises(ValueError, match="batch size of 21"):
        fit(STEP, *start(), KEY, dataset(), size=21, epochs=1)


def records_of(records):
    return [(r.step, r.epoch, r.epoch_done, float(r.metrics["count"])) for r in records]


def test_fit_takes_any_iterable_of_batches():
    of_dataset = list(fit(STEP, *start(), KEY, dataset(), size=8, epochs=2))
    stream = batches(KEY, dataset(), 8, epochs=2)
    of_batches = list(fit(STEP, *start(), stream, steps_per_epoch=2))
    assert records_of(of_batches) == records_of(of_dataset)
    tree.assert_equal(of_batches[-1].params, of_dataset[-1].params)
    by_name = fit(STEP, *start(), batches=batches(KEY, dataset(), 8, epochs=2), steps_per_epoch=2)
    tree.assert_equal(list(by_name)[-1].params, of_dataset[-1].params)
    by_name = fit(STEP, *start(), key=KEY, dataset=dataset(), size=8, epochs=2)
    tree.assert_equal(list(by_name)[-1].params, of_dataset[-1].params)


def test_without_a_length_all_batches_are_one_epoch():
    rows = list(batches(KEY, dataset(), 8, epochs=2))
    ends = [(n, 0, False, 8.0 * n) for n in range(1, 5)]
    assert records_of(fit(STEP, *start(), iter(rows))) == ends
    assert records_of(fit(STEP, *start(), rows)) == [*ends[:3], (4, 0, True, 32.0)]
    records = list(fit(STEP, *start(), rows))
    rest = fit(
        STEP, records[2].params, records[2].opt_state, rows[3:], start=3, sums=records[2].metrics
    )
    (last,) = rest
    assert records_of([last]) == [(4, 0, True, 32.0)]
    tree.assert_equal(last.params, records[3].params)
    assert list(fit(STEP, *start(), [])) == []


def test_fit_takes_no_batch_ahead():
    stream = batches(KEY, dataset(), 8, epochs=2)
    first = next(fit(STEP, *start(), stream))
    rest = list(fit(STEP, first.params, first.opt_state, stream, start=1))
    assert [record.step for record in rest] == [2, 3, 4]


def test_a_loader_of_ones_own_trains_a_network():
    images = dataset().images.to(torch.float32)
    table = torch.utils.data.TensorDataset(images, dataset().labels.to(torch.int32))
    loader = torch.utils.data.DataLoader(table, batch_size=8, drop_last=True)

    def stream():
        for epoch in range(2):
            for n, (pixels, labels) in enumerate(loader, epoch * len(loader)):
                yield data.as_batch(pixels, labels, KEY, n, steps_per_epoch=len(loader))

    records = list(fit(STEP, *start(), stream(), steps_per_epoch=len(loader)))
    assert records_of(records) == [
        (1, 0, False, 8.0),
        (2, 0, True, 16.0),
        (3, 1, False, 8.0),
        (4, 1, True, 16.0),
    ]
    assert [batch.epoch.item() for batch in stream()] == [0.0, 0.5, 1.0, 1.5]


def test_wrong_arguments_of_fit_are_refused_at_the_call():
    with pytest.raises(ValueError, match="at least 1 step, got steps_per_epoch=0"):
        fit(STEP, *start(), iter([]), steps_per_epoch=0)
    with pytest.raises(ValueError, match="counted from 0, got start=-1"):
        fit(STEP, *start(), [], start=-1)
    with pytest.raises(TypeError, match="size"):
        fit(STEP, *start(), [], size=8)
    usage = (
        r"fit\(step, params, opt_state, key, dataset, size=.*as_batch\(images, labels, key, step"
    )
    with pytest.raises(TypeError, match=f"got a data set where .*{usage}"):
        fit(STEP, *start(), dataset())
    with pytest.raises(TypeError, match=f"got a data set where .*{usage}"):
        fit(STEP, *start(), batches=dataset())
    for item in ((torch.zeros(2), torch.zeros(2)), [torch.zeros(2)], {}, torch.zeros(2)):
        with pytest.raises(TypeError, match=f"got a {type(item).__name__}: .*{usage}"):
            next(fit(STEP, *start(), [item]))
    with pytest.raises(TypeError, match="'size' and 'epochs'"):
        fit(STEP, *start(), KEY, dataset())
