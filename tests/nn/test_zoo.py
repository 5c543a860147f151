"""A small part of the zoo; `python tests/zoo.py` runs all of it."""

import pytest
import zoo

NETWORKS = ["shufflenet_v2_x0_5", "vgg11_bn", "timm/resnet10t", "timm/lcnet_050"]


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_keeps_what_fnet_promises(name):
    kind, why = zoo.verdict(name)
    assert kind == "passes", why


def test_the_zoo_fails_where_a_network_does(monkeypatch, capsys):
    def hold(name, compiled):
        if name == "refused":
            raise zoo.ModelError("layer 'a' draws")
        if name == "broken":
            raise AssertionError("other logits")
        return "64 pixels"

    monkeypatch.setattr(zoo, "hold", hold)
    monkeypatch.setattr(zoo, "REFUSED", {"refused": "draws"})
    assert zoo.main(["--only", "fine", "refused"]) == 0
    assert zoo.main(["--only", "fine", "broken"]) == 1
    assert "| broken | FAILED | AssertionError: other logits |" in capsys.readouterr().out
    monkeypatch.setattr(zoo, "REFUSED", {"fine": "draws"})
    assert zoo.main(["--only", "fine"]) == zoo.main(["--only", "refused"]) == 1


def test_the_zoo_goes_on_where_it_was_killed(monkeypatch, tmp_path, capsys):
    held = []

    def hold(name, compiled):
        held.append((name, compiled))
        if name == "broken":
            raise AssertionError("other logits")
        return "64 pixels"

    monkeypatch.setattr(zoo, "hold", hold)
    monkeypatch.setattr(zoo, "COMPILED", ["fine"])
    out = ["--out", str(tmp_path / "zoo.jsonl")]
    assert zoo.main(["--only", "fine", "broken", "--skip-compiled", *out]) == 1
    with (tmp_path / "zoo.jsonl").open("a") as file:
        file.write('\n{"network": "oth')
    first = capsys.readouterr().out
    assert zoo.main(["--only", "fine", "broken", "--skip-compiled", *out]) == 1
    assert capsys.readouterr().out == first
    assert held == [("fine", False), ("broken", False)]
    # Without --skip-compiled, what was not compiled is tested anew.
    for _ in range(2):
        assert zoo.main(["--only", "fine", "broken", *out]) == 1
        assert held[2:] == [("fine", True)]
