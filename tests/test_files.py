import os

import pytest
from disk import failing, recorded

from fnet.files import directory_atomically, open_regular, write_atomically, write_synced


@pytest.mark.parametrize("call", ["write 1", "fsync 1", "replace 1"])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, call):
    path = tmp_path / "file"
    write_atomically(path, b"old")
    with failing(monkeypatch, call), pytest.raises(OSError, match="No space left"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_has_its_name_only_once_the_disk_has_its_content(tmp_path, monkeypatch):
    path = tmp_path / "file"
    with recorded(monkeypatch) as calls:
        write_atomically(path, b"content")
    assert calls == [path.stat().st_ino, "rename", tmp_path.stat().st_ino]


def test_what_is_synced_is_all_of_the_content(tmp_path, monkeypatch):
    sizes = []
    monkeypatch.setattr(os, "fsync", lambda file: sizes.append(os.fstat(file).st_size))
    write_synced(tmp_path / "file", b"content")
    assert sizes == [len(b"content")]


def test_a_directory_has_its_name_only_once_the_disk_has_its_files(tmp_path, monkeypatch):
    path = tmp_path / "directory"
    with recorded(monkeypatch) as calls, directory_atomically(path) as directory:
        write_synced(directory / "file", b"content")
        assert not path.exists()
    inodes = [place.stat().st_ino for place in (path / "file", path, tmp_path)]
    assert calls == [*inodes[:2], "rename", inodes[2]]


def test_of_an_abandoned_directory_nothing_is_left(tmp_path):
    def interrupted():
        with directory_atomically(tmp_path / "new") as directory:
            write_synced(directory / "file", b"content")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_is_there_is_not_replaced_even_if_empty(tmp_path):
    (tmp_path / "there").mkdir()
    with pytest.raises(FileExistsError), directory_atomically(tmp_path / "there"):
        raise AssertionError("the block is not to be entered")


@pytest.mark.skipif(os.name == "nt", reason="links and pipes are those of POSIX")
def test_only_a_regular_file_is_opened(tmp_path):
    (tmp_path / "file").write_bytes(b"content")
    with open_regular(tmp_path / "file") as file:
        assert file.read() == b"content"
    (tmp_path / "link").symlink_to("file")
    os.mkfifo(tmp_path / "pipe")
    for name, reason in (("link", "link"), ("pipe", "not a regular"), (".", "not a regular")):
        with pytest.raises(OSError, match=reason):
            open_regular(tmp_path / name)
