"""What a model asks of an example's shape, and the one sentence for an example that does not fit."""

from __future__ import annotations

from mpidl.errors import ConfigError


def features(name: str, example_shape: tuple[int, ...]) -> int:
    """How many numbers an example holds, for models that flatten it."""
    size = 1
    for side in example_shape:
        size *= side
    if size < 1:
        raise ConfigError(f"{name!r} cannot take examples of shape {tuple(example_shape)}, which hold nothing", "model")
    return size


def image(name: str, example_shape: tuple[int, ...], smallest: int) -> tuple[int, int, int]:
    """(channels, height, width) of an example that is an image of at least `smallest` pixels on each side."""
    shape = tuple(example_shape)
    if len(shape) != 3:
        raise ConfigError(
            f"{name!r} takes images of shape (channels, height, width), and these examples have the shape {shape}; "
            "'mlp' and 'logistic' take any shape",
            "model",
        )
    channels, height, width = shape
    if channels < 1 or min(height, width) < smallest:
        raise ConfigError(
            f"{name!r} takes images of at least {smallest} by {smallest} pixels, and these are {height} by {width} "
            f"with {channels} channels; choose another model or enlarge the images",
            "model",
        )
    return channels, height, width


def text(name: str, example_shape: tuple[int, ...]) -> int:
    """The length of an example that is a text, a row of token numbers."""
    shape = tuple(example_shape)
    if len(shape) != 1 or shape[0] < 1:
        raise ConfigError(
            f"{name!r} takes texts of shape (length,), and these examples have the shape {shape}; "
            "choose a model for images or vectors",
            "model",
        )
    return shape[0]
