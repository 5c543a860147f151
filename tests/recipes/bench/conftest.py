import pytest


@pytest.fixture(autouse=True)
def _few_images():
    """Take as many images as a test asks for."""
