"""The cache: used when right, rebuilt when stale or damaged, never half-written."""

import json
import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from fnet.data import DataWarning, load
from fnet.data.files import cache as cache_module
from fnet.data.files import folder as folder_module
from fnet.data.files.cache import Arrays, cached

ARRAYS = Arrays(
    np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3, 1),
    np.array([0, 1]),
    ("even", "odd"),
    ("odd/3.png",),
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
        and (arrays.classes, arrays.skipped) == (ARRAYS.classes, ARRAYS.skipped)
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
    written = json.loads(path.read_text())
    path.write_text(json.dumps(written | changes))


DAMAGE = {
    "images cut": lambda entry: cut(entry / "images"),
    "images one bit": lambda entry: flip_a_bit(entry / "images"),
    "images a folder": lambda entry: ((entry / "images").unlink(), (entry / "images").mkdir()),
    "images gone": lambda entry: (entry / "images").unlink(),
    "images empty": lambda entry: (entry / "images").write_bytes(b""),
    "labels cut": lambda entry: cut(entry / "labels"),
    "labels one bit": lambda entry: flip_a_bit(entry / "labels"),
    "meta gone": lambda entry: (entry / "meta.json").unlink(),
    "meta cut": lambda entry: cut(entry / "meta.json"),
    "meta no object": lambda entry: (entry / "meta.json").write_text("7"),
    "meta of nothing": lambda entry: (entry / "meta.json").write_text("{}"),
    "meta without end": lambda entry: (entry / "meta.json").write_text("[" * 100_000),
    "meta no text": lambda entry: (entry / "meta.json").write_bytes(b"\xff" * 9),
    "another version": lambda entry: edit_meta(entry / "meta.json", version=0),
    "other classes": lambda entry: edit_meta(entry / "meta.json", classes=["odd", "even"]),
    "no classes": lambda entry: edit_meta(entry / "meta.json", classes=None),
    "nothing skipped": lambda entry: edit_meta(entry / "meta.json", skipped=[]),
    "another shape": lambda entry: edit_meta(entry / "meta.json", shape=[1, 6, 3, 1]),
    "far too many": lambda entry: edit_meta(entry / "meta.json", shape=[2**60, 3, 3, 1]),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_entry_is_built_again(cache, damage):
    cached("source", FILES, build)
    (entry,) = cache.iterdir()
    DAMAGE[damage](entry)
    assert is_right(cached("source", FILES, build))
    assert is_right(cached("source", FILES, refuse)), "the entry is whole again"
    assert list(cache.iterdir()) == [entry], "nothing is left over"


FILES_OF_AN_ENTRY = st.sampled_from(["images", "labels", "meta.json"])
DAMAGED_BYTES = st.one_of(
    st.tuples(st.just("flip"), st.lists(st.integers(0, 10_000), min_size=1, max_size=4)),
    st.tuples(st.just("cut"), st.integers(0, 10_000)),
    st.tuples(st.just("replace"), st.binary(max_size=40)),
)


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(file=FILES_OF_AN_ENTRY, damage=DAMAGED_BYTES, bit=st.integers(0, 7))
@example(file="images", damage=("replace", b"\x93NUMPY\x01\x00\xff\xff{"), bit=0)
@example(file="meta.json", damage=("replace", b"PK\x03\x04"), bit=0)
def test_no_damage_is_ever_loaded(cache, file, damage, bit):
    cached("source", FILES, build)
    path = next(cache.iterdir()) / file
    content = bytearray(path.read_bytes())
    kind, what = damage
    if kind == "flip":
        for place in what:
            content[place % len(content)] ^= 1 << bit
    else:
        content = content[: what % len(content)] if kind == "cut" else what
    path.write_bytes(content)
    assert is_right(cached("source", FILES, build))
    assert is_right(cached("source", FILES, refuse))


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_an_interrupted_write_leaves_nothing(cache, monkeypatch, error):
    def fail(*args):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(json, "dumps", lambda value, **_: fail() if "version" in value else "")
        with pytest.raises(error):
            cached("source", FILES, build)
    assert list(cache.iterdir()) == []
    assert is_right(cached("source", FILES, build))


def test_what_a_killed_writer_leaves_is_never_read_and_goes_after_a_day(cache, monkeypatch):
    def killed(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(cache_module, "_replace", killed)
        patch.setattr(shutil, "rmtree", lambda *args, **kwargs: None)
        for source in ("source", "other"):
            with pytest.raises(KeyboardInterrupt):
                cached(source, FILES, build)
    old, recent = cache.iterdir()
    os.utime(old, (time.time() - 25 * 3600,) * 2)
    assert is_right(cached("source", FILES, build))
    assert is_right(cached("source", FILES, refuse))
    assert recent.exists()
    assert not old.exists()
    assert len(list(cache.iterdir())) == 2


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
    with pytest.warns(DataWarning, match="kept in memory only.*Set FNET_CACHE") as caught:
        assert is_right(cached("source", FILES, build))
    assert len(caught) == 1


def test_sources_do_not_share_an_entry(cache):
    cached("source", FILES, build)
    other = Arrays(ARRAYS.images + 1, ARRAYS.labels, ARRAYS.classes)
    assert not is_right(cached("other", FILES, lambda: other))
    assert is_right(cached("source", FILES, refuse))
