"""Files of a training: a damaged one is named with a remedy of ours."""

from __future__ import annotations

import pickle

import pytest
import torch

from offline_training.learning.store import StorageError, read_checkpoint, write_checkpoint


class Foreign:
    """What torch refuses to unpickle with weights_only."""


@pytest.mark.filterwarnings('ignore:Detected pickle protocol')
@pytest.mark.parametrize('content', ['damaged', 'foreign', 'pickle', 'no state'])
def test_an_unreadable_checkpoint_gets_a_remedy_that_runs_no_code(tmp_path, content):
    path = tmp_path / 'flow.pt'
    if content == 'damaged':
        write_checkpoint(path, {'epoch': torch.arange(1000)})
        path.write_bytes(path.read_bytes()[:-600])
    elif content == 'foreign':
        torch.save({'network': Foreign()}, path)
    elif content == 'pickle':
        path.write_bytes(pickle.dumps(Foreign()))
    else:
        torch.save([1, 2], path)
    with pytest.raises(StorageError) as error:
        read_checkpoint(path)
    sentence = str(error.value)
    assert sentence.startswith(str(path))
    assert 'delete it to train from the start' in sentence
    for advice in ('weights_only', 'weights only', 'safe_globals', 'Re-running', '\n'):
        assert advice not in sentence


def test_there_may_be_no_checkpoint_yet(tmp_path):
    path = tmp_path / 'flow.pt'
    assert read_checkpoint(path) is None
    write_checkpoint(path, {'epoch': 3, 'weights': torch.ones(2)})
    state = read_checkpoint(path)
    assert state is not None
    assert state['epoch'] == 3
