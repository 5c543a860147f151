"""A small part of the zoo; `python tests/zoo.py` runs all of it."""

import pytest
import zoo

NETWORKS = ["shufflenet_v2_x0_5", "vgg11_bn", "timm/resnet10t", "timm/lcnet_050"]


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_keeps_what_fnet_promises(name, monkeypatch):
    monkeypatch.setattr(zoo, "COMPILED", [])
    kind, why = zoo.verdict(name)
    assert kind == "passes", why


def test_the_zoo_fails_where_a_network_does(monkeypatch, capsys):
    def hold(name):
        if name == "refused":
            raise zoo.ModelError("layer 'a' draws")
        if name == "broken":
            raise AssertionError("other logits")
        return "64 pixels"

    monkeypatch.setattr(zoo, "hold", hold)
    monkeypatch.setattr(zoo, "REFUSED", {"refused": "draws"})
    assert zoo.main(["fine", "refused"]) == 0
    assert zoo.main(["fine", "broken"]) == 1
    assert "| broken | FAILED | AssertionError: other logits |" in capsys.readouterr().out
    monkeypatch.setattr(zoo, "REFUSED", {"fine": "draws"})
    assert zoo.main(["fine"]) == zoo.main(["refused"]) == 1
