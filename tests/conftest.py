import pytest


@pytest.fixture(autouse=True)
def _directories_of_its_own(tmp_path_factory, monkeypatch):
    """No test reads or writes the user's data and caches, and none downloads into them."""
    monkeypatch.setenv("FNET_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setenv("FNET_DATA", str(tmp_path_factory.mktemp("data")))
