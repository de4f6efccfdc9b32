"""Trains the recurrent member with torch; the only file of the predictor that imports it.

Legend: N rows, B batch, T steps, C channels, D hidden of both directions, F static inputs,
Q quantile levels.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from novacron.models.performance.config import LstmConfig
from novacron.models.performance.examples import Examples
from novacron.models.performance.lstm_numpy import (
    DIRECTIONS,
    STATIC_CLIP,
    LstmWeights,
    layer_arrays,
    static_inputs,
)

Floats32 = NDArray[np.float32]

_CLIP_NORM: Final = 1.0
_LEAST_SCALE: Final = 1e-3


@dataclass(frozen=True, kw_only=True, slots=True)
class Epoch:
    """What one epoch came to; losses are pinball in spreads, weighted."""

    number: int
    of: int
    train_loss: float
    validation_loss: float
    best: Callable[[], LstmWeights]
    """Returns the weights of the best epoch so far."""


class AttentiveLstm(nn.Module):
    """Bidirectional LSTM layers, additive attention over the steps, quantile heads.

    Attention: `softmax over steps of v . tanh(W h + b)`. Source: Bahdanau, Cho and Bengio 2015,
    with the state of each step alone in place of a query.
    """

    def __init__(self, config: LstmConfig, *, channels: int, fixed: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(
            channels,
            config.hidden,
            num_layers=config.layers,
            bidirectional=True,
            batch_first=True,
            dropout=config.dropout_ratio if config.layers > 1 else 0.0,
        )
        self.attend = nn.Linear(2 * config.hidden, config.attention)
        self.score = nn.Linear(config.attention, 1, bias=False)
        self.dropout = nn.Dropout(config.dropout_ratio)
        self.head = nn.Linear(2 * config.hidden + fixed, config.head)
        self.out = nn.Linear(config.head, len(config.levels))
        self.middle = len(config.levels) // 2
        with torch.no_grad():
            self.out.weight.mul_(0.3)
            self.out.bias.zero_()

    def forward(self, x_BTC: Tensor, x_BF: Tensor) -> Tensor:
        """Return residual quantiles z_BQ, increasing in Q."""
        state_BTD = self.lstm(x_BTC)[0]
        score_BT = self.score(torch.tanh(self.attend(state_BTD))).squeeze(2)
        attention_BT = torch.softmax(score_BT, dim=1)
        read_BD = (state_BTD * attention_BT.unsqueeze(2)).sum(dim=1)
        joined = self.dropout(torch.cat([read_BD, x_BF], dim=1))
        out_BQ = self.out(torch.relu(self.head(joined)))
        middle = self.middle
        gap_BQ = nn.functional.softplus(out_BQ)
        centre = out_BQ[:, middle : middle + 1]
        lower = centre - gap_BQ[:, :middle].flip(1).cumsum(1)
        upper = centre + gap_BQ[:, middle + 1 :].cumsum(1)
        return torch.cat([lower.flip(1), centre, upper], dim=1)


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


def train_lstm(
    train: Examples,
    validation: Examples,
    config: LstmConfig,
    *,
    sizes: tuple[int, int, int],
    seed: int,
    on_epoch: Callable[[Epoch], None] = lambda _: None,
    stop_after: int | None = None,
) -> LstmWeights:
    """Train one network and return the weights of its best epoch.

    Args:
        train: What it learns from; the scaler of the static inputs is fitted on it.
        validation: What chooses the epoch.
        config: Sizes and optimizer settings.
        sizes: Numbers of known benchmarks, sizes and regions.
        seed: Decides the initial weights, the order of the batches and dropout.
        on_epoch: Told after every epoch.
        stop_after: Epochs that are run of those for which the rate is laid out; None: all.
    """
    with _one_thread():
        torch.manual_seed(seed)
        static_NF = static_inputs(train.inputs.x_NF, sizes)
        mean_F, scale_F = _moments(static_NF)
        network = AttentiveLstm(
            config, channels=train.inputs.x_NTC.shape[2], fixed=static_NF.shape[1]
        )
        optimizer = torch.optim.AdamW(
            network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        data = _tensors(train, static_NF, mean_F, scale_F)
        check = _tensors(validation, static_inputs(validation.inputs.x_NF, sizes), mean_F, scale_F)
        level_Q = torch.tensor(config.levels)
        best, best_loss, best_epoch = _copy(network), np.inf, 0
        for epoch in range(1, (stop_after or config.epochs) + 1):
            _set_rate(optimizer, config, epoch - 1)
            loss = _run_epoch(network, optimizer, data, level_Q, (config.batch_rows, seed, epoch))
            checked = _loss_of(network, check, level_Q)
            if checked < best_loss:
                best, best_loss, best_epoch = _copy(network), checked, epoch
            on_epoch(
                Epoch(
                    number=epoch,
                    of=config.epochs,
                    train_loss=loss,
                    validation_loss=best_loss,
                    best=partial(_exported, best, config, mean_F, scale_F),
                )
            )
            if epoch - best_epoch >= config.patience:
                break
        return _exported(best, config, mean_F, scale_F)


def _moments(static_NF: Floats32) -> tuple[Floats32, Floats32]:
    x_NF = static_NF.astype(np.float64)
    mean_F, scale_F = np.zeros(x_NF.shape[1]), np.ones(x_NF.shape[1])
    seen_F = np.isfinite(x_NF).any(axis=0)
    mean_F[seen_F] = np.nanmean(x_NF[:, seen_F], axis=0)
    scale_F[seen_F] = np.maximum(np.nanstd(x_NF[:, seen_F], axis=0), _LEAST_SCALE)
    return mean_F.astype(np.float32), scale_F.astype(np.float32)


Batch = tuple[Tensor, Tensor, Tensor, Tensor]


def _tensors(
    examples: Examples, static_NF: Floats32, mean_F: Floats32, scale_F: Floats32
) -> Batch:
    scaled = np.clip((static_NF - mean_F) / scale_F, -STATIC_CLIP, STATIC_CLIP)
    return (
        torch.from_numpy(examples.inputs.x_NTC),
        torch.from_numpy(np.nan_to_num(scaled, nan=0.0).astype(np.float32)),
        torch.from_numpy(examples.z_N),
        torch.from_numpy(examples.weight_N),
    )


def _loss(network: AttentiveLstm, batch: Batch, level_Q: Tensor) -> Tensor:
    x_BTC, x_BF, z_B, weight_B = batch
    error_BQ = z_B[:, None] - network(x_BTC, x_BF)
    pinball_BQ = torch.maximum(level_Q * error_BQ, (level_Q - 1) * error_BQ)
    return (pinball_BQ.mean(dim=1) * weight_B).sum() / weight_B.sum()


def _loss_of(network: AttentiveLstm, batch: Batch, level_Q: Tensor) -> float:
    network.eval()
    total, weight = 0.0, 0.0
    with torch.no_grad():
        for first in range(0, batch[3].shape[0], 2048):
            part = tuple(tensor[first : first + 2048] for tensor in batch)
            share = float(part[3].sum())
            total += float(_loss(network, part, level_Q)) * share  # type: ignore[arg-type]
            weight += share
    return total / weight


def _set_rate(optimizer: torch.optim.Optimizer, config: LstmConfig, done: int) -> None:
    share = 0.5 * (1 + np.cos(np.pi * done / max(1, config.epochs)))
    for group in optimizer.param_groups:
        group["lr"] = config.learning_rate * (0.05 + 0.95 * share)


def _run_epoch(
    network: AttentiveLstm,
    optimizer: torch.optim.Optimizer,
    data: Batch,
    level_Q: Tensor,
    order_by: tuple[int, int, int],
) -> float:
    """Go once over the training rows; order and dropout depend on seed and epoch alone."""
    batch_rows, seed, epoch = order_by
    network.train()
    order = np.random.default_rng([seed, epoch]).permutation(data[3].shape[0])
    torch.manual_seed(seed * 10_007 + epoch)
    total = 0.0
    for first in range(0, len(order), batch_rows):
        rows = torch.from_numpy(order[first : first + batch_rows])
        batch = (data[0][rows], data[1][rows], data[2][rows], data[3][rows])
        optimizer.zero_grad()
        loss = _loss(network, batch, level_Q)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), _CLIP_NORM)
        optimizer.step()
        total += float(loss.detach()) * len(rows)
    return total / len(order)


def _copy(network: AttentiveLstm) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def _exported(
    state: dict[str, Tensor], config: LstmConfig, mean_F: Floats32, scale_F: Floats32
) -> LstmWeights:
    values = {name: value.numpy().copy() for name, value in state.items()}
    arrays: dict[str, Floats32] = {"static_mean_F": mean_F, "static_scale_F": scale_F}
    for layer in range(config.layers):
        for direction, suffix in zip(DIRECTIONS, ("", "_reverse"), strict=True):
            into, recurrent, bias = layer_arrays(layer, direction)
            arrays[into] = values[f"lstm.weight_ih_l{layer}{suffix}"]
            arrays[recurrent] = values[f"lstm.weight_hh_l{layer}{suffix}"]
            arrays[bias] = (
                values[f"lstm.bias_ih_l{layer}{suffix}"] + values[f"lstm.bias_hh_l{layer}{suffix}"]
            )
    arrays |= {
        "attend_AD": values["attend.weight"],
        "attend_bias_A": values["attend.bias"],
        "score_A": values["score.weight"][0],
        "head_EJ": values["head.weight"],
        "head_bias_E": values["head.bias"],
        "out_QE": values["out.weight"],
        "out_bias_Q": values["out.bias"],
    }
    return LstmWeights(arrays=arrays, layers=config.layers)
