"""The cache: used when right, rebuilt when stale or damaged, never half-written."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from fnet.data import folder as folder_module
from fnet.data import load
from fnet.data.cache import Arrays, cached

ARRAYS = Arrays(
    np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3, 1), np.array([0, 1]), ("even", "odd")
)
FILES = [("a", 1, 2)]


def refuse(*args):
    raise AssertionError("decoded again")


def build():
    return ARRAYS


def is_right(arrays):
    return (
        np.array_equal(arrays.images, ARRAYS.images)
        and np.array_equal(arrays.labels, ARRAYS.labels)
        and arrays.classes == ARRAYS.classes
    )


def test_the_second_start_decodes_nothing(folder, monkeypatch):
    first = load(folder)
    monkeypatch.setattr(folder_module, "decode", refuse)
    second = load(folder)
    assert second.images.equal(first.images)
    assert second.images.stride() == first.images.stride()
    assert second.labels.equal(first.labels)


def test_arrays_can_be_written_to_without_changing_the_file(cache):
    arrays = cached("source", FILES, build)
    arrays.images[0] = 99
    assert is_right(cached("source", FILES, refuse))


@pytest.mark.parametrize("change", ["pixels", "one more", "one less", "renamed"])
def test_a_changed_source_is_decoded_again(folder, cache, change):
    before = load(folder)
    image = folder / "train/ant/3.png"
    if change == "pixels":
        Image.fromarray(np.full((5, 6, 3), 77, np.uint8)).save(image)
    elif change == "one more":
        shutil.copy(image, image.with_name("4.png"))
    elif change == "one less":
        image.unlink()
    else:
        image.rename(image.with_name("-.png"))
    after = load(folder)
    assert len(after) != len(before) or not after.images.equal(before.images)
    assert len(list(cache.iterdir())) == 1, "the stale entry is gone"


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


def flip_a_bit(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def edit_meta(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


DAMAGE = {
    "images cut": lambda entry: cut(entry / "images.npy"),
    "images one bit": lambda entry: flip_a_bit(entry / "images.npy"),
    "images gone": lambda entry: (entry / "images.npy").unlink(),
    "images empty": lambda entry: (entry / "images.npy").write_bytes(b""),
    "labels cut": lambda entry: cut(entry / "labels.npy"),
    "labels one bit": lambda entry: flip_a_bit(entry / "labels.npy"),
    "meta gone": lambda entry: (entry / "meta.json").unlink(),
    "meta cut": lambda entry: cut(entry / "meta.json"),
    "meta not a dict": lambda entry: (entry / "meta.json").write_text("[]"),
    "another version": lambda entry: edit_meta(entry / "meta.json", version=0),
    "other classes": lambda entry: edit_meta(entry / "meta.json", classes=None),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_entry_is_built_again(cache, damage):
    cached("source", FILES, build)
    (entry,) = cache.iterdir()
    DAMAGE[damage](entry)
    assert is_right(cached("source", FILES, build))
    assert is_right(cached("source", FILES, refuse)), "the entry is whole again"
    assert list(cache.iterdir()) == [entry], "nothing is left over"


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_an_interrupted_write_leaves_nothing(cache, monkeypatch, error):
    def fail(*args):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(json, "dumps", lambda value: fail() if "version" in value else "")
        with pytest.raises(error):
            cached("source", FILES, build)
    assert list(cache.iterdir()) == []
    assert is_right(cached("source", FILES, build))


@pytest.mark.parametrize("start", ["absent", "damaged"])
def test_many_at_once(cache, start):
    for _ in range(20):
        for entry in cache.iterdir() if cache.exists() else ():
            if start == "absent":
                shutil.rmtree(entry)
            else:
                cut(entry / "meta.json")
        with ThreadPoolExecutor(16) as pool:
            results = list(pool.map(lambda _: cached("source", FILES, build), range(16)))
        assert all(is_right(arrays) for arrays in results)
        assert len(list(cache.iterdir())) == 1


def test_a_cache_that_cannot_be_written_costs_a_warning(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("FNET_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.warns(UserWarning, match="kept in memory only.*Set FNET_CACHE") as caught:
        assert is_right(cached("source", FILES, build))
    assert len(caught) == 1


def test_sources_do_not_share_an_entry(cache):
    cached("source", FILES, build)
    other = Arrays(ARRAYS.images + 1, ARRAYS.labels, ARRAYS.classes)
    assert not is_right(cached("other", FILES, lambda: other))
    assert is_right(cached("source", FILES, refuse))
