"""Published data sets: read in torchvision's layout without a network, and clear without either."""

import dataclasses
import hashlib
import pickle
import socket
import struct
import time

import numpy as np
import pytest
import torch
from torchvision import datasets

from fnet.data import DataError, load, sources
from fnet.data.load import data_dir

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 3, 32, 32), dtype=np.uint8)
LABELS = [3, 1, 2, 0, 1, 2]


@pytest.fixture
def offline(monkeypatch):
    def refuse(*args):
        raise AssertionError("touched the network")

    monkeypatch.setattr(sources, "_download", refuse)


@pytest.fixture
def cifar10(tmp_path, monkeypatch, cache):
    """A data directory that holds a CIFAR-10 of six images, three to a file, twice."""
    folder = tmp_path / "data" / "cifar-10-batches-py"
    folder.mkdir(parents=True)

    def write(name, content):
        data = pickle.dumps(content, protocol=2)
        (folder / name).write_bytes(data)
        return [name, hashlib.md5(data).hexdigest()]

    def batch(name, rows):
        return write(name, {"data": PIXELS[rows].reshape(3, -1), "labels": LABELS[rows]})

    class Small(datasets.CIFAR10):
        train_list = [batch("one", slice(0, 3)), batch("two", slice(3, 6))]  # noqa: RUF012
        test_list = [batch("three", slice(0, 3))]  # noqa: RUF012
        names = {"label_names": ["plane", "car", "bird", "cat"]}  # noqa: RUF012
        meta = {  # noqa: RUF012
            "filename": "batches.meta",
            "key": "label_names",
            "md5": write("batches.meta", names)[1],
        }

    monkeypatch.setitem(sources.SOURCES, "cifar10", sources._cifar(Small))
    return tmp_path / "data"


@pytest.fixture
def mnist(tmp_path, cache):
    """A data directory that holds an MNIST of six training and three test images."""
    folder = tmp_path / "data" / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for stem, n in (("train", 6), ("t10k", 3)):
        images = PIXELS[:n, 0, :28, :28].tobytes()
        header = struct.pack(">IIII", 0x803, n, 28, 28)
        (folder / f"{stem}-images-idx3-ubyte").write_bytes(header + images)
        header = struct.pack(">II", 0x801, n)
        (folder / f"{stem}-labels-idx1-ubyte").write_bytes(header + bytes(LABELS[:n]))
    return tmp_path / "data"


def test_cifar10(cifar10, offline):
    for dataset in (load("cifar10", cifar10), load("cifar10", cifar10)):
        assert dataset.images.equal(torch.from_numpy(PIXELS))
        assert dataset.images.stride() == (3072, 1, 96, 3)
        assert dataset.labels.tolist() == LABELS
        assert (dataset.name, dataset.classes) == ("cifar10", ("plane", "car", "bird", "cat"))
    assert load("cifar10", cifar10, split="test").images.equal(torch.from_numpy(PIXELS[:3]))


def test_mnist(mnist, offline):
    for dataset in (load("mnist", mnist), load("mnist", mnist)):
        assert dataset.images.equal(torch.from_numpy(PIXELS[:, :1, :28, :28]))
        assert dataset.labels.tolist() == LABELS
        assert len(dataset.classes) == 10
    assert load("mnist", mnist, split="test").images.shape == (3, 1, 28, 28)


def test_every_published_set_is_torchvision_s():
    assert {name: source.make for name, source in sources.SOURCES.items()} == {
        "cifar10": datasets.CIFAR10,
        "cifar100": datasets.CIFAR100,
        "mnist": datasets.MNIST,
        "fashion_mnist": datasets.FashionMNIST,
    }


@pytest.mark.parametrize("size", [0, 10, 1000])
@pytest.mark.parametrize("file", ["train-images-idx3-ubyte", "train-labels-idx1-ubyte"])
def test_damaged_mnist(mnist, offline, file, size):
    path = mnist / "MNIST" / "raw" / file
    path.write_bytes(path.read_bytes()[: min(size, path.stat().st_size - 1)])
    with pytest.raises(DataError, match=r"files of mnist in .*raw are damaged .*Remove"):
        load("mnist", mnist)


def test_damaged_cifar10(cifar10, offline):
    with (cifar10 / "cifar-10-batches-py" / "two").open("ab") as file:
        file.write(b"!")
    with pytest.raises(DataError, match=r"files of cifar10 in .*-py are damaged"):
        load("cifar10", cifar10)


def test_no_files_and_no_network(tmp_path, monkeypatch):
    nowhere = dataclasses.replace(sources.SOURCES["mnist"], url="http://127.0.0.1:9/mnist.gz")
    monkeypatch.setitem(sources.SOURCES, "mnist", nowhere)
    with pytest.raises(DataError, match=r"cannot be downloaded from http://127.*copy its files"):
        load("mnist", tmp_path)


def test_a_host_that_never_answers_is_given_up():
    with socket.create_server(("127.0.0.1", 0)) as server:
        started = time.monotonic()
        problem = sources.probe(f"http://127.0.0.1:{server.getsockname()[1]}/", seconds=0.2)
    assert problem is not None
    assert time.monotonic() - started < 2


def test_a_download_that_fails_says_why(tmp_path, monkeypatch):
    def make(root, download):
        raise RuntimeError("File not found or corrupted.")

    monkeypatch.setattr(sources, "probe", lambda url: None)
    broken = dataclasses.replace(sources.SOURCES["mnist"], make=make)
    monkeypatch.setitem(sources.SOURCES, "mnist", broken)
    with pytest.raises(DataError, match="corrupted"):
        load("mnist", tmp_path)


def test_the_data_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("FNET_DATA", str(tmp_path / "environment"))
    assert data_dir(tmp_path / "argument") == tmp_path / "argument"
    assert data_dir() == tmp_path / "environment"
    monkeypatch.delenv("FNET_DATA")
    assert data_dir().parts[-2:] == ("fnet", "data")
