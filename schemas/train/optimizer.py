"""The `optimizer` section: how weights are updated."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from schemas.shared.fields import Pair, Schema

Beta = Annotated[float, Field(ge=0, lt=1)]


class Sgd(Schema):
    """Stochastic gradient descent."""

    momentum: Beta
    """Share of the last update that carries over into the next; 0 is none."""

    nesterov: bool
    """Look ahead along the momentum; needs a momentum above 0."""

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> Self:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs a momentum above 0; raise momentum, or set nesterov: false")
        return self


class Adam(Schema):
    """Adam (arXiv:1412.6980); weight_decay is added to the gradient."""

    betas: Pair[Beta]
    """Decay rates of the running mean and the running square of the gradient."""


class AdamW(Schema):
    """Adam with decoupled weight decay (arXiv:1711.05101)."""

    betas: Pair[Beta]
    """Decay rates of the running mean and the running square of the gradient."""


class Rmsprop(Schema):
    """Steps divided by the running size of the gradient (Tieleman and Hinton 2012, lecture 6.5)."""

    alpha: Beta
    """Decay rate of the running square of the gradient."""

    momentum: Beta
    """Share of the last update that carries over into the next; 0 is none."""


class Muon(Schema):
    """Orthogonal updates for convolutions and matrices, AdamW for the rest (Jordan 2024)."""

    momentum: Beta
    """Share of the running mean of gradients that stays at each step."""

    nesterov: bool
    """Look ahead along the momentum."""

    num_iterations: Annotated[int, Field(ge=1, le=100)]
    """Newton-Schulz iterations that make an update orthogonal."""

    adamw_betas: Pair[Beta]
    """Decay rates of AdamW, which updates biases and norms."""

    adamw_lr_factor: Annotated[float, Field(gt=0, le=1e6)]
    """Learning rate of AdamW, as a multiple of optimizer.lr."""


class Optimizer(Schema):
    """The optimizer and the parameters of every optimizer there is; `name` chooses."""

    name: Literal["sgd", "adam", "adamw", "rmsprop", "muon"]
    """Which optimizer is used; the block of that name holds what only it needs."""

    lr: Annotated[float, Field(gt=0, le=1000)]
    """Learning rate at the top of the schedule."""

    weight_decay: Annotated[float, Field(ge=0, le=1000)]
    """Pull of weights towards 0: added to the gradient, but in adamw and muon apart from it."""

    decay_norm_and_bias: bool
    """Decay biases and the weights of norms too, which seldom helps."""

    sgd: Sgd
    adam: Adam
    adamw: AdamW
    rmsprop: Rmsprop
    muon: Muon
