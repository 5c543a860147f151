"""C++ of the package: compiled once, called with tensors of the dtype it is for."""

import pytest
import torch

from fnet import native


def test_a_source_file_is_compiled_once():
    library = native.library("fnet.nn", "winograd.cpp")
    assert library is native.library("fnet.nn", "winograd.cpp")
    assert library.scratch(16, 32) > 36 * 48


def test_there_are_functions_of_float_and_double_only():
    library = native.library("fnet.nn", "winograd.cpp")
    with pytest.raises(KeyError, match=r"torch\.bfloat16"):
        native.call(library, "convolve", [], torch.zeros(1, dtype=torch.bfloat16))
