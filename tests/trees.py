"""Trees of small tensors, as hypothesis draws them."""

import torch
from hypothesis import strategies as st
from states import nested

dtypes = st.sampled_from([torch.float32, torch.float64, torch.int64, torch.bool])
shapes = st.lists(st.integers(0, 3), max_size=3).map(tuple)
tensors = st.builds(
    lambda shape, dtype, seed: torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(
        dtype
    ),
    shapes,
    dtypes,
    st.integers(0, 99),
)
names = st.sampled_from(["conv1.weight", "fc.bias", "a", "b", "0"])
trees = nested(names, tensors)
