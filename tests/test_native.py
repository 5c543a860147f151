"""C++ of the package: compiled once, called with tensors of the dtype it is for."""

import pytest
import torch

from fnet import native


def test_a_source_file_is_compiled_once():
    library = native.library("fnet.nn", "winograd.cpp")
    assert library is native.library("fnet.nn", "winograd.cpp")
    assert library.scratch(16, 32) > 36 * 48


@pytest.mark.parametrize(
    "dtypes", [[torch.bfloat16], [torch.float32, torch.float64], [torch.float32, torch.int64]]
)
def test_tensors_are_float_or_double_alone(dtypes):
    library = native.library("fnet.nn", "winograd.cpp")
    with pytest.raises(TypeError, match=str(dtypes[-1])):
        native.call(library, "convolve", [], *(torch.zeros(1, dtype=dtype) for dtype in dtypes))
