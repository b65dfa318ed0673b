"""Counts and equations of single models."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from mpidl.errors import ConfigError
from mpidl.models import MODELS
from mpidl.models.networks.norms import EvoNormS0, he_normal, normalised
from mpidl.models.networks.recurrent import Lstm


@pytest.mark.parametrize(
    ("settings", "shape", "outputs", "count"),
    [
        ("feddyn-cnn", (3, 32, 32), 10, 797_962),
        ("logistic", (784,), 10, 7_850),
        ("mlp", (1, 28, 28), 10, 199_210),
        ("lenet5", (1, 28, 28), 10, 61_706),
        ("lenet5", (1, 32, 32), 10, 61_706),
        ("resnet20", (3, 32, 32), 10, 272_474),
        ({"name": "resnet20", "shortcut": "padding"}, (3, 32, 32), 10, 269_722),
        ("resnet18", (3, 32, 32), 10, 11_173_962),
        ("vgg11", (3, 32, 32), 10, 9_750_922),
        # 8V + 4·256·(8 + 256 + 2) + 4·256·(256 + 256 + 2) + (256 + 1)V
        ("char-lstm", (80,), 65, 65 * 265 + 272_384 + 526_336),
        # (V + T)w + 4·(12w² + 13w) + 2w
        ("gpt", (64,), 65, 129 * 128 + 4 * (12 * 128**2 + 13 * 128) + 256),
    ],
    ids=str,
)
def test_parameter_counts_are_the_published_ones(
    settings: Any, shape: tuple[int, ...], outputs: int, count: int
) -> None:
    module = MODELS.parse(settings).build(shape, outputs)
    assert sum(parameter.numel() for parameter in module.parameters()) == count


def test_evonorm_is_its_formula() -> None:
    layer = EvoNormS0(6, 2).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randn(6))
    x = torch.randn(3, 6, 4, 5, dtype=torch.float64)
    expected = torch.empty_like(x)
    for n in range(3):
        for c in range(6):
            group = x[n, :3] if c < 3 else x[n, 3:]
            variance = ((group - group.mean()) ** 2).mean()
            gate = 1 / (1 + torch.exp(-layer.slope[c] * x[n, c]))
            expected[n, c] = x[n, c] * gate / (variance + 1e-5).sqrt() * layer.weight[c] + layer.bias[c]
    torch.testing.assert_close(layer(x), expected, rtol=1e-13, atol=1e-13)


def test_evonorm_keeps_its_precision_beside_a_large_mean() -> None:
    layer = EvoNormS0(4, 2)
    x = 3000 + torch.randn(2, 4, 6, 6)
    exact = EvoNormS0(4, 2).double()(x.double())
    torch.testing.assert_close(layer(x).double(), exact, rtol=1e-3, atol=0)


def test_evonorm_of_a_constant_image_and_of_huge_values_is_finite() -> None:
    layer = EvoNormS0(4, 2)
    for x in (torch.zeros(1, 4, 3, 3), torch.full((1, 4, 3, 3), -1e4), torch.randn(1, 4, 3, 3) * 1e15):
        x.requires_grad_()
        y = layer(x)
        (slope,) = torch.autograd.grad(y.sum(), x, create_graph=True)
        (curvature,) = torch.autograd.grad(slope.sum(), x)
        assert y.isfinite().all() and slope.isfinite().all() and curvature.isfinite().all()


def test_evonorm_derivatives_agree_with_differences() -> None:
    layer = EvoNormS0(4, 2).double()
    x = torch.randn(2, 4, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, x)
    assert torch.autograd.gradgradcheck(layer, x)


@pytest.mark.parametrize(("channels", "groups", "expected"), [(6, 8, 2), (16, 8, 8), (7, 8, 1), (64, 32, 32)])
def test_groups_always_divide_the_channels(channels: int, groups: int, expected: int) -> None:
    assert normalised("evonorm", channels, groups).shape[0] == expected
    assert normalised("group", channels, groups, rectified=False).num_groups == expected


@pytest.mark.parametrize("settings", [{"name": "vgg11", "norm": "batch"}, "resnet20", "resnet18"], ids=str)
def test_convolutions_start_with_the_variance_of_he(settings: Any) -> None:
    torch.manual_seed(0)
    module = MODELS.parse(settings).build((3, 32, 32), 10)
    convolutions = [layer for layer in module.modules() if isinstance(layer, nn.Conv2d)]
    for layer in convolutions:
        # Of n draws from a normal distribution, the mean square has a relative deviation of √(2/n).
        weights, tolerance = layer.weight.detach().double(), 5 * (2 / layer.weight.numel()) ** 0.5
        expected = 2 / (layer.kernel_size[0] * layer.kernel_size[1] * layer.out_channels)
        assert weights.square().mean().item() == pytest.approx(expected, rel=tolerance)
        assert abs(weights.mean().item()) < 5 * (expected / weights.numel()) ** 0.5
        # A uniform distribution has 1.8.
        assert (weights**4).mean().item() / expected**2 == pytest.approx(3, rel=max(0.1, 3 * tolerance))
    assert len(convolutions) >= 8


def test_he_normal_starts_the_constants_of_a_convolution_at_zero_and_leaves_other_layers_alone() -> None:
    convolution, linear = nn.Conv2d(3, 4, 3), nn.Linear(3, 4)
    before = linear.weight.detach().clone()
    he_normal(convolution)
    he_normal(linear)
    assert not convolution.bias.any() and torch.equal(linear.weight, before) and linear.bias.any()


def test_residual_branches_without_normalisation_keep_the_scale() -> None:
    module = MODELS.parse({"name": "resnet18", "norm": "none"}).build((3, 16, 16), 10)
    x = torch.randn(8, 3, 16, 16)
    before, after = module.stem(x), module.blocks(module.stem(x))
    # Unscaled branches would grow it by 2 a block, 256 in all; the three stages that widen halve it.
    assert 0.05 < after.square().mean() / before.square().mean() < 5


@pytest.mark.parametrize("layers", [1, 3])
def test_lstm_equals_torchs_with_the_same_state_dict(layers: int) -> None:
    ours, theirs = Lstm(3, 5, layers).double(), nn.LSTM(3, 5, layers, batch_first=True).double()
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 9, 3, dtype=torch.float64)
    torch.testing.assert_close(ours(x), theirs(x)[0], rtol=1e-13, atol=1e-14)


def test_lstm_draws_the_weights_that_torchs_would() -> None:
    torch.manual_seed(5)
    ours = Lstm(3, 5, 2).state_dict()
    torch.manual_seed(5)
    theirs = nn.LSTM(3, 5, 2).state_dict()
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("settings", [{"name": "gpt", "width": 8, "layers": 2, "heads": 2}, {"name": "char-lstm"}])
def test_text_models_do_not_look_ahead(settings: dict[str, Any]) -> None:
    module = MODELS.parse(settings).build((8,), 5).double()
    x = torch.randint(5, (2, 8))
    y = x.clone()
    y[:, 5] = (y[:, 5] + 1) % 5
    before, after = module(x), module(y)
    torch.testing.assert_close(before[:, :5], after[:, :5], rtol=0, atol=1e-14)
    assert ((before[:, 5:] - after[:, 5:]).abs().amax(dim=(0, 2)) > 1e-9).all()


def test_gpt_takes_texts_shorter_than_its_context_and_knows_positions() -> None:
    module = MODELS.parse({"name": "gpt", "context": 12, "width": 8, "heads": 2}).build((8,), 5)
    out = module(torch.zeros(1, 6, dtype=torch.long))
    assert out.shape == (1, 6, 5)
    assert not torch.allclose(out[0, 0], out[0, 5])


def test_gpt_dropout_acts_in_training_alone() -> None:
    module = MODELS.parse({"name": "gpt", "dropout": 0.5, "width": 8, "heads": 2}).build((8,), 5)
    x = torch.randint(5, (2, 8))
    assert not torch.equal(module(x), module(x))
    module.eval()
    assert torch.equal(module(x), module(x))


def test_gpt_ties_its_output_to_its_embedding_unless_told_not_to() -> None:
    tied = MODELS.parse("gpt").build((8,), 5)
    assert tied.head.weight is tied.tokens.weight
    free = MODELS.parse({"name": "gpt", "tied": False}).build((8,), 5)
    assert free.head.weight is not free.tokens.weight


@pytest.mark.parametrize(
    ("settings", "shape", "words"),
    [
        ("feddyn-cnn", (3, 15, 32), "at least 16 by 16 pixels"),
        ("lenet5", (1, 11, 11), "at least 12 by 12"),
        ("vgg11", (1, 28, 28), "at least 32 by 32"),
        ("resnet20", (784,), "images of shape (channels, height, width)"),
        ("resnet18", (32, 32), "(channels, height, width)"),
        ("char-lstm", (3, 32, 32), "texts of shape (length,)"),
        ("gpt", (3, 32), "texts of shape (length,)"),
        ({"name": "gpt", "context": 4}, (8,), "shorter than the texts of 8 tokens"),
        ("mlp", (3, 0), "hold nothing"),
    ],
    ids=str,
)
def test_examples_that_do_not_fit_end_in_one_sentence(settings: Any, shape: tuple[int, ...], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        MODELS.parse(settings).build(shape, 10)
    assert words in str(caught.value) and caught.value.key.startswith("model") and "\n" not in str(caught.value)


def test_smallest_images_pass_through() -> None:
    for name, side in {"feddyn-cnn": 16, "lenet5": 12, "vgg11": 32, "resnet20": 4, "resnet18": 8}.items():
        assert MODELS.parse(name).build((2, side, side), 3)(torch.randn(2, 2, side, side)).shape == (2, 3)


def test_models_refuse_tasks_they_are_not_made_for() -> None:
    MODELS.parse("gpt").check_task("language")
    for name, task in (("gpt", "classification"), ("char-lstm", "regression"), ("mlp", "language")):
        with pytest.raises(ConfigError, match=f"{name}.*this data set's task is {task}"):
            MODELS.parse(name).check_task(task)


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ConfigError, match="30 is not a multiple of the 4 heads"):
        MODELS.parse({"name": "gpt", "width": 30})
