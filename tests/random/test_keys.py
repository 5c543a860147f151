import json
from pathlib import Path

import pytest
import torch
from graphs import nothing_compiled, traced
from hypothesis import given, settings
from hypothesis import strategies as st

from fnet import random, tree
from fnet.compiler import compile

CASES = json.loads((Path(__file__).parent / "jax_random.json").read_text())["cases"]

seeds = st.integers(0, 2**32 - 1)
shapes = st.lists(st.integers(0, 4), max_size=3).map(tuple)

few = settings(max_examples=15, deadline=None)

# Every function that draws with a key; each takes keys [2] or [N, 2].
DRAWS = {
    "split": lambda key: random.split(key, 3),
    "fold_in": lambda key: random.fold_in(key, 7),
    "bits": lambda key: random.bits(key, (2, 3)),
    "uniform": lambda key: random.uniform(key, (2, 3)),
    "uniform in a range": lambda key: random.uniform(key, (2, 3), -0.3, 0.7),
    "bernoulli": lambda key: random.bernoulli(key, 0.3, (2, 3)),
    "normal": lambda key: random.normal(key, (2, 3)),
    "randint": lambda key: random.randint(key, (2, 3), -2, 7),
    "permutation": lambda key: random.permutation(key, 5),
    "fast_bits": lambda key: random.fast_bits(key, (2, 3)),
    "fast_bernoulli": lambda key: random.fast_bernoulli(key, 0.3, (2, 3)),
}
draws = pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case["seed"]))
def test_draws_are_those_of_jax(case):
    key = random.key(case["seed"])
    assert key.tolist() == case["key"]
    assert random.split(key).flatten().tolist() == case["split2"]
    assert random.split(key, 5).flatten().tolist() == case["split5"]
    for data, folded in case["fold_in"].items():
        assert random.fold_in(key, int(data)).tolist() == folded
    assert random.bits(key, (7,)).tolist() == case["bits32_7"]
    bits = random.bits(key, (2, 3, 4))
    assert bits.shape == (2, 3, 4)
    assert bits.flatten().tolist() == case["bits32_2x3x4"]
    assert [u.hex() for u in random.uniform(key, (6,)).tolist()] == [
        float.fromhex(u).hex() for u in case["uniform_6_hex"]
    ]
    assert random.bernoulli(key, 0.3, (16,)).tolist() == case["bernoulli_p0.3_16"]
    torch.testing.assert_close(
        random.normal(key, (6,)), torch.tensor(case["normal_6"]), rtol=1e-6, atol=1e-6
    )
    assert random.randint(key, (8,), 0, 9).tolist() == case["randint_0_9_8"]
    assert random.permutation(key, 10).tolist() == case["permutation_10"]


@draws
@few
@given(seed=seeds)
def test_a_batch_of_keys_draws_what_each_key_draws(draw, seed):
    keys = random.split(random.key(seed), 3)
    rows = torch.stack([draw(key) for key in keys])
    tree.assert_equal(draw(keys), rows)
    tree.assert_equal(torch.func.vmap(draw)(keys), rows)
    tree.assert_equal(torch.func.vmap(draw, in_dims=1)(keys.T), rows)
    tree.assert_equal(draw(keys[None])[0], rows)


def test_compiled_draws_are_the_same_bits():
    def draw_some(keys):
        return {name: DRAWS[name](keys) for name in ("uniform in a range", "randint", "normal")}

    keys = random.split(random.key(1), 3)
    compiled, expected = compile(draw_some)(keys), draw_some(keys)
    tree.assert_close(compiled.pop("normal"), expected.pop("normal"), rtol=1e-6)
    tree.assert_equal(compiled, expected)


def test_compiled_fast_bits_are_the_same_bits():
    keys = random.split(random.key(1), 3)
    compiled = compile(random.fast_bits)(keys, (50,))
    tree.assert_equal(compiled, random.fast_bits(keys, (50,)))


def test_draws_trace_into_one_graph_under_vmap():
    def draw_all(key):
        return {name: draw(key) for name, draw in DRAWS.items()}

    keys = random.split(random.key(1), 3)
    compiled = traced(torch.func.vmap(draw_all))
    tree.assert_equal(compiled(keys), draw_all(keys))


def test_draws_inside_grad():
    def loss(x, key):
        return (x * random.uniform(key, (3,))).sum()

    key = random.key(5)
    grad = torch.func.grad(loss)(torch.ones(3), key)
    tree.assert_equal(grad, random.uniform(key, (3,)))


@draws
def test_draws_leave_the_global_state_and_the_key_alone(draw):
    key, state = random.key(3), torch.get_rng_state()
    first = draw(key)
    tree.assert_equal((key, torch.get_rng_state()), (random.key(3), state))
    tree.assert_equal(draw(key), first)


@few
@given(seed=seeds, shape=shapes)
def test_shapes_and_ranges(seed, shape):
    key = random.key(seed)
    for draw, low, high in [
        (random.bits(key, shape), 0, 2**32),
        (random.uniform(key, shape), 0, 1),
        (random.uniform(key, shape, -2.0, 3.0), -2, 3),
        (random.randint(key, shape, -3, 4), -3, 4),
        (random.fast_bits(key, shape), 0, 2**24),
    ]:
        assert draw.shape == shape
        assert ((draw >= low) & (draw < high)).all()


@few
@given(seed=seeds, n=st.integers(0, 50))
def test_permutations_hold_every_number_once(seed, n):
    assert sorted(random.permutation(random.key(seed), n).tolist()) == list(range(n))


def test_a_long_permutation_sorts_twice():
    # from jax: the first places of jax.random.permutation(jax.random.key(7), 2000)
    assert random.permutation(random.key(7), 2000)[:6].tolist() == [1785, 5, 1002, 442, 880, 109]


@few
@given(seed=seeds, num=st.integers(1, 64))
def test_split_keys_are_distinct_and_folded_keys_too(seed, num):
    key = random.key(seed)
    keys = torch.cat([key[None], random.split(key, num)])
    assert len(set(map(tuple, keys.tolist()))) == num + 1
    tree.assert_equal(random.fold_in(key, torch.arange(num)), random.split(key, num))


def test_fold_in_broadcasts_keys_and_data():
    key, data = random.key(9), torch.tensor([4, 0, 2**32 - 1])
    one_by_one = torch.stack([random.fold_in(key, int(d)) for d in data])
    tree.assert_equal(random.fold_in(key, data), one_by_one)
    tree.assert_equal(random.fold_in(key, data.to(torch.int32)), one_by_one)
    keys = random.split(key, 3)
    pairs = torch.stack([random.fold_in(k, int(d)) for k, d in zip(keys, data, strict=True)])
    tree.assert_equal(random.fold_in(keys, data), pairs)
    grid = random.fold_in(keys[:, None], data)
    assert grid.shape == (3, 3, 2)
    tree.assert_equal(grid.diagonal().T, pairs)
    each = torch.func.vmap(random.fold_in, in_dims=(None, 0))(key, data)
    tree.assert_equal(each, one_by_one)


def test_seeds():
    assert random.key(2**64 - 1).tolist() == [2**32 - 1] * 2
    assert random.key(2**32 + 5).tolist() == [1, 5]
    for seed in (-1, 2**64):
        with pytest.raises(ValueError, match=r"seed must be at least 0 and below 2\*\*64"):
            random.key(seed)
    with pytest.raises(TypeError):
        random.key(1.0)


def test_errors_say_what_was_expected():
    key = random.key(0)
    for draw in DRAWS.values():
        for wrong in (torch.zeros(2), torch.zeros(3, dtype=torch.int64), torch.tensor(0)):
            with pytest.raises(TypeError, match=r"expected a key, an int64 tensor \[..., 2\]"):
                draw(wrong)
    with pytest.raises(ValueError, match="randint needs low < high"):
        random.randint(key, (), 3, 3)
    with pytest.raises(TypeError, match="must be integers, got"):
        random.fold_in(key, torch.ones(2))


def test_bernoulli_rounds_p_to_float32():
    key = random.key(0)
    u = random.uniform(key, (20,))
    p = float(u[3])
    assert not random.bernoulli(key, p, (20,))[3]
    assert not random.bernoulli(key, p * (1 + 1e-9), (20,))[3]  # the same float32 as p
    tree.assert_equal(random.bernoulli(key, u, (20,)), torch.zeros(20, dtype=torch.bool))


def test_normal_is_standard_normal():
    draw = random.normal(random.key(0), (100_000,)).to(torch.float64)
    assert abs(draw.mean()) < 0.01
    assert abs(draw.std() - 1) < 0.01
    assert abs((draw < 1).double().mean() - 0.8413) < 0.005


def test_fast_bernoulli_takes_a_tensor_without_recompiling():
    key = random.key(0)
    compiled = traced(lambda p: random.fast_bernoulli(key, p, (1000,)))
    tree.assert_equal(compiled(torch.tensor(0.5)), random.fast_bernoulli(key, 0.5, (1000,)))
    with nothing_compiled():
        assert not compiled(torch.tensor(0.0)).any()
        assert compiled(torch.tensor(1.0)).all()


# The fast hash. Bounds are about five standard deviations of an ideal source, on fixed keys.


def keys_to_try():
    """Return neighbouring seeds, and the keys folded with 0, 1, 2, ...: [2, 64, 2]."""
    neighbours = torch.stack([random.key(seed) for seed in range(64)])
    return torch.stack([neighbours, random.fold_in(random.key(0), torch.arange(64))])


def binary(numbers):
    """Return the 24 bits of each number as -1.0 and 1.0: [..., 24]."""
    return ((numbers[..., None] >> torch.arange(24)) & 1).to(torch.float32) * 2 - 1


def test_fast_bits_are_balanced_and_uncorrelated_across_keys_rows_and_counters():
    n = 4096
    for keys in keys_to_try():
        signs = binary(random.fast_bits(keys, (n,)))  # [64, n, 24]
        assert signs.mean(1).abs().max() < 5.5 / n**0.5
        assert signs.mean((0, 1)).abs().max() < 5 / (64 * n) ** 0.5
        rows = signs.permute(2, 0, 1)  # [24, 64, n]
        correlation = rows @ rows.mT / n - torch.eye(64)
        assert correlation.abs().max() < 5.5 / n**0.5
        for lag in (1, 2, 3, 16, 32, 1024):
            lagged = (signs[:, lag:] * signs[:, :-lag]).mean((0, 1))
            assert lagged.abs().max() < 5 / (64 * (n - lag)) ** 0.5
        shifted = (signs[1:, 1:] * signs[:-1, :-1]).mean((0, 1))
        assert shifted.abs().max() < 5 / (63 * (n - 1)) ** 0.5
        between_bits = torch.einsum("rnb,rnc->bc", signs, signs) / (64 * n) - torch.eye(24)
        assert between_bits.abs().max() < 5 / (64 * n) ** 0.5


def test_fast_bits_avalanche():
    """Flipping any one bit of the key or of the counter flips each output bit half the time."""
    n = 1 << 14
    for key in keys_to_try()[:, 5]:
        plain = random.fast_bits(key, (n,))
        for word in range(2):
            for bit in range(32):
                flipped = key.clone()
                flipped[word] ^= 1 << bit
                changed = binary(plain ^ random.fast_bits(flipped, (n,))).mean(0)
                assert changed.abs().max() < 0.06, (word, bit)
        for bit in range(14):
            changed = binary(plain ^ plain[torch.arange(n) ^ (1 << bit)]).mean(0)
            assert changed.abs().max() < 0.06, bit


def test_fast_bits_fill_pairs_of_values_evenly():
    """Chi-squared of pairs: neighbours in a row, and the same place in neighbouring rows."""
    n, cells = 1 << 14, 1 << 10
    degrees = cells - 1
    for keys in keys_to_try():
        for shift in (0, 9, 19):
            values = (random.fast_bits(keys, (n,)) >> shift) & 31
            for first, second in [(values[:, 1:], values[:, :-1]), (values[1:], values[:-1])]:
                counts = torch.bincount((first * 32 + second).flatten(), minlength=cells).double()
                expected = counts.sum() / cells
                chi2 = ((counts - expected) ** 2 / expected).sum()
                assert abs(chi2 - degrees) < 5 * (2 * degrees) ** 0.5


def test_fast_bits_do_not_repeat_across_rows():
    values = random.fast_bits(random.fold_in(random.key(0), torch.arange(2000)), (4,))
    words = (values << torch.tensor([0, 16, 32, 39])).sum(-1)
    assert len(words.unique()) == 2000
