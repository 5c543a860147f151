"""The generated data set "shapes": ten classes of small drawings, a pure function of a key.

Position, size, rotation, colours, background, clutter and noise vary, so that a linear model is
far less accurate than a small convolutional network after two epochs.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from fnet import random
from fnet.data.dataset import Dataset

SIZE = 32
"""Height and width of an image, in pixels."""

VERSION = 1  # of the drawings: decoded ones of another version are drawn anew

_STRIPES = 2
_NOISE = 0.2  # the range of the noise; black is 0, white is 1
_CHUNK = 250  # images drawn at once: few enough to fit in a CPU's cache
_ANGLES = 256


def shapes(key: Tensor, n: int) -> Dataset:
    """Return n images of 32 x 32 RGB pixels; image i has class i % 10 and depends on key and i.

    So `shapes(key, m)` is a prefix of `shapes(key, n)` for m < n. The images are on the key's
    device, and are bit-identical on every device.

    Raises:
        ValueError: n is below 1.

    >>> shapes(random.key(0), 12).labels.tolist()
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
    """
    if n < 1:
        raise ValueError(f"a data set needs at least 1 image, got n={n}")
    return draw(key, torch.arange(n, device=key.device))


def draw(key: Tensor, index: Tensor) -> Dataset:
    """Return the images of `shapes` with these indices, int64 `[n]`, on the key's device."""
    images = torch.cat([_draw(key, part) for part in index.split(_CHUNK)])
    images = images.contiguous(memory_format=torch.channels_last)
    return Dataset(images, index % len(CLASSES), CLASSES, "shapes")


def _draw(key: Tensor, index: Tensor) -> Tensor:
    """Return the images of these indices, uint8 `[n, 3, H, W]`."""
    keys = random.split(random.fold_in(key, index), 3)
    # Each is [n, 1, 1] or, for a colour, [n, 3, 1, 1]: they broadcast over the pixels.
    draws = random.uniform(keys[:, 0], (6 + 3 * _STRIPES,))[..., None, None].unbind(1)
    colours = random.uniform(keys[:, 1], (3 + _STRIPES, 3))[..., None, None].unbind(1)
    polarity, slope, angle, right, down, scale = draws[:6]
    start, end, contrast = 0.25 + 0.5 * colours[0], 0.25 + 0.5 * colours[1], colours[2]

    along = torch.arange(SIZE, dtype=torch.float32, device=key.device) - (SIZE - 1) / 2
    x, y = along[None, :], along[:, None]
    ramp = _rotate(x, y, slope)[0] / SIZE + 0.5
    picture = start + (end - start) * ramp.clamp(0, 1)[:, None]

    for i in range(_STRIPES):
        turn, shift, width = draws[6 + 3 * i : 9 + 3 * i]
        across = _rotate(x, y, turn)[0] + 24 * (shift - 0.5)
        picture = _paint(picture, 0.25 + 0.5 * colours[3 + i], across.abs() - (0.5 + width))

    # The shape is lighter (or darker) than the centre of the background in every channel.
    radius = 8 + 4 * scale
    x, y = _rotate(x - 6 * (right - 0.5), y - 6 * (down - 0.5), (angle - 0.5) / 4)
    x, y = x / radius, y / radius
    distance = torch.empty_like(x)
    for label, signed_distance in enumerate(_DISTANCES.values()):
        rows = index % len(_DISTANCES) == label
        distance[rows] = signed_distance(x[rows], y[rows])
    step = 0.3 + 0.2 * contrast
    colour = (start + end) / 2 + torch.where(polarity[:, None] < 0.5, step, -step)
    picture = _paint(picture, colour, distance * radius)

    # Each random word gives eight 4-bit numbers. They are multiplied by a constant, because
    # division by 15 is not exact on a GPU.
    words = random.bits(keys[:, 2], (3, SIZE, SIZE // 8))
    noise = torch.cat([words >> shift & 15 for shift in range(0, 32, 4)], -1)
    picture = picture + (noise.float() - 7.5) * (_NOISE / 15)
    return (picture.clamp(0, 1) * 255).round().to(torch.uint8)


def _paint(picture: Tensor, colour: Tensor, distance: Tensor) -> Tensor:
    """Return the picture with a colour wherever the distance (in pixels) is negative."""
    cover = (0.5 - distance).clamp(0, 1)[:, None]
    return picture + (colour - picture) * cover


def _rotate(x: Tensor, y: Tensor, turn: Tensor) -> tuple[Tensor, Tensor]:
    """Return the coordinates in axes rotated by `turn`, a fraction of the full circle."""
    # A table, because the last bit of torch's sine depends on the processor; that of sums,
    # products, quotients and square roots does not.
    angles = [2 * math.pi * i / _ANGLES for i in range(_ANGLES)]
    table = torch.tensor([(math.cos(angle), math.sin(angle)) for angle in angles]).to(x)
    cos, sin = table[(turn * _ANGLES).long() % _ANGLES].unbind(-1)
    return cos * x + sin * y, cos * y - sin * x


# Signed distances: negative inside, positive outside, for a shape of radius about 1 around 0.


def _circle(x: Tensor, y: Tensor) -> Tensor:
    return (x * x + y * y).sqrt() - 0.9


def _ring(x: Tensor, y: Tensor) -> Tensor:
    return (_circle(x, y) + 0.2).abs() - 0.18


def _box(x: Tensor, y: Tensor, half_width: float, half_height: float) -> Tensor:
    return torch.maximum(x.abs() - half_width, y.abs() - half_height)


def _square(x: Tensor, y: Tensor) -> Tensor:
    return _box(x, y, 0.8, 0.8)


def _frame(x: Tensor, y: Tensor) -> Tensor:
    return (_box(x, y, 0.65, 0.65)).abs() - 0.16


def _bar(x: Tensor, y: Tensor) -> Tensor:
    return _box(x, y, 1.0, 0.25)


def _cross(x: Tensor, y: Tensor) -> Tensor:
    return torch.minimum(_bar(x, y), _bar(y, x))


def _half_planes(x: Tensor, y: Tensor, n: int, inner: float) -> Tensor:
    """Return the distances to n lines around 0, `[n, ...]`; each line is `inner` away from 0."""
    angles = [2 * math.pi * i / n for i in range(n)]
    return torch.stack([math.cos(a) * x + math.sin(a) * y - inner for a in angles])


def _triangle(x: Tensor, y: Tensor) -> Tensor:
    return _half_planes(x, y, 3, 0.5).amax(0)


def _star(x: Tensor, y: Tensor) -> Tensor:
    # A pentagram: the points on the inner side of at least four of its five lines.
    return _half_planes(x, y, 5, 0.36).topk(2, 0).values[1]


def _crescent(x: Tensor, y: Tensor) -> Tensor:
    return torch.maximum(_circle(x, y), -(_circle(x - 0.45, y) + 0.1))


def _hourglass(x: Tensor, y: Tensor) -> Tensor:
    return torch.maximum((x.abs() - y.abs()) * 0.7, y.abs() - 0.85)


_DISTANCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "circle": _circle,
    "ring": _ring,
    "square": _square,
    "frame": _frame,
    "bar": _bar,
    "cross": _cross,
    "triangle": _triangle,
    "star": _star,
    "crescent": _crescent,
    "hourglass": _hourglass,
}

CLASSES = tuple(_DISTANCES)
"""The names of the classes."""
