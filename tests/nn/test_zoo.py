"""A small part of the zoo; `python tests/zoo.py` runs all of it."""

import pytest
import zoo

NETWORKS = ["shufflenet_v2_x0_5", "squeezenet1_1", "timm/resnet10t", "timm/lcnet_050"]


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_keeps_what_fnet_promises(name):
    assert zoo.verdict(name).startswith("passes: ")
