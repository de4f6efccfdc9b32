"""Trains the LSTM member with torch; the only file of the forecaster that imports it.

Legend: N rows, B batch, T steps, C sequence channels, F features, D hidden, H steps ahead,
Q quantile levels.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from novacron.models.bandwidth.checkpoints import replacing
from novacron.models.bandwidth.config import LstmConfig
from novacron.models.bandwidth.examples import Examples
from novacron.models.bandwidth.lstm_numpy import LstmWeights

Floats32 = NDArray[np.float32]

_LEAST_SCALE: Final = 1e-3
_CLIP_NORM: Final = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """How long and how fast one stage of the training runs, and the seed of its randomness."""

    seed: int
    epochs: int
    learning_rate: float
    stop_after: int | None = None
    """Epochs that are run of the `epochs` for which the learning rate is laid out; None: all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Epoch:
    """What one epoch came to; losses are pinball in ratios, weighted."""

    number: int
    of: int
    train_loss: float
    validation_loss: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    """The weights of the best epoch, its number (0: those it started from), its validation loss."""

    weights: LstmWeights
    epoch: int
    loss: float


class QuantileLstm(nn.Module):
    """An LSTM over the newest steps, joined with the window features, to H x Q quantile ratios.

    The lowest quantile and the gaps between quantiles go through softplus, so that quantiles are
    never negative and never cross.
    """

    def __init__(self, config: LstmConfig, *, channels: int, features: int, horizon: int) -> None:
        super().__init__()
        self.levels = config.levels
        self.horizon = horizon
        self.lstm = nn.LSTM(channels, config.hidden, batch_first=True)
        self.dropout = nn.Dropout(config.dropout_ratio)
        self.head = nn.Linear(config.hidden + features, config.head)
        self.out = nn.Linear(config.head, horizon * len(config.levels))
        with torch.no_grad():
            # Begin near a ratio of 1 for the median: softplus(-0.5) ~ 0.47, softplus(-2) ~ 0.13.
            bias_HQ = torch.full((horizon, len(config.levels)), -2.0)
            bias_HQ[:, 0] = -0.5
            self.out.bias.copy_(bias_HQ.reshape(-1))
            self.out.weight.mul_(0.3)

    def forward(self, x_BTC: Tensor, x_BF: Tensor) -> Tensor:
        """Return ratio_BHQ from the sequence and the scaled features."""
        state_BD = self.lstm(x_BTC)[0][:, -1]
        joined = self.dropout(torch.cat([state_BD, x_BF], dim=1))
        out = self.out(torch.relu(self.head(joined)))
        gaps_BHQ = nn.functional.softplus(out).reshape(-1, self.horizon, len(self.levels))
        return gaps_BHQ.cumsum(dim=2)


@contextmanager
def _one_thread() -> Iterator[None]:
    # A batch is small: threads cost more than they bring, and one thread repeats its sums exactly.
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        torch.set_num_threads(before)


class _Stage:
    """The state of one training stage: network, optimizer, best weights so far."""

    def __init__(self, network: QuantileLstm, config: LstmConfig, schedule: Schedule) -> None:
        self.network = network
        self.schedule = schedule
        self.patience = config.patience
        self.optimizer = torch.optim.AdamW(
            network.parameters(), lr=schedule.learning_rate, weight_decay=config.weight_decay
        )
        self.best = self._weights()
        self.best_loss = np.inf
        self.best_epoch = 0
        self.epoch = 0

    def _weights(self) -> dict[str, Tensor]:
        return {name: value.clone() for name, value in self.network.state_dict().items()}

    @property
    def over(self) -> bool:
        last = (
            self.schedule.epochs if self.schedule.stop_after is None else self.schedule.stop_after
        )
        return self.epoch >= last or self.epoch - self.best_epoch >= self.patience

    def note(self, loss: float | None) -> None:
        """Count an epoch; without a validation loss the latest weights are the best."""
        self.epoch += 1
        if loss is None or loss < self.best_loss:
            self.best, self.best_epoch = self._weights(), self.epoch
            self.best_loss = float("nan") if loss is None else loss

    def set_rate(self) -> None:
        done = self.epoch / max(1, self.schedule.epochs)
        rate = self.schedule.learning_rate * (0.05 + 0.95 * 0.5 * (1 + np.cos(np.pi * done)))
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def save(self, path: Path) -> None:
        tensors = {f"now.{name}": value for name, value in self._weights().items()}
        tensors |= {f"best.{name}": value for name, value in self.best.items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"adam.{index}.{name}": value for name, value in state.items()}
        facts = {
            "epoch": str(self.epoch),
            "best_epoch": str(self.best_epoch),
            "best_loss": float(self.best_loss).hex(),
        }
        with replacing(path) as draft:
            save_file({name: t.contiguous() for name, t in tensors.items()}, draft, facts)

    def restore(self, path: Path) -> None:
        with safe_open(path, framework="pt") as stored:
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
            facts = stored.metadata()
        self.epoch, self.best_epoch = int(facts["epoch"]), int(facts["best_epoch"])
        self.best_loss = float.fromhex(facts["best_loss"])
        self.network.load_state_dict(_below(tensors, "now."))
        self.best = _below(tensors, "best.")
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in _below(tensors, "adam.").items():
            index, moment = name.split(".")
            moments.setdefault(int(index), {})[moment] = value
        content = self.optimizer.state_dict() | {"state": moments}
        self.optimizer.load_state_dict(content)


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }


def train_lstm(
    train: Examples,
    validation: Examples | None,
    config: LstmConfig,
    schedule: Schedule,
    *,
    start: LstmWeights | None = None,
    state_path: Path | None = None,
    on_epoch: Callable[[Epoch], None] = lambda _: None,
) -> Trained:
    """Train one network.

    Args:
        train: What it learns from; the feature scaler is fitted on it unless `start` brings one.
        validation: What chooses the epoch; with `start`, its own loss counts as epoch 0. Without
            it the last epoch is taken.
        config: Sizes and optimizer settings.
        schedule: Epochs, learning rate and seed of this stage; the seed decides the initial
            weights, the order of the batches and dropout.
        start: Weights to go on from.
        state_path: Where the state is kept after every epoch; if the file is there, training goes
            on from it, to the same result as without the interruption.
        on_epoch: Told after every epoch.
    """
    with _one_thread():
        torch.manual_seed(schedule.seed)
        weights = start or _fresh(train, config)
        horizon = train.ratio_NH.shape[1]
        network = _network(weights, config, horizon)
        stage = _Stage(network, config, schedule)
        data = _tensors(train, weights)
        check = None if validation is None else _tensors(validation, weights)
        if state_path is not None and state_path.exists():
            stage.restore(state_path)
        elif start is not None and check is not None:
            stage.best_loss = _loss_of(network, check)
        while not stage.over:
            stage.set_rate()
            loss = _run_epoch(stage, data, config.batch_rows)
            stage.note(None if check is None else _loss_of(network, check))
            if state_path is not None:
                stage.save(state_path)
            on_epoch(
                Epoch(
                    number=stage.epoch,
                    of=schedule.stop_after or schedule.epochs,
                    train_loss=loss,
                    validation_loss=float(stage.best_loss),
                )
            )
        network.load_state_dict(stage.best)
        return Trained(
            weights=_exported(network, weights, horizon),
            epoch=stage.best_epoch,
            loss=float(stage.best_loss),
        )


def _fresh(train: Examples, config: LstmConfig) -> LstmWeights:
    """Return random weights with the feature scaler of the training part."""
    x_NF = train.inputs.joined.astype(np.float64)
    x_NF[~np.isfinite(x_NF)] = np.nan
    seen_F = np.isfinite(x_NF).any(axis=0)
    mean_F, scale_F = np.zeros(x_NF.shape[1]), np.ones(x_NF.shape[1])
    mean_F[seen_F] = np.nanmean(x_NF[:, seen_F], axis=0)
    scale_F[seen_F] = np.maximum(np.nanstd(x_NF[:, seen_F], axis=0), _LEAST_SCALE)
    network = QuantileLstm(
        config,
        channels=train.inputs.x_NTC.shape[2],
        features=x_NF.shape[1],
        horizon=train.ratio_NH.shape[1],
    )
    scaler = {
        "feature_mean_F": mean_F.astype(np.float32),
        "feature_scale_F": scale_F.astype(np.float32),
    }
    return _exported(network, scaler, train.ratio_NH.shape[1])


def _network(weights: LstmWeights, config: LstmConfig, horizon: int) -> QuantileLstm:
    w = weights.arrays
    network = QuantileLstm(
        config,
        channels=w["input_4DC"].shape[1],
        features=w["feature_mean_F"].shape[0],
        horizon=horizon,
    )
    values = {
        "lstm.weight_ih_l0": w["input_4DC"],
        "lstm.weight_hh_l0": w["recurrent_4DD"],
        "lstm.bias_ih_l0": w["bias_4D"],
        "lstm.bias_hh_l0": np.zeros_like(w["bias_4D"]),
        "head.weight": w["head_EJ"],
        "head.bias": w["head_bias_E"],
        "out.weight": w["out_KE"],
        "out.bias": w["out_bias_K"],
    }
    network.load_state_dict({name: torch.from_numpy(v.copy()) for name, v in values.items()})
    return network


def _exported(
    network: QuantileLstm, scaler: LstmWeights | Mapping[str, Floats32], horizon: int
) -> LstmWeights:
    kept = scaler.arrays if isinstance(scaler, LstmWeights) else scaler
    state = {name: value.numpy().copy() for name, value in network.state_dict().items()}
    return LstmWeights(
        horizon=horizon,
        arrays={
            "input_4DC": state["lstm.weight_ih_l0"],
            "recurrent_4DD": state["lstm.weight_hh_l0"],
            "bias_4D": state["lstm.bias_ih_l0"] + state["lstm.bias_hh_l0"],
            "head_EJ": state["head.weight"],
            "head_bias_E": state["head.bias"],
            "out_KE": state["out.weight"],
            "out_bias_K": state["out.bias"],
            "feature_mean_F": kept["feature_mean_F"],
            "feature_scale_F": kept["feature_scale_F"],
        },
    )


Batch = tuple[Tensor, Tensor, Tensor, Tensor]


def _tensors(examples: Examples, weights: LstmWeights) -> Batch:
    return (
        torch.from_numpy(examples.inputs.x_NTC),
        torch.from_numpy(weights.scaled(examples.inputs.joined)),
        torch.from_numpy(examples.ratio_NH),
        torch.from_numpy(examples.weight_N),
    )


def _loss(network: QuantileLstm, batch: Batch) -> Tensor:
    x_BTC, x_BF, ratio_BH, weight_B = batch
    error_BHQ = ratio_BH[:, :, None] - network(x_BTC, x_BF)
    level_Q = torch.tensor(network.levels)
    pinball_BHQ = torch.maximum(level_Q * error_BHQ, (level_Q - 1) * error_BHQ)
    return (pinball_BHQ.mean(dim=(1, 2)) * weight_B).sum() / weight_B.sum()


def _loss_of(network: QuantileLstm, batch: Batch) -> float:
    network.eval()
    rows, total, weight = batch[3].shape[0], 0.0, 0.0
    with torch.no_grad():
        for first in range(0, rows, 4096):
            part = tuple(tensor[first : first + 4096] for tensor in batch)
            share = float(part[3].sum())
            total += float(_loss(network, part)) * share  # type: ignore[arg-type]
            weight += share
    return total / weight


def _run_epoch(stage: _Stage, data: Batch, batch_rows: int) -> float:
    """Go once over the training rows; order and dropout depend on seed and epoch alone."""
    stage.network.train()
    seed = stage.schedule.seed
    order = np.random.default_rng([seed, stage.epoch]).permutation(data[3].shape[0])
    torch.manual_seed(seed * 10_007 + stage.epoch)
    total = 0.0
    for first in range(0, len(order), batch_rows):
        rows = torch.from_numpy(order[first : first + batch_rows])
        batch = (data[0][rows], data[1][rows], data[2][rows], data[3][rows])
        stage.optimizer.zero_grad()
        loss = _loss(stage.network, batch)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(stage.network.parameters(), _CLIP_NORM)
        stage.optimizer.step()
        total += float(loss.detach()) * len(rows)
    return total / len(order)
