"""Networks and losses."""

from __future__ import annotations

from mpidl.models.base import Model
from mpidl.models.base import adapt as _adapt_model
from mpidl.models.losses import Loss
from mpidl.models.losses import adapt as _adapt_loss
from mpidl.registry import Registry

__all__ = ["LOSSES", "MODELS", "Loss", "Model"]

MODELS: Registry[Model] = Registry("model", "mpidl.models.base:Model", _adapt_model)
MODELS.add("logistic", "mpidl.models.logistic:Logistic")
MODELS.add("mlp", "mpidl.models.mlp:Mlp")
MODELS.add("feddyn-cnn", "mpidl.models.feddyn_cnn:FedDynCnn")
MODELS.add("lenet5", "mpidl.models.lenet:LeNet5")
MODELS.add("resnet20", "mpidl.models.resnet:ResNet20")
MODELS.add("resnet18", "mpidl.models.resnet:ResNet18")
MODELS.add("vgg11", "mpidl.models.vgg:Vgg11")
MODELS.add("char-lstm", "mpidl.models.char_lstm:CharLstm")
MODELS.add("gpt", "mpidl.models.gpt:Gpt")

LOSSES: Registry[Loss] = Registry("loss", "mpidl.models.losses:Loss", _adapt_loss)
LOSSES.add("cross-entropy", "mpidl.models.losses:CrossEntropy")
LOSSES.add("squared-error", "mpidl.models.losses:SquaredError")
