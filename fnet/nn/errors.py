"""The error of this package, in a file that all others import."""


class ModelError(Exception):
    """A network that cannot be trained as it is: which layer, what it got, what it expected."""
