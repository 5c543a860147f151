"""Images made to fit a size: the size, the part that is kept, and the pixels of a resize."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fnet.data import fit_to, resize

SIDES = st.integers(1, 40)
FITS = ("crop", "pad", "stretch")


def noise(height, width, channels=3):
    """Return one image `[1, C, H, W]` of levels 1 to 255, as a file is decoded."""
    levels = np.random.default_rng(0).integers(1, 256, (1, height, width, channels), np.uint8)
    return torch.from_numpy(levels).permute(0, 3, 1, 2)


@settings(max_examples=40)
@given(SIDES, SIDES, st.tuples(SIDES, SIDES), st.sampled_from(FITS), st.integers(1, 4))
def test_every_image_gets_the_size_and_keeps_its_range(height, width, size, fit, channels):
    images = noise(height, width, channels)
    fitted = fit_to(images, size, fit)
    assert (fitted.shape, fitted.dtype) == ((1, channels, *size), torch.uint8)
    assert fitted.max() <= images.max()
    if fit != "pad":
        assert fitted.min() >= images.min()
    assert fit_to(fitted, size, fit) is fitted
    assert fit_to(images, (height, width), fit) is images


@settings(max_examples=25)
@given(st.integers(1, 8), st.integers(1, 8), st.integers(1, 4), st.sampled_from(FITS))
def test_with_the_aspect_ratio_kept_all_fits_are_a_resize(height, width, factor, fit):
    images = noise(height * factor, width * factor)
    assert fit_to(images, (height, width), fit).equal(resize(images, (height, width)))


def test_crop_keeps_the_centre_and_pad_keeps_everything():
    images = torch.zeros(1, 1, 4, 12, dtype=torch.uint8)
    images[..., 4:8] = 200
    assert (fit_to(images, (4, 4), "crop") == 200).all()
    padded = fit_to(images, (6, 12), "pad")
    assert padded[:, :, 1:5].equal(images)
    assert not padded[:, :, [0, 5]].any()
    tall = fit_to(images.mT, (4, 4), "crop")
    assert (tall == 200).all()


def test_an_unknown_fit():
    with pytest.raises(ValueError, match="fit is crop, pad or stretch, got 'squeeze'"):
        fit_to(noise(3, 4), (4, 4), "squeeze")
