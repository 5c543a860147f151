import pytest
from contenders import work

from recipes.bench.roster import candidates


@pytest.mark.parametrize(
    ("changes", "forms"),
    [
        ({}, [{}]),
        ({"device": "cuda:0"}, [{}, {"cuda_graph": True}]),
        ({"device": "cuda:0", "compiled": False}, [{}]),
    ],
)
def test_only_a_gpu_has_cuda_graphs(changes, forms):
    found = candidates("fnet", work(**{"compiled": True, **changes}))
    assert [form.options for form in found] == forms
