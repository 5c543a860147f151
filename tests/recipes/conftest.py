import pytest

from fnet import data


@pytest.fixture(autouse=True)
def _few_images(monkeypatch):
    """Train and evaluate on few images: what is tested here does not need 2,000."""
    load = data.load

    def short(name, root=None, *, split="train", **options):
        loaded = load(name, root, split=split, **options)
        return loaded.take(min(len(loaded), 40 if split == "test" else 256))

    monkeypatch.setattr(data, "load", short)
