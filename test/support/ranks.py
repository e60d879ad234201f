"""Learns in one of several processes and notes what it saw; started by torchrun."""

from __future__ import annotations

import hashlib
import io
import json
import sys
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from torch import nn

from offline_training.learning import ranks
from offline_training.learning.batches import DrawnBatches
from offline_training.learning.session import Session
from offline_training.learning.task import Task
from offline_training.learning.training import learn

COUNT, EPOCHS = 24, 3


def digest(network: nn.Module) -> str:
    state = hashlib.sha256()
    for value in network.state_dict().values():
        state.update(value.numpy().tobytes())
    return state.hexdigest()


class Noting(DrawnBatches):
    """Notes the weights before each epoch and the samples of each batch."""

    def __init__(self, network: nn.Module, session: Session) -> None:
        super().__init__(COUNT, self.draw, 8, 7, torch.device('cpu'), session)
        self.network, self.weights, self.seen = network, [], []

    def draw(self, index, rng, progress):
        return np.float32([index]), rng.random(6, np.float32)

    def epoch(self, epoch, progress, first=0):
        self.weights.append(digest(self.network))
        self.seen.append([])
        for batch in super().epoch(epoch, progress, first):
            self.seen[-1].append(batch[0][:, 0].int().tolist())
            yield batch


def run(folder: Path) -> None:
    # Not the same on purpose: what the first process starts with counts.
    torch.manual_seed(ranks.rank())
    network = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 1))
    session = Session(None, 1, Console(file=io.StringIO()))
    batches = Noting(network, session)
    learn(
        Task(
            'test',
            network,
            lambda _, x: (network(x) - x.sum(1, keepdim=True)).square().mean(),
            batches,
            torch.optim.AdamW(network.parameters(), 0.01),
            EPOCHS,
            'lower it',
            5,
            ema_decay=0.9,
            validate=lambda net: {'score': float(net(torch.ones(1, 6)))},
        ),
        session,
    )
    found = {'weights': [*batches.weights, digest(network)], 'seen': batches.seen}
    (folder / f'{ranks.ranks()}_{ranks.rank()}.json').write_text(json.dumps(found))


if __name__ == '__main__':
    with ranks.together():
        run(Path(sys.argv[1]))
