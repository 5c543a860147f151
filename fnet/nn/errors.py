"""The exception class of this package, in a file that all others can import."""


class ModelError(Exception):
    """The network cannot be trained: the message names the layer, and what it got and expected."""
