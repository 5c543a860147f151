"""The networks of the benchmark in flax.linen, equal to those of `fnet.models`."""

from typing import Any

NETWORKS = ("net", "cnn", "cnnpro", "dainet7", "mynet")


def network(name: str, classes: int, dtype: Any = None) -> Any:
    """Return a network in training mode, a flax module for images `[N, H, W, C]`.

    Args:
        name: one of `NETWORKS`.
        classes: the number of classes.
        dtype: the dtype of the computation; None: that of the images. Weights are float32.
    """
    from flax import linen as nn

    def conv(maps: int, kernel: int, padding: str = "SAME") -> Any:
        return nn.Conv(maps, (kernel, kernel), padding=padding, dtype=dtype)

    def norm() -> Any:
        return nn.BatchNorm(use_running_average=False, momentum=0.9, epsilon=1e-5, dtype=dtype)

    def dropout(rate: float) -> Any:
        return nn.Dropout(rate, deterministic=False)

    def pool(padding: int = 0) -> Any:
        return lambda x: nn.max_pool(x, (2, 2), (2, 2), [(padding, padding)] * 2)

    def linear(*hidden: int) -> list[Any]:
        layers: list[Any] = [lambda x: x.reshape(len(x), -1)]
        for width in hidden:
            layers += [nn.Dense(width, dtype=dtype), nn.relu]
        return [*layers, nn.Dense(classes, dtype=dtype)]

    def normed(maps: int, kernel: int) -> list[Any]:
        return [conv(maps, kernel), norm(), nn.relu]

    def norm_last(maps: int) -> list[Any]:
        return [conv(maps, 3), nn.relu, norm()]

    match name:
        case "net":
            layers = [conv(6, 5, "VALID"), nn.relu, pool(), conv(16, 5, "VALID"), nn.relu, pool()]
            layers += linear(120, 84)
        case "cnn":
            layers = [*normed(16, 5), pool(), *normed(32, 5), pool(), *linear()]
        case "cnnpro":
            layers = [*normed(16, 5), pool(), *normed(32, 5), pool(), *normed(64, 5), pool()]
            layers += linear()
        case "mynet":
            layers = [*normed(64, 3), *normed(128, 3), pool(1), *normed(64, 3), *normed(32, 3)]
            layers += [pool(1), *linear(2048)]
        case "dainet7":
            layers = [*norm_last(64), dropout(0.1), *norm_last(64), pool(), dropout(0.1)]
            layers += [*norm_last(128), *norm_last(128), pool(), dropout(0.5)]
            layers += [*norm_last(256), dropout(0.5), *norm_last(256)]
            layers += [lambda x: nn.avg_pool(x, (8, 8), (8, 8)), *linear()]
        case _:
            raise ValueError(f"there is no flax network {name!r}: give one of {NETWORKS}")
    return nn.Sequential(layers)
