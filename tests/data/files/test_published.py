"""Published data sets: read in torchvision's layout without a network, and clear without either."""

import contextlib
import dataclasses
import hashlib
import pickle
import shutil
import socket
import struct
import tarfile
import threading
import time
from http.server import BaseHTTPRequestHandler

import numpy as np
import pytest
import torch
from servers import running
from torchvision import datasets

from fnet.data import DataError, load
from fnet.data.files import published
from fnet.data.load import PUBLISHED, data_dir

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 3, 32, 32), dtype=np.uint8)
LABELS = [3, 1, 2, 0, 1, 2]


@pytest.fixture
def offline(monkeypatch):
    def refuse(*args):
        raise AssertionError("touched the network")

    monkeypatch.setattr(published, "_download", refuse)


@pytest.fixture
def root(tmp_path, cache):
    return tmp_path / "data"


def write_cifar(root, monkeypatch, name):
    """Write a CIFAR of six images, the first three for test once more, in place of `name`."""
    make = published.SOURCES[name].make
    folder = root / make.base_folder
    folder.mkdir(parents=True)
    key = "labels" if name == "cifar10" else "fine_labels"

    def write(file, content):
        data = pickle.dumps(content, protocol=2)
        (folder / file).write_bytes(data)
        return [file, hashlib.md5(data).hexdigest()]

    def batch(file, rows):
        return write(file, {"data": PIXELS[rows].reshape(3, -1), key: LABELS[rows]})

    names = {make.meta["key"]: ["plane", "car", "bird", "cat"]}
    small = type(
        make.__name__,
        (make,),
        {
            "train_list": [batch("one", slice(0, 3)), batch("two", slice(3, 6))],
            "test_list": [batch("three", slice(0, 3))],
            "meta": make.meta | {"md5": write(make.meta["filename"], names)[1]},
        },
    )
    monkeypatch.setitem(published.SOURCES, name, published._cifar(small))


def write_mnist(root, monkeypatch, name):
    """Write a data set in MNIST's format of six training and three test images."""
    folder = root / published.SOURCES[name].folder
    folder.mkdir(parents=True)
    for stem, n in (("train", 6), ("t10k", 3)):
        images = PIXELS[:n, 0, :28, :28].tobytes()
        header = struct.pack(">IIII", 0x803, n, 28, 28)
        (folder / f"{stem}-images-idx3-ubyte").write_bytes(header + images)
        header = struct.pack(">II", 0x801, n)
        (folder / f"{stem}-labels-idx1-ubyte").write_bytes(header + bytes(LABELS[:n]))


FACES = np.random.default_rng(1).integers(0, 256, (6, 1, 48, 48), dtype=np.uint8)
USAGE = ["Training", "PublicTest", "Training", "Training", "PrivateTest", "PublicTest"]
TRAIN, TEST = [0, 2, 3], [1, 4, 5]
COLUMNS = {
    "fer2013.csv": ("fer", "emotion,pixels,Usage", "{label},{pixels},{usage}"),
    "icml_face_data.csv": ("icml", "emotion, Usage, pixels", "{label},{usage},{pixels}"),
    "train.csv": ("train", "emotion,pixels", "{label},{pixels}"),
    "test.csv": ("test", "pixels", "{pixels}"),
}


@pytest.fixture
def write_fer2013(root, monkeypatch):
    """Return a function that writes one of FER2013's files: six faces, or the split it is for."""
    folder = root / "fer2013"
    folder.mkdir(parents=True)

    def write(file, labels=LABELS):
        key, header, row = COLUMNS[file]
        lines = [header] + [
            row.format(
                label=labels[i], usage=USAGE[i], pixels=" ".join(map(str, FACES[i].flatten()))
            )
            for i in {"train.csv": TRAIN, "test.csv": TEST}.get(file, range(6))
        ]
        data = "\n".join(lines).encode()
        (folder / file).write_bytes(data)
        md5 = (file, hashlib.md5(data).hexdigest())
        known = datasets.FER2013._RESOURCES | {key: md5}
        monkeypatch.setattr(datasets.FER2013, "_RESOURCES", known)

    return write


@pytest.fixture
def cifar10(root, monkeypatch):
    write_cifar(root, monkeypatch, "cifar10")
    return root


@pytest.fixture
def mnist(root, monkeypatch):
    write_mnist(root, monkeypatch, "mnist")
    return root


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_cifar(root, monkeypatch, offline, name):
    write_cifar(root, monkeypatch, name)
    for dataset in (load(name, root), load(name, root)):
        assert dataset.images.equal(torch.from_numpy(PIXELS))
        assert dataset.images.stride() == (3072, 1, 96, 3)
        assert dataset.labels.tolist() == LABELS
        assert (dataset.name, dataset.classes) == (name, ("plane", "car", "bird", "cat"))
    assert load(name, root, split="test").images.equal(torch.from_numpy(PIXELS[:3]))


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_mnist(root, monkeypatch, offline, name):
    write_mnist(root, monkeypatch, name)
    for dataset in (load(name, root), load(name, root)):
        assert dataset.images.equal(torch.from_numpy(PIXELS[:, :1, :28, :28]))
        assert dataset.labels.tolist() == LABELS
        assert (dataset.name, len(dataset.classes)) == (name, 10)
    assert load(name, root, split="test").images.shape == (3, 1, 28, 28)


@pytest.mark.parametrize("file", ["fer2013.csv", "icml_face_data.csv", "train.csv"])
def test_fer2013(root, write_fer2013, offline, file):
    write_fer2013(file)
    splits = {"train": TRAIN} if file == "train.csv" else {"train": TRAIN, "test": TEST}
    for split, rows in splits.items():
        for dataset in (load("fer2013", root, split=split), load("fer2013", root, split=split)):
            assert dataset.images.equal(torch.from_numpy(FACES[rows]))
            assert dataset.labels.tolist() == [LABELS[i] for i in rows]
            assert (dataset.name, dataset.classes) == (
                "fer2013",
                ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"),
            )


def test_a_preferred_file_of_fer2013_that_comes_later_is_read(root, write_fer2013):
    write_fer2013("train.csv")
    load("fer2013", root)
    write_fer2013("fer2013.csv", labels=[6] * 6)
    assert load("fer2013", root).labels.tolist() == [6, 6, 6]


def test_fer2013_says_which_file_to_put_where(root, write_fer2013, offline):
    with pytest.raises(
        DataError,
        match=r"train split of fer2013 is read from fer2013\.csv or icml_face_data\.csv or "
        r"train\.csv, and .*data.fer2013 has none.*https://www\.kaggle.*put it there",
    ):
        load("fer2013", root)
    write_fer2013("train.csv")
    write_fer2013("test.csv")
    with pytest.raises(DataError, match=r"from fer2013\.csv or icml_face_data\.csv, and"):
        load("fer2013", root, split="test")


def test_damaged_fer2013(root, write_fer2013):
    write_fer2013("icml_face_data.csv")
    with (root / "fer2013" / "icml_face_data.csv").open("ab") as file:
        file.write(b"!")
    with pytest.raises(DataError, match=r"damaged \(icml.*\)\. Download icml_face_data\.csv again"):
        load("fer2013", root)


def test_every_published_set_is_torchvision_s():
    peers = {
        "cifar10": datasets.CIFAR10,
        "cifar100": datasets.CIFAR100,
        "mnist": datasets.MNIST,
        "fashion_mnist": datasets.FashionMNIST,
        "fer2013": datasets.FER2013,
    }
    assert peers.keys() == published.SOURCES.keys() == set(PUBLISHED)
    for name, source in published.SOURCES.items():
        assert issubclass(source.make, peers[name])


@pytest.mark.parametrize("size", [0, 10, 1000])
@pytest.mark.parametrize("file", ["train-images-idx3-ubyte", "train-labels-idx1-ubyte"])
def test_damaged_mnist(mnist, offline, file, size):
    path = mnist / "MNIST" / "raw" / file
    path.write_bytes(path.read_bytes()[: min(size, path.stat().st_size - 1)])
    with pytest.raises(DataError, match=r"files of mnist in .*raw are damaged .*Delete train-im"):
        load("mnist", mnist)


def test_labels_outside_the_classes(mnist, offline):
    path = mnist / "MNIST" / "raw" / "train-labels-idx1-ubyte"
    path.write_bytes(path.read_bytes()[:-1] + bytes([10]))
    with pytest.raises(DataError, match=r"damaged \(labels .* image 5 has the label 10\)\. Delete"):
        load("mnist", mnist)


@pytest.mark.parametrize("damage", ["longer", "shorter", "other bytes", "no permission"])
def test_a_damaged_file_of_cifar10_is_named(cifar10, offline, monkeypatch, damage):
    file = cifar10 / "cifar-10-batches-py" / "two"
    content = file.read_bytes()
    if damage == "no permission":

        def refuse(*args, **options):
            raise PermissionError(13, "Permission denied", str(file))

        monkeypatch.setattr(pickle, "load", refuse)
        message = r"batches-py.two cannot be read: change its permissions"
    else:
        file.write_bytes(
            {"longer": content + b"!", "shorter": content[:-9], "other bytes": content[::-1]}[
                damage
            ]
        )
        message = r"cifar10 in .*-py are damaged \(wrong checksum\)\. Delete two there: the next"
    with pytest.raises(DataError, match=message):
        load("cifar10", cifar10)


def test_no_files_and_no_network(tmp_path, monkeypatch):
    nowhere = dataclasses.replace(published.SOURCES["mnist"], url="http://127.0.0.1:9/mnist.gz")
    monkeypatch.setitem(published.SOURCES, "mnist", nowhere)
    with pytest.raises(DataError, match=r"cannot be downloaded from http://127.*copy the files"):
        load("mnist", tmp_path)


def test_a_host_that_never_answers_is_given_up():
    with socket.create_server(("127.0.0.1", 0)) as server:
        started = time.monotonic()
        problem = published.probe(f"http://127.0.0.1:{server.getsockname()[1]}/", seconds=0.2)
    assert problem is not None
    assert time.monotonic() - started < 2


def test_a_download_that_fails_says_why(tmp_path, monkeypatch):
    def make(root, download):
        raise RuntimeError("File not found or corrupted.")

    monkeypatch.setattr(published, "probe", lambda url: None)
    broken = dataclasses.replace(published.SOURCES["mnist"], make=make)
    monkeypatch.setitem(published.SOURCES, "mnist", broken)
    with pytest.raises(DataError, match="corrupted"):
        load("mnist", tmp_path)


def test_the_data_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("FNET_DATA", str(tmp_path / "environment"))
    assert data_dir(tmp_path / "argument") == tmp_path / "argument"
    assert data_dir() == tmp_path / "environment"
    monkeypatch.delenv("FNET_DATA")
    assert data_dir().parts[-2:] == ("fnet", "data")


@pytest.fixture
def archived(cifar10, tmp_path, monkeypatch):
    """The small CIFAR as its publisher has it: return the archive, not unpacked."""
    archive = tmp_path / "published.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(cifar10 / "cifar-10-batches-py", "cifar-10-batches-py")
    shutil.rmtree(cifar10)
    monkeypatch.setenv("no_proxy", "*")
    content = archive.read_bytes()
    source = published.SOURCES["cifar10"]

    def at(url):
        source.make.url, source.make.tgz_md5 = url, hashlib.md5(content).hexdigest()
        monkeypatch.setitem(published.SOURCES, "cifar10", published._cifar(source.make))

    at("http://127.0.0.1:9/cifar-10-python.tar.gz")
    return content, at


def test_a_whole_archive_is_unpacked_without_a_network(cifar10, archived):
    content, _ = archived
    cifar10.mkdir()
    (cifar10 / "cifar-10-python.tar.gz").write_bytes(content)
    assert load("cifar10", cifar10).labels.tolist() == LABELS
    (cifar10 / "cifar-10-batches-py" / "two").unlink()
    assert load("cifar10", cifar10).labels.tolist() == LABELS, "as the message on damage promises"


@pytest.mark.parametrize("part", [0, 100])
def test_a_truncated_archive_is_named(cifar10, archived, part):
    content, _ = archived
    cifar10.mkdir()
    (cifar10 / "cifar-10-python.tar.gz").write_bytes(content[:part])
    with pytest.raises(
        DataError,
        match=r"data.cifar-10-python\.tar\.gz is damaged or .*refused.*\. Delete it and start "
        r"again.*http://127\.0\.0\.1:9 in another way",
    ):
        load("cifar10", cifar10)


@pytest.mark.parametrize("end", ["closed", "silent", "whole"])
def test_a_download_that_stops_in_the_middle(cifar10, archived, monkeypatch, end):
    content, at = archived
    closing = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()

        def do_GET(self):
            self.do_HEAD()
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self.wfile.write(content if end == "whole" else content[: len(content) // 2])
            if end == "silent":
                closing.wait()

        def log_message(self, *_):
            pass

    monkeypatch.setattr(published, "STALL_SECONDS", 0.3)
    with running(Handler, closing) as address:
        at(f"{address}/cifar-10-python.tar.gz")
        if end == "whole":
            assert load("cifar10", cifar10).labels.tolist() == LABELS
        else:
            reason = "timed out" if end == "silent" else "corrupted"
            message = (
                r"cifar-10-python\.tar\.gz is damaged or an incomplete download "
                rf"\(.*{reason}.*Delete it"
            )
            with pytest.raises(DataError, match=message):
                load("cifar10", cifar10)
    assert socket.getdefaulttimeout() is None
