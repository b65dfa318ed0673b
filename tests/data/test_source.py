"""The `data` section: common keys, validation, plug-ins, and what a data set must be."""

from __future__ import annotations

import numpy as np
import pytest

from mpidl.data import DATA, Dataset
from mpidl.data.source import adapt
from mpidl.data.splits import SPLITS
from mpidl.errors import ConfigError, DataError
from mpidl.registry import Registry

PLUGINS = "tests.data.plugins"


@pytest.mark.parametrize(
    ("registry", "name", "method"), [(DATA, "Unfinished", "load"), (SPLITS, "UnfinishedSplit", "deal")]
)
def test_a_part_without_its_method_is_refused_before_it_is_needed(registry: Registry, name: str, method: str) -> None:
    with pytest.raises(ConfigError, match=f"{PLUGINS}:{name}' does not define {method}$"):
        registry.parse(f"{PLUGINS}:{name}")


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5])
def test_validation_sets_a_share_aside_by_the_seed(share: float) -> None:
    source = DATA.parse({"name": "digits", "validation": share, "split": "shards"})
    data = source.load()
    shares, again, other = (source.deal(data, 7, seed) for seed in (1, 1, 2))
    assert len(shares.validation) == round(share * 1437)
    assert not np.isin(np.concatenate(shares), shares.validation).any()
    assert sum(shares.sizes) + len(shares.validation) == 1437
    assert np.array_equal(shares.validation, again.validation)
    assert not share or not np.array_equal(shares.validation, other.validation)


def test_a_validation_part_of_no_example_is_refused() -> None:
    source = DATA.parse({"name": "digits", "validation": 0.0001})
    with pytest.raises(ConfigError, match=r"data.validation: 0.0001 of 1437 .* at least 0.0007, or 0") as caught:
        source.deal(source.load(), 3, 1)
    assert "\n" not in str(caught.value)
    least = DATA.parse({"name": "digits", "validation": 0.0007})
    assert len(least.deal(least.load(), 3, 1).validation) == 1


def test_a_section_leads_to_batches() -> None:
    source = DATA.parse({"name": "digits", "batch": 10, "validation": 0.1})
    data = source.load()
    batches = source.batches(data, source.deal(data, 3, 1), 1)
    assert [part.shape for part in batches.batch(2, 5)] == [(10, 1, 8, 8), (10,)]


def test_a_plain_function_is_a_data_set_with_its_parameters_as_keys() -> None:
    source = DATA.parse({"name": f"{PLUGINS}:points", "count": 20, "batch": 5, "split": "given"})
    data = source.load()
    assert (len(data), data.outputs, source.batch) == (20, 2, 5)
    assert source.deal(data, 2, 0).sizes.tolist() == [10, 10]
    x, y = source.batches(data, source.deal(data, 2, 0), 0).batch(1, 0)
    assert (x.shape, y.shape) == ((5, 1), (5,))
    assert DATA.parse(f"{PLUGINS}:points").load().outputs == 2


def test_a_function_that_names_common_keys_is_given_them() -> None:
    source = DATA.parse({"name": f"{PLUGINS}:named", "root": "somewhere", "batch": 3, "many": 9})
    assert len(source.load()) == 9


@pytest.mark.parametrize("name", ["digits", f"{PLUGINS}:pictures", f"{PLUGINS}:open_pictures"])
def test_images_of_any_set_are_shifted_and_mirrored(name: str) -> None:
    keys = {"name": name, "batch": "full"}
    still, moved = (DATA.parse({**keys, **more}) for more in ({}, {"crop": 2, "flip": True}))
    data = moved.load()
    whole, other = (source.batches(data, source.deal(data, 1, 0), 0) for source in (still, moved))
    assert not whole.batch(0, 0)[0].equal(other.batch(0, 0)[0])
    assert whole.chunk(0, 0)[0].equal(other.chunk(0, 0)[0])


def test_a_plug_in_without_images_has_nothing_to_shift() -> None:
    source = DATA.parse({"name": f"{PLUGINS}:points", "crop": 2})
    with pytest.raises(ConfigError, match="data.crop: crop and flip need images"):
        source.batches(source.load(), source.deal(source.load(), 2, 0), 0)


def test_a_function_with_a_flip_of_its_own_gets_every_other_key() -> None:
    seen: dict[str, object] = {}

    def pictures(flip: bool = False, **keys: object) -> Dataset:
        seen.update(keys, flip=flip)
        return Dataset(np.zeros((4, 1, 5, 5)), np.zeros(4, int), np.zeros((1, 1, 5, 5)), np.zeros(1, int), classes=2)

    part = adapt(pictures)
    part(name="mine:pictures", flip=True, crop=3).load()
    assert seen == {"flip": True, "crop": 3}


def test_a_crop_of_the_functions_own_moves_nothing() -> None:
    source = DATA.parse({"name": f"{PLUGINS}:cropped", "crop": 6, "batch": "full"})
    data = source.load()
    assert data.example_shape == (1, 6, 6)
    assert DATA.parse(f"{PLUGINS}:cropped").load().example_shape == (1, 5, 5)
    batches = source.batches(data, source.deal(data, 1, 0), 0)
    assert batches.batch(0, 0)[0].equal(batches.chunk(0, 0)[0])


@pytest.mark.parametrize(
    "keys, message",
    [
        ({"name": "points", "counts": 3}, "did you mean 'count'"),
        ({"name": "pints"}, "did you mean 'points'"),
        ({"name": "number"}, "must be a function or a class, not int"),
    ],
)
def test_a_plug_in_that_cannot_be_used_is_refused_at_once(keys: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DATA.parse({**keys, "name": f"{PLUGINS}:{keys['name']}"})


@pytest.mark.parametrize(
    "name, message",
    [
        ("failing", "plugins:failing' raised KeyError: 'no such thing'"),
        ("wrong", "plugins:wrong' returned a list of .*, neither an mpidl.data.Dataset nor a tuple"),
        ("mismatched", r"the training part has x of shape \(4, 2\), but y of shape \(3,\)"),
    ],
)
def test_a_plug_in_that_fails_ends_in_a_sentence(name: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        DATA.parse(f"{PLUGINS}:{name}").load()


@pytest.mark.parametrize(
    "keys, message",
    [
        ({"batch": 0}, "batch"),
        ({"batch": "all"}, "batch"),
        ({"validation": 1.0}, "validation: 1.0 is not allowed"),
        ({"place": "here"}, "place"),
        ({"split": "dirichlet"}, "split.name: split 'dirichlet' is not known; did you mean 'dirichlet-"),
        ({"split": {"name": "dirichlet-class", "alpha": 0}}, "split.alpha: 0 is not allowed"),
        ({"split": "dirichlet-class"}, "split.alpha: is missing"),
        ({"name": "blobs", "crop": 4}, "crop: 'crop' is not known"),
    ],
)
def test_a_wrong_key_is_named(keys: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DATA.parse({"name": "digits", **keys})


def arrays(count: int = 6) -> list[np.ndarray]:
    return [np.zeros((count, 2)), np.arange(count) % 3] * 2


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"y": np.array([0, 1, 2, 3, 4, 9])}, None),
        ({"y": np.array([0, 1, 2, -1, 0, 1])}, "labels go from -1 to 2"),
        ({"y": np.zeros((6, 2), int)}, "must be one number per example"),
        ({"y": np.zeros(6)}, "must be whole numbers, not float64"),
        ({"classes": 2}, "labels go from 0 to 2, outside 0 to 1"),
        ({"x_test": np.zeros((6, 3))}, r"training examples have shape \(2,\), test examples \(3,\)"),
        ({"owner": np.zeros(5)}, "6 training examples, but 5 owners"),
        ({"task": "clustering"}, "task 'clustering' is not known"),
        ({"x": np.zeros((0, 2)), "y": np.zeros(0, int)}, "the training part has no example"),
        ({"x_test": np.zeros((0, 2)), "y_test": np.zeros(0, int)}, "the test part has no example; hold some"),
    ],
)
def test_a_data_set_that_does_not_fit_together_is_refused(changes: dict[str, object], message: str | None) -> None:
    fields = dict(zip(("x", "y", "x_test", "y_test"), arrays(), strict=True)) | changes
    if message is None:
        assert Dataset(**fields).outputs == 10
        return
    with pytest.raises(DataError, match=message):
        Dataset(**fields)


def test_every_data_set_and_split_describes_its_keys() -> None:
    from mpidl.data.splits import SPLITS

    for registry in (DATA, SPLITS):
        for name in registry:
            settings = registry.settings(name)
            assert settings.__doc__ and all(field.description for field in settings.model_fields.values())
