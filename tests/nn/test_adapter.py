import copy

import pytest
import torch
import torchvision
from graphs import traced
from networks import full
from torch import nn

from fnet import models, random, tree
from fnet.nn import ModelError, Params, from_module, from_state_dict, to_module, xavier_normal
from fnet.nn.skeleton import skeleton


def _small():
    return nn.Sequential(
        *(nn.Conv2d(3, 24, 5, padding=2), nn.BatchNorm2d(24), nn.ReLU()),
        *(nn.Conv2d(24, 48, 3), nn.GELU(), nn.MaxPool2d(2), nn.Flatten(), nn.LazyLinear(7)),
    )


def _made_small():
    module = _small()
    module(torch.zeros(2, 3, 64, 64))
    return module


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(
    "make",
    [
        lambda: torchvision.models.resnet18(num_classes=7),
        lambda: torchvision.models.mobilenet_v3_small(num_classes=7),
        lambda: torchvision.models.VisionTransformer(64, 8, 2, 2, 32, 64, num_classes=7),
        _made_small,
        lambda: _made_small().to(memory_format=torch.channels_last),
    ],
    ids=["resnet18", "mobilenet_v3_small", "vit", "small", "small_channels_last"],
)
def test_logits_are_the_modules_to_the_last_bit(make, layout):
    images = random.normal(random.key(0), (2, 3, 64, 64)).contiguous(memory_format=layout)
    model, plain = from_module(make), make().eval()
    params = from_state_dict(model.init(random.key(3)), plain.state_dict())
    logits, stats = model.apply(params, images)
    with torch.no_grad():
        assert torch.equal(logits, plain(images))
        assert torch.equal(logits, to_module(model, params)(images))
    assert stats == params.stats


@pytest.mark.parametrize("init", [None, xavier_normal()])
def test_weights_have_the_modules_strides_or_those_asked_for(init):
    def make():
        last = nn.Conv2d(4, 6, 3).to(memory_format=torch.channels_last)
        return nn.Sequential(nn.Conv2d(3, 4, 3), last)

    leaves = from_module(make, init=init).init(random.key(0)).trainable
    assert leaves["0.weight"].stride() == (27, 9, 3, 1)
    assert leaves["1.weight"].stride() == (36, 1, 12, 4)
    model = from_module(make, init=init, memory_format=torch.channels_last)
    params = model.init(random.key(0))
    assert params.trainable["0.weight"].stride() == (27, 1, 9, 3)
    tree.assert_equal(from_state_dict(params, make().state_dict() | params.trainable), params)
    for layer in models.net().init(random.key(0)).trainable.values():
        assert layer.dim() != 4 or layer.is_contiguous(memory_format=torch.channels_last)


def test_mobilenets_dropout_is_driven_by_the_key():
    model = from_module(lambda: torchvision.models.mobilenet_v3_small(num_classes=7))
    params = model.init(random.key(0))
    images = random.normal(random.key(1), (4, 3, 64, 64))
    first, _ = model.apply(params, images, key=random.key(2), train=True)
    again, _ = model.apply(params, images, key=random.key(2), train=True)
    other, _ = model.apply(params, images, key=random.key(3), train=True)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_training_mode_is_the_modules_own_without_dropout():
    def make():
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten())

    model = from_module(lambda: nn.Sequential(make(), nn.Linear(144, 5)))
    params = model.init(random.key(0))
    module = to_module(model, params).train()
    images = random.normal(random.key(1), (6, 3, 8, 8))
    logits, stats = model.apply(params, images, train=True)
    torch.testing.assert_close(logits, module(images))
    for name, value in stats.items():
        torch.testing.assert_close(value, module.state_dict()[name])


def test_apply_changes_neither_params_nor_the_global_generator():
    model = full()
    params = model.init(random.key(0))
    before, state = copy.deepcopy(params), torch.random.get_rng_state()
    _, stats = model.apply(params, torch.ones(2, 3, 8, 8), key=random.key(1), train=True)
    tree.assert_equal(params, before)
    assert not torch.equal(stats["1.running_mean"], params.stats["1.running_mean"])
    assert torch.equal(torch.random.get_rng_state(), state)


def test_init_is_a_pure_function_of_the_key():
    model, state = full(), torch.random.get_rng_state()
    tree.assert_equal(model.init(random.key(5)), model.init(random.key(5)))
    assert not tree.equal(model.init(random.key(5)), model.init(random.key(6)))
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_key_for_each_sample_makes_its_mask_independent_of_the_batch():
    model = from_module(lambda: nn.Sequential(nn.Dropout(0.5), nn.Flatten(), nn.Linear(48, 2)))
    params = model.init(random.key(0))
    images, keys = torch.ones(6, 3, 4, 4), random.split(random.key(1), 6)
    whole, _ = model.apply(params, images, key=keys, train=True)
    parts = [
        model.apply(params, images[i : i + 2], key=keys[i : i + 2], train=True)[0]
        for i in (0, 2, 4)
    ]
    torch.testing.assert_close(torch.cat(parts), whole)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("shared", [True, False])
def test_every_layer_and_every_call_draws_a_mask_of_its_own(shared, compiled):
    def make():
        layer = nn.Dropout(0.5)
        return nn.Sequential(layer, nn.Identity(), layer if shared else nn.Dropout(0.5))

    model = from_module(make)
    params, images = model.init(random.key(0)), torch.ones(64, 3, 8, 8)
    assert list(params.stats) == (["0.p"] if shared else ["0.p", "2.p"])

    def apply(key):
        return model.apply(params, images, key=key, train=True)[0]

    drawn = traced(apply) if compiled else apply
    first, again = drawn(random.key(1)), drawn(random.key(1))
    assert torch.equal(first, again)
    # Two masks both keep a pixel with probability 1/4; the same mask twice, with 1/2.
    assert (first != 0).float().mean().item() == pytest.approx(0.25, abs=0.02)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize(
    "layer", [lambda: nn.Conv2d(3, 3, 3, padding=1), lambda: nn.BatchNorm2d(3)], ids=["conv", "bn"]
)
def test_a_layer_may_stand_in_two_places(layer, compiled):
    def make():
        shared = layer()
        return nn.Sequential(shared, nn.ReLU(), shared)

    model = from_module(make)
    params, images = model.init(random.key(0)), random.normal(random.key(1), (4, 3, 6, 6))
    module = make().train()
    module.load_state_dict({**params.trainable, **params.stats}, strict=False)

    def apply(images):
        return model.apply(params, images, train=True)

    backend = traced(apply) if compiled else apply
    logits, stats = backend(images)
    torch.testing.assert_close(logits, module(images), rtol=1e-4, atol=1e-5)
    for name, leaf in stats.items():
        torch.testing.assert_close(leaf, module.state_dict()[name])


def test_a_layer_whose_weight_is_made_by_a_hook_stays_itself():
    def make():
        layer = nn.Conv2d(3, 4, 3)
        layer.register_forward_pre_hook(lambda layer, inputs: (2 * inputs[0],))
        return layer

    assert type(skeleton(make())) is nn.Conv2d
    model, images = from_module(make), torch.ones(1, 3, 4, 4)
    params = model.init(random.key(0))
    logits, _ = model.apply(params, images, train=True)
    weights = params.trainable["weight"], params.trainable["bias"]
    torch.testing.assert_close(logits, nn.functional.conv2d(2 * images, *weights))


def test_a_missing_key_is_asked_for_by_layer_name():
    model = full()
    with pytest.raises(ValueError, match=r"dropout layers 3, 4: pass apply\(\.\.\., key=\.\.\.\)"):
        model.apply(model.init(random.key(0)), torch.ones(2, 3, 8, 8), train=True)


def test_images_decide_the_precision_and_normalisation_stays_float32():
    model = full()
    params = model.init(random.key(0))
    logits, stats = model.apply(
        params, torch.ones(2, 3, 8, 8, dtype=torch.bfloat16), key=random.key(1), train=True
    )
    assert logits.dtype == torch.bfloat16
    assert stats["1.running_mean"].dtype == torch.float32


def test_cumulative_batch_norm_is_refused():
    with pytest.raises(ModelError, match=r"layer '1' \(BatchNorm1d\): momentum=None"):
        from_module(lambda: nn.Sequential(nn.Flatten(), nn.BatchNorm1d(4, momentum=None)))


def test_state_dicts_go_out_and_in():
    model = full()
    params = model.init(random.key(0))
    state = to_module(model, params).state_dict()
    assert set(state) == set(model.make().state_dict())
    tree.assert_equal(from_state_dict(model.init(random.key(1)), state), params)
    with pytest.raises(ModelError, match=r"lack '0\.bias'"):
        from_state_dict(params, {k: v for k, v in state.items() if k != "0.bias"})
    with pytest.raises(ModelError, match=r"'6\.bias' has shape \(9,\), the model's \(5,\)"):
        from_state_dict(params, {**state, "6.bias": torch.zeros(9)})


def test_a_state_dict_is_loaded_in_part_and_what_was_not_is_said():
    def network(classes):
        return from_module(
            lambda: nn.Sequential(
                nn.Conv2d(3, 4, 3),
                nn.BatchNorm2d(4),
                nn.Dropout(0.3),
                nn.Flatten(),
                nn.Linear(144, classes),
            )
        )

    source, target = network(7), network(5)
    weights = source.init(random.key(0))
    state = to_module(source, weights).state_dict()
    del state["1.running_var"]
    state["extra"] = torch.zeros(1)
    like = target.init(random.key(1))
    for prefix in ("", "module.", "module.module.", "_orig_mod.module."):
        prefixed = {prefix + name: leaf for name, leaf in state.items()}
        params, report = from_state_dict(like, prefixed, strict=False)
        assert report.matched == ["0.bias", "0.weight", "1.bias", "1.running_mean", "1.weight"]
        assert report.missing == ["1.running_var"]
        assert report.left_over == ["extra"]
        assert report.other_shape == {
            "4.bias": ((7,), (5,)),
            "4.weight": ((7, 144), (5, 144)),
        }
        given = {**weights.trainable, **weights.stats}
        kept = {**like.trainable, **like.stats}
        for name, leaf in {**params.trainable, **params.stats}.items():
            assert torch.equal(leaf, (given if name in report.matched else kept)[name]), name
        assert tree.first_layout_difference(params, like) is None
    assert str(report).splitlines() == [
        "5 of 8 weights loaded",
        "  missing: 1.running_var",
        "  left over: extra",
        "  with another shape: 4.bias (7,), the model's (5,)",
        "  with another shape: 4.weight (7, 144), the model's (5, 144)",
    ]
    whole, report = from_state_dict(weights, to_module(source, weights).state_dict(), strict=False)
    tree.assert_equal(whole, weights)
    assert not (report.missing)
    assert not (report.left_over)
    assert not (report.other_shape)


def test_prefixes_of_wrappers_are_left_out_of_whole_state_dicts_but_not_of_a_models_own_names():
    model = from_module(lambda: nn.Sequential(nn.Flatten(), nn.Linear(192, 5)))
    params = model.init(random.key(0))
    wrapped = nn.DataParallel(to_module(model, params))
    tree.assert_equal(from_state_dict(params, wrapped.state_dict()), params)
    own = Params({"module.w": torch.zeros(2)}, {})
    loaded = from_state_dict(own, {"module.w": torch.ones(2)})
    tree.assert_equal(loaded.trainable, {"module.w": torch.ones(2)})
    _, report = from_state_dict(
        Params({"w": torch.zeros(2)}, {}),
        {"w": torch.ones(2), "module.w": torch.ones(2)},
        strict=False,
    )
    assert (report.matched, report.left_over) == (["w"], ["module.w"])


def test_exported_dropout_has_the_rate_of_the_params():
    model = full()
    params = model.init(random.key(0))
    params.stats["3.p"] = torch.tensor(0.125)
    assert to_module(model, params)[3].p == 0.125


def test_exported_weights_are_copies():
    model = full()
    params = model.init(random.key(0))
    before, state = copy.deepcopy(params), to_module(model, params).state_dict()
    for leaf in state.values():
        leaf.fill_(7)
    tree.assert_equal(params, before)


@pytest.mark.parametrize(
    "layer", [lambda: nn.Linear(3, 2), lambda: nn.Conv2d(3, 2, 3), lambda: nn.GRUCell(3, 2)]
)
def test_layers_that_are_not_made_anew_are_refused(layer):
    layer = layer()
    model = from_module(lambda: nn.Sequential(layer))
    with pytest.raises(ModelError, match=r"'0\.weight.*' .* inside the function given"):
        model.init(random.key(0))


class Scaled(nn.Module):
    """A network that sets its own attributes on its layers."""

    def __init__(self):
        super().__init__()
        self.conv, self.linear = nn.Conv2d(3, 2, 3), nn.Linear(2, 4)
        self.conv.scale, self.linear.scale = 2.0, 3.0

    def forward(self, x):
        pooled = self.conv(x).mean((2, 3)) * self.conv.scale
        return self.linear(pooled) * self.linear.scale


def test_what_a_network_sets_on_its_layers_stays():
    model, images = from_module(Scaled), torch.ones(2, 3, 5, 5)
    params = model.init(random.key(0))
    logits, _ = model.apply(params, images)
    torch.testing.assert_close(logits, to_module(model, params)(images))


def test_a_layer_with_a_forward_of_its_own_stays_as_it_is():
    def make():
        layer = nn.Linear(3, 2)
        layer.forward = lambda x: x.flatten(1).sum(1, keepdim=True).expand(-1, 2)
        return layer

    model = from_module(make)
    logits, _ = model.apply(model.init(random.key(0)), torch.ones(4, 3, 5, 5), train=True)
    assert torch.equal(logits, torch.full((4, 2), 75.0))


def test_a_network_may_be_a_single_layer_of_dropout():
    model = from_module(lambda: nn.Dropout(0.5))
    params, images = model.init(random.key(0)), torch.ones(64, 3, 8, 8)
    assert list(params.stats) == ["p"]
    drawn, _ = model.apply(params, images, key=random.key(1), train=True)
    assert drawn.unique().tolist() == [0.0, 2.0]
    assert torch.equal(model.apply(params, images)[0], images)
    params.stats["p"] = torch.tensor(0.125)
    assert to_module(model, params).p == 0.125
