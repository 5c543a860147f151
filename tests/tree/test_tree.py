import pytest
import torch
from graphs import traced
from hypothesis import given, settings
from hypothesis import strategies as st
from states import Pair
from trees import trees

from fnet import tree
from fnet.compiler import compile

few = settings(max_examples=25, deadline=None)

PARAMS = Pair(
    {"conv1.weight": torch.ones(2, 3), "fc.bias": torch.zeros(2)},
    [torch.tensor(3), None, (torch.ones(1),)],
)

# Tensors whose strides must survive raveling.
DENSE = {
    "contiguous": torch.randn(4, 3, 2, 5),
    "channels last": torch.randn(4, 3, 2, 5).to(memory_format=torch.channels_last),
    "channels last, one channel": torch.randn(6, 1, 5, 5).to(memory_format=torch.channels_last),
    "channels last, 1x1": torch.randn(6, 3, 1, 1).to(memory_format=torch.channels_last),
    "channels last, one of all": torch.randn(1, 1, 1, 1).to(memory_format=torch.channels_last),
    "channels last 3d": torch.randn(2, 3, 2, 2, 2).to(memory_format=torch.channels_last_3d),
    "transposed": torch.randn(3, 5).T,
    "transposed row": torch.randn(1, 5).T,
    "vector": torch.randn(7),
    "0-d": torch.tensor(1.5),
    "empty": torch.zeros(0, 3),
    "empty middle": torch.zeros(2, 0, 3),
    "integers": torch.arange(6).reshape(2, 3).T,
}
GAPPY = {
    "slice": torch.randn(4, 6)[:, ::2],
    "expanded": torch.randn(3, 1).expand(3, 4),
    "column": torch.randn(3, 4)[:, 0],
}


# Walking


@few
@given(trees)
def test_mapping_the_identity_gives_the_tree(t):
    same = tree.map(lambda leaf: leaf, t)
    assert type(same) is type(t)
    tree.assert_equal(same, t)
    tree.assert_equal(tree.map_with_path(lambda _, leaf: leaf, t), t)


@few
@given(trees)
def test_unflatten_inverts_flatten(t):
    leaves, structure = tree.flatten(t)
    assert [id(leaf) for leaf in leaves] == [id(leaf) for leaf in tree.leaves(t)]
    assert [id(leaf) for leaf in leaves] == [id(leaf) for _, leaf in tree.flatten_with_path(t)]
    assert all(leaf is not None for leaf in leaves)
    tree.assert_equal(tree.unflatten(structure, leaves), t)
    built = tree.builder(structure)(leaves)
    assert type(built) is type(t)
    tree.assert_equal(built, t)


@few
@given(trees, st.integers(0, 2))
def test_combine_inverts_partition(t, remainder):
    selected, rest = tree.partition(t, lambda path, leaf: (len(path) + leaf.ndim) % 3 == remainder)
    assert len(tree.leaves(selected)) + len(tree.leaves(rest)) == len(tree.leaves(t))
    tree.assert_equal(tree.combine(selected, rest), t)
    tree.assert_equal(tree.combine(rest, selected), t)


@few
@given(trees)
def test_sizes_add_up(t):
    assert tree.size(t) == sum(leaf.numel() for leaf in tree.leaves(t))


def test_paths():
    paths = [path for path, _ in tree.flatten_with_path(PARAMS)]
    assert paths == ["first/conv1.weight", "first/fc.bias", "second/0", "second/2/0"]
    assert tree.flatten_with_path({3: 1}) == [("3", 1)]
    assert tree.flatten_with_path(7) == [("", 7)]


def test_map_pairs_leaves_by_key_not_by_order():
    a, b = {"x": 1, "y": 2}, {"y": 20, "x": 10}
    assert tree.map(lambda p, q: p + q, a, b) == {"x": 11, "y": 22}
    assert list(tree.map(lambda p, q: p + q, b, a)) == ["y", "x"]


def test_combine_takes_the_first_leaf():
    assert tree.combine({"a": None, "b": 1}, {"a": 2, "b": 3}, {"a": 4, "b": 5}) == {"a": 2, "b": 1}


LEAF = torch.zeros(())
MISMATCHES = [
    ({"a": LEAF}, {"a": LEAF, "b": LEAF}, "'b' is missing from the first"),
    ({"a": {"b": LEAF}}, {"a": {}}, "'a/b' is missing from the second"),
    ({"a": LEAF}, [LEAF], "at the root: dict against list"),
    ([LEAF, (LEAF,)], [LEAF, [LEAF]], "at '1': tuple against list"),
    (Pair(LEAF, LEAF), (LEAF, LEAF), "at the root: Pair against tuple"),
    (Pair({}, [LEAF]), Pair({}, LEAF), "at 'second': list against a leaf"),
    (Pair({}, LEAF), Pair({}, [LEAF]), "at 'second': a leaf against list"),
    ({"a": None}, {"a": LEAF}, "at 'a': None against a leaf"),
    ({"a": LEAF}, {"a": None}, "at 'a': a leaf against None"),
    ({"a": None}, {"a": {}}, "at 'a': None against dict"),
]


@pytest.mark.parametrize(("a", "b", "message"), MISMATCHES)
def test_a_structure_mismatch_names_the_path(a, b, message):
    for call in (
        lambda: tree.map(lambda x, y: x, a, b),
        lambda: tree.map(lambda x, y, z: x, a, a, b),
        lambda: tree.map_with_path(lambda path, x, y: x, a, b),
        lambda: tree.ravel(b, like=a),
    ):
        with pytest.raises(ValueError, match="the trees differ") as error:
            call()
        assert message in str(error.value)
    assert message in tree.first_difference(a, b)
    assert message in tree.first_layout_difference(a, b)


def test_errors_of_the_function_pass_through():
    def fail(_):
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        tree.map(fail, PARAMS)


def test_unflatten_counts_the_leaves():
    with pytest.raises(ValueError, match="the structure has 2 leaves, got 3"):
        tree.unflatten({"a": 0, "b": (1, None)}, [1, 2, 3])


# Raveling


@few
@given(trees)
def test_unravel_inverts_ravel(t):
    vectors, unravel = tree.ravel(t)
    assert sum(vector.numel() for vector in vectors.values()) == tree.size(t)
    assert all(vectors[name].dtype == getattr(torch, name) for name in vectors)
    tree.assert_equal(unravel(vectors), t)
    assert tree.first_layout_difference(unravel(vectors), t) is None


def test_unravel_restores_strides_as_views_in_memory_order():
    vectors, unravel = tree.ravel(DENSE)
    restored = unravel(vectors)
    tree.assert_equal(restored, DENSE)
    assert tree.first_layout_difference(restored, DENSE) is None
    for leaf in tree.leaves(restored):
        vector = vectors[str(leaf.dtype).removeprefix("torch.")]
        assert leaf.untyped_storage().data_ptr() == vector.untyped_storage().data_ptr()
    for leaf in tree.leaves(DENSE):
        for vector in vectors.values():
            assert leaf.untyped_storage().data_ptr() != vector.untyped_storage().data_ptr()
    weight = DENSE["channels last"]
    tree.assert_equal(tree.ravel(weight)[0]["float32"], weight.permute(0, 2, 3, 1).flatten())


def test_leaves_with_gaps_come_back_contiguous():
    vectors, unravel = tree.ravel(GAPPY)
    restored = unravel(vectors)
    tree.assert_equal(restored, GAPPY)
    assert all(leaf.is_contiguous() for leaf in tree.leaves(restored))


def test_ravel_like_lays_out_as_the_other_tree():
    like = {"w": torch.randn(2, 3, 2, 2).to(memory_format=torch.channels_last), "b": torch.ones(2)}
    grads = {"b": torch.zeros(2), "w": torch.randn(2, 3, 2, 2)}
    (params, unravel), (vectors, _) = tree.ravel(like), tree.ravel(grads, like=like)
    added = unravel({"float32": params["float32"] + vectors["float32"]})
    tree.assert_equal(added, tree.map(torch.add, like, grads))
    assert tree.first_layout_difference(added, like) is None
    with pytest.raises(ValueError, match=r"'b' must be torch.float32 of shape \(2,\)"):
        tree.ravel({**grads, "b": torch.zeros(3)}, like=like)


def test_ravel_under_vmap_and_grad():
    def loss(params, x):
        vectors, unravel = tree.ravel(params)
        params = unravel({name: 2 * vector for name, vector in vectors.items()})
        return (params["w"] * x + params["b"].sum()).sum()

    params = {"w": torch.randn(2, 3).T, "b": torch.ones(4)}
    x = torch.randn(5, 3, 2)
    grads = torch.func.grad(loss)(params, x[0])
    tree.assert_equal(grads, {"w": 2 * x[0], "b": torch.full((4,), 12.0)})
    each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(params, x)
    tree.assert_equal(each["w"], 2 * x)


def test_ravel_errors():
    _, unravel = tree.ravel({"w": torch.ones(3)})
    with pytest.raises(ValueError, match=r"float32 vector must have shape \(3,\), got \(4,\)"):
        unravel({"float32": torch.ones(4)})
    with pytest.raises(ValueError, match=r"expected the vectors \['float32'\], got"):
        unravel({"float64": torch.ones(3)})
    with pytest.raises(TypeError, match="'a/1' is not a tensor"):
        tree.ravel({"a": [torch.ones(1), 2.0]})
    with pytest.raises(ValueError, match="'b' is on meta, but 'a' is on cpu: move the tree"):
        tree.ravel({"a": torch.ones(1), "b": torch.ones(1, device="meta")})


# Compiling


def everything(t):
    vectors, unravel = tree.ravel(t)
    t = unravel({name: vector + 1 for name, vector in vectors.items()})
    selected, rest = tree.partition(t, lambda path, _: path.endswith("weight"))
    t = tree.combine(tree.map(lambda leaf: leaf * 2, selected), rest)
    leaves, structure = tree.flatten(t)
    t = tree.unflatten(structure, [leaf + 1 for leaf in leaves])
    return tree.map_with_path(lambda path, a, b: a - b if "fc" in path else a, t, t)


def test_traced_functions_of_trees_give_the_same():
    compiled = traced(everything)
    tree.assert_equal(compiled(PARAMS), everything(PARAMS))
    assert tree.first_layout_difference(compiled(PARAMS), PARAMS) is None


def test_compiled_raveling_keeps_the_layout():
    def double(t):
        vectors, unravel = tree.ravel(t)
        return unravel({name: 2 * vector for name, vector in vectors.items()})

    weights = {name: DENSE[name] for name in ("channels last", "transposed", "0-d")}
    doubled = compile(double)(weights)
    tree.assert_equal(doubled, double(weights))
    assert tree.first_layout_difference(doubled, weights) is None


def test_compiled_unravel_is_checked_by_its_layout():
    """One code object, two layouts: the graph of the first must not be used for the second."""
    t = [torch.randn(2, 3), torch.randn(4)]
    others = [
        [torch.randn(4), torch.randn(2, 3)],
        [torch.randn(3, 2).T, torch.randn(4)],
        (t[1],) * 2,
    ]
    compiled = torch.compile(
        lambda unravel, vectors: unravel(vectors), backend="eager", fullgraph=True
    )
    for tree_ in (t, *others, t):
        vectors, unravel = tree.ravel(tree_)
        restored = compiled(unravel, vectors)
        tree.assert_equal(restored, tree_)
        assert tree.first_layout_difference(restored, tree_) is None
    with torch.compiler.set_stance("fail_on_recompile"):
        vectors, unravel = tree.ravel(t)
        tree.assert_equal(compiled(unravel, vectors), t)


# Comparing

NAN = float("nan")
DIFFERENT = [
    (torch.ones(2), torch.ones(3), "shape (2,) against (3,)"),
    (torch.ones(2), torch.ones(2).double(), "dtype torch.float32 against torch.float64"),
    (torch.ones(2), torch.ones(2, device="meta"), "device cpu against meta"),
    (torch.ones(2), 1.0, "Tensor against float"),
    (1, 2, "1 against 2"),
    (torch.tensor([1.0, 2.0]), torch.tensor([1.0, 9.0]), "1 of 2 values differ, most at [1]"),
    (torch.tensor(1), torch.tensor(2), "1 against 2"),
    (torch.tensor([True]), torch.tensor([False]), "True against False"),
    (torch.tensor([2**60 + 1]), torch.tensor([2**60]), f"{2**60 + 1} against {2**60}"),
    (torch.tensor([1.0, NAN]), torch.tensor([1.0, 0.0]), "most at [1]: nan against 0.0"),
    (torch.tensor([5.0, torch.inf]), torch.tensor([1.0, 0.0]), "most at [1]: inf against 0.0"),
]


@pytest.mark.parametrize(("a", "b", "message"), DIFFERENT)
def test_a_difference_names_the_path_and_the_largest(a, b, message):
    trees = Pair({"mu": torch.zeros(1)}, [a]), Pair({"mu": torch.zeros(1)}, [b])
    assert tree.first_difference(*trees).startswith("'second/0': ")
    assert message in tree.first_difference(*trees)
    assert not tree.equal(*trees)
    with pytest.raises(AssertionError) as error:
        tree.assert_equal(*trees)
    assert message in str(error.value)


def test_equality_of_nan_infinity_and_nothing():
    special = torch.tensor([NAN, torch.inf, -torch.inf, -0.0])
    assert tree.equal(special, special.clone())
    assert tree.equal({}, {})
    assert tree.equal(None, None)
    assert tree.equal(torch.zeros(0, 2), torch.zeros(0, 2))
    assert tree.equal({"a": 1, "b": 2}, {"b": 2, "a": 1})
    tree.assert_close(special[1:], special[1:].clone(), rtol=1e-6, atol=1e-6)
    with pytest.raises(AssertionError, match="nan against nan"):
        tree.assert_close(special, special.clone(), rtol=1e-6, atol=1e-6)


def test_tolerances_are_those_of_numpy():
    a, b = torch.tensor([1.0, 100.0]), torch.tensor([1.05, 101.0])
    assert tree.first_difference(a, b, rtol=0.01, atol=0.05) is None
    assert "most at [1]" in tree.first_difference(a, b, rtol=0.009, atol=0.05)
    assert "most at [0]" in tree.first_difference(a, b, rtol=0.01, atol=0.0)


def test_the_layout_ignores_values_but_not_strides():
    weight = torch.randn(2, 3, 4, 4)
    assert tree.first_layout_difference([weight], [weight + 1]) is None
    last = weight.to(memory_format=torch.channels_last)
    assert tree.equal([weight], [last])
    assert tree.first_layout_difference([weight], [last]) == (
        "'0': strides (48, 16, 4, 1) against (48, 1, 12, 3)"
    )
