"""Hints for Inductor's loops: a value that is computed once and stored."""

import pytest
import torch
from exchange import compiled
from torch._inductor import metrics
from torch._inductor.utils import fresh_cache

from fnet.compiler.kernels.loops import materialized


@pytest.mark.parametrize("keep", [True, False])
def test_a_materialized_value_is_a_result_of_the_graph(keep):
    def normalised(x, scale):
        root = scale.rsqrt()
        return x * (materialized(root) if keep else root)

    x, scale = torch.rand(64, 16), torch.rand(16) + 1
    metrics.reset()
    with fresh_cache():
        result = compiled(normalised)(x, scale)
    torch.testing.assert_close(result, x * scale.rsqrt())
    assert metrics.ir_nodes_pre_fusion == (2 if keep else 1)
