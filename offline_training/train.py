r"""Train a model bundle: backbone, flow, observer, calibrate, evaluate, export.

    # the synthetic experiment of the demo
    python -m offline_training.train
    # your own images: my_data/images, my_data/labels, my_data/classes.yaml
    python -m offline_training.train --data.dataset folder --data-dir my_data
    # an experiment from a file, with one key changed
    python -m offline_training.train --weights ESPNET.pth \
        --config config/training/camvid_espnet.yaml \
        --data-dir ../shared/camvid --observer.epochs 10
    # what would be trained, as a file to start from
    python -m offline_training.train --data.dataset folder --data-dir my_data \
        --print-config > mine.yaml

    # on two GPUs, or in two processes
    torchrun --nproc-per-node 2 -m offline_training.train

An interrupted run is continued with --resume.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from offline_training.learning.command_line import exit_status


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status (2 for a mistake of the user)."""
    return exit_status(lambda: _train(argv), 'interrupted; continue with --resume')


def _train(argv: Sequence[str] | None) -> None:
    # Not above: a package that is missing is then told in one sentence.
    from offline_training.pipeline.command import train

    train(argv, __doc__)


if __name__ == '__main__':
    sys.exit(main())
