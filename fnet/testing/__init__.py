"""The laws of a step, for anybody's step."""
