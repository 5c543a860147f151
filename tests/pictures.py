"""A small data set on disk."""

from pathlib import Path

from PIL import Image

from fnet import data, random


def draw_folder(root: Path) -> Path:
    """Write and return a folder: of each of ten classes 8 training and 4 test images, 32 x 32."""
    drawn = data.shapes(random.key(0), 120)
    for place, (image, label) in enumerate(zip(drawn.images, drawn.labels.tolist(), strict=True)):
        folder = root / ("train" if place < 80 else "test") / drawn.classes[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / f"{place:03}.png")
    return root
