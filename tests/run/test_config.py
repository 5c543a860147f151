"""Options that cannot be are refused by name, before there is any data."""

import pytest

from fnet.run.config import Config, ConfigError


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "--epochs must be at least 1; got 0"),
        ({"batch_size": 0}, "--batch-size must be at least 1; got 0"),
        ({"limit": 0}, "--limit must be at least 1; got 0"),
        ({"validation": 1.0}, "--validation must be at least 0 and below 1; got 1.0"),
        ({"validation": float("nan")}, "--validation must be at least 0 and below 1; got nan"),
        ({"seed": 2**32}, "--seed must be between 0 and 4294967295; got 4294967296"),
        ({"checkpoint_minutes": -1.0}, "--checkpoint-minutes must be at least 0; got -1.0"),
        ({"checkpoint_minutes": float("nan")}, "--checkpoint-minutes must be at least 0; got nan"),
    ],
)
def test_options_out_of_their_range(options, message):
    with pytest.raises(ConfigError, match=f"^{message}$"):
        Config(**options).validate()


def test_the_limits_themselves_are_possible():
    Config(
        epochs=1, batch_size=1, limit=1, seed=2**32 - 1, checkpoint_minutes=float("inf")
    ).validate()
