"""Images of all kinds come out as a data set holds them; everything else is refused by name."""

import contextlib
import warnings
import zlib
from io import BytesIO

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fnet.data import DataError, load, resize
from fnet.data.files.decode import BrokenImageError, decode_image, read_image, read_pixels

RGB = np.random.default_rng(0).integers(0, 256, (5, 6, 3), dtype=np.uint8)
GREY = RGB[..., 0]


def encoded(image, kind="PNG", **options):
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def decoded(image, shape=(3, 5, 6), kind="PNG", **options):
    return decode_image(encoded(image, kind, **options), shape, "it")


def pixels(tensor):
    return tensor.permute(1, 2, 0).numpy()


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "WEBP"])
def test_lossless_formats_give_the_pixels(kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    image = decoded(Image.fromarray(RGB), kind=kind, **options)
    assert image.dtype == torch.uint8
    assert image.stride() == (1, 18, 3)
    assert np.array_equal(pixels(image), RGB)


@pytest.mark.parametrize("kind", ["png", "bmp", "tiff", "jpg"])
@pytest.mark.parametrize("grey", [False, True])
def test_a_file_is_what_the_data_set_makes_of_it(folder, kind, grey):
    for place, path in enumerate(sorted(folder.glob("*/*/*.png"))):
        noise = np.random.default_rng(place).integers(0, 256, (5, 6, 3), dtype=np.uint8)
        image = Image.fromarray(noise)
        (image.convert("L") if grey else image).save(path.with_suffix(f".{kind}"))
        if kind != "png":
            path.unlink()
    held = load(folder).images
    files = sorted(folder.glob("train/*/*"))
    assert len(files) == len(held) == 8
    for path, image in zip(files, held, strict=True):
        assert read_image(path, tuple(image.shape)).equal(image)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_turned_and_transparent_file_is_what_the_data_set_makes_of_it(folder, mode, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    for path in folder.glob("train/*/*.png"):
        if mode == "P":
            Image.fromarray(RGB).quantize(8).save(path, exif=exif, transparency=0)
        else:
            image = Image.fromarray(RGB).convert(mode)
            if "A" in mode:
                image.putalpha(Image.fromarray(GREY))
            image.save(path, exif=exif)
    held = load(folder).images
    size = (6, 5) if orientation == 6 else (5, 6)
    assert held.shape == (8, 1 if mode in ("L", "LA") else 3, *size)
    assert read_image(folder / "train/ant/0.png", tuple(held.shape[1:])).equal(held[0])


def test_another_size_is_resized_as_tensors_are():
    whole = torch.from_numpy(RGB).permute(2, 0, 1)[None]
    assert decoded(Image.fromarray(RGB), (3, 3, 4)).equal(resize(whole, (3, 4))[0])
    assert decoded(Image.fromarray(RGB), (3, 9, 2)).equal(resize(whole, (9, 2))[0])


def test_grey_and_colour_become_what_the_network_takes():
    grey = Image.fromarray(GREY)
    assert np.array_equal(pixels(decoded(grey)), np.repeat(GREY[..., None], 3, 2))
    assert np.array_equal(pixels(decoded(grey, (1, 5, 6)))[..., 0], GREY)
    luma = np.asarray(Image.fromarray(RGB).convert("L"))
    assert np.array_equal(pixels(decoded(Image.fromarray(RGB), (1, 5, 6)))[..., 0], luma)


def test_a_palette_gives_its_colours():
    image = Image.fromarray(RGB).quantize(8)
    assert np.array_equal(pixels(decoded(image)), np.asarray(image.convert("RGB")))


def test_cmyk_becomes_rgb():
    image = Image.fromarray(RGB).convert("CMYK")
    assert np.array_equal(pixels(decoded(image, kind="TIFF")), np.asarray(image.convert("RGB")))


def test_two_values_become_black_and_white():
    image = Image.fromarray(GREY > 127)
    assert np.array_equal(pixels(decoded(image, (1, 5, 6)))[..., 0], (GREY > 127) * np.uint8(255))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_shows_black_and_opacity_the_image(mode):
    image = Image.fromarray(RGB).convert("RGB" if mode == "P" else mode)
    if mode == "P":
        shown = image.quantize(8)
        index = np.asarray(shown)
        clear = index == 0
        result = decoded(shown, transparency=0)
        whole = np.asarray(shown.convert("RGB"))
    else:
        clear = np.zeros((5, 6), bool)
        clear[:2] = True
        image.putalpha(Image.fromarray(np.where(clear, 0, 255).astype(np.uint8)))
        result, whole = decoded(image), np.asarray(image.convert("RGB"))
    assert clear.any()
    assert np.array_equal(pixels(result), np.where(clear[..., None], 0, whole))


def test_half_transparent_is_half_as_bright():
    image = Image.new("RGBA", (1, 1), (200, 100, 50, 128))
    assert decoded(image, (3, 1, 1)).flatten().tolist() == [100, 50, 25]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_the_image_upright(orientation):
    turns = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: a.transpose(1, 0, 2)[:, ::-1],
        7: lambda a: a.transpose(1, 0, 2)[::-1, ::-1],
        8: lambda a: a.transpose(1, 0, 2)[::-1],
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = turns[orientation](RGB)
    image = decoded(Image.fromarray(RGB), (3, *upright.shape[:2]), exif=exif)
    assert np.array_equal(pixels(image), upright)


def test_exif_data_that_cannot_be_read_say_nothing():
    whole = encoded(Image.fromarray(RGB), exif=b"Exif\0\0no TIFF header")
    assert np.array_equal(pixels(decode_image(whole, (3, 5, 6), "it")), RGB)


def bomb():
    """A PNG that says it has 10^10 pixels, in a few hundred bytes."""
    content = bytearray(encoded(Image.new("L", (1, 1))))
    content[16:24] = (100_000).to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    return bytes(content)


PROBLEMS = {
    "text": (lambda: b"not an image", "it is not an image in one of the formats BMP"),
    "nothing": (lambda: b"", "it is not an image"),
    "cut short": (lambda: encoded(Image.fromarray(RGB))[:-30], "or is damaged"),
    "16 bits": (lambda: encoded(Image.fromarray(GREY.astype(np.uint16))), "not an 8-bit image"),
    "a program": (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
    "a bomb": (bomb, r"more than [\d,]+ pixels"),
}


@pytest.mark.parametrize("problem", PROBLEMS)
def test_every_problem_is_named(problem):
    make, message = PROBLEMS[problem]
    with pytest.raises(DataError, match=message):
        decode_image(make(), (3, 5, 6), "it")


@pytest.mark.parametrize("factor", [1, 3])
def test_a_bomb_is_refused_before_it_is_decoded(monkeypatch, factor):
    """Pillow warns of it from its limit on, and refuses it from twice that."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", RGB.size // 3 // factor - 1)
    monkeypatch.setattr(Image.Image, "convert", lambda *_: pytest.fail("decoded"))
    with pytest.raises(DataError, match="too many to decode"):
        decoded(Image.fromarray(RGB))


def test_no_file_and_no_permission(tmp_path):
    for path in (tmp_path / "gone.png", tmp_path):
        with pytest.raises(DataError, match=f"there is no image {path}"):
            read_image(path, (3, 5, 6))


def test_pixels_are_read_without_a_hand_on_the_filters_of_warnings(tmp_path, monkeypatch):
    """They are those of all threads."""
    Image.fromarray(GREY).save(tmp_path / "0.png")
    (tmp_path / "1.png").write_text("no image")
    with monkeypatch.context() as patch:
        patch.setattr(warnings, "catch_warnings", None)
        assert np.array_equal(read_pixels(tmp_path / "0.png"), GREY[..., None])
        assert np.array_equal(read_pixels(tmp_path / "0.png", 3), np.repeat(GREY[..., None], 3, 2))
        with pytest.raises(BrokenImageError, match=r"1\.png is not an image"):
            read_pixels(tmp_path / "1.png")
        with pytest.raises(BrokenImageError, match=r"2\.png cannot be read \(No such file"):
            read_pixels(tmp_path / "2.png")


KINDS = [encoded(Image.fromarray(RGB), kind) for kind in ("PNG", "JPEG", "GIF", "TIFF", "BMP")]


@settings(max_examples=200)
@given(
    st.sampled_from(KINDS),
    st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=8),
    st.integers(0, 2000),
)
def test_a_damaged_file_is_an_image_or_a_clear_error(content, changes, length):
    damaged = bytearray(content[: max(length, 20)])
    for place, value in changes:
        damaged[place % len(damaged)] = value
    with contextlib.suppress(DataError):
        assert decode_image(bytes(damaged), (3, 4, 4), "it").shape == (3, 4, 4)


def test_the_filters_of_warnings_are_the_callers_again():
    before = list(warnings.filters)
    decoded(Image.fromarray(RGB))
    assert warnings.filters == before
