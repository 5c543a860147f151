"""Pictures inside a page, as addresses that hold them: plots follow the page's theme."""

import base64
import io

from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from fnet.show.plots import render
from fnet.show.plots.style import DARK, LIGHT, Theme


def plot(figure: Figure) -> str:
    """Return the address of a figure of `fnet.show.plots`, light or dark as the page is."""
    return _address("image/svg+xml", themed(render(figure, "svg").decode()).encode())


def themed(svg: str) -> str:
    """Return a drawing in the light theme with those colours made to follow the reader's choice.

    One drawing then serves both themes, in half the time and half the size of two.
    """

    def colors(theme: Theme) -> str:
        values = theme._asdict().items()
        return "svg{" + "".join(f"--{name}:{color};" for name, color in values) + "}"

    for name, color in LIGHT._asdict().items():
        svg = svg.replace(color, f"var(--{name})")
    style = f"{colors(LIGHT)}@media (prefers-color-scheme: dark){{{colors(DARK)}}}"
    return svg.replace("<defs>", f"<style>{style}</style><defs>", 1)


def photo(pixels: Tensor) -> str:
    """Return the address of an image of a data set, uint8 `[C, H, W]` on any device."""
    values = pixels.permute(1, 2, 0).cpu().numpy()
    buffer = io.BytesIO()
    Image.fromarray(values[..., 0] if values.shape[-1] == 1 else values).save(buffer, "PNG")
    return _address("image/png", buffer.getvalue())


def _address(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
