"""What a training leaves to be looked at: its losses as CSV."""

import csv
from pathlib import Path

from aseg_bench.files import written_whole
from aseg_bench.training.checkpoints import TrainingState

LOG = "log.csv"


def write_log(state: TrainingState, folder: Path) -> None:
    """Write ``log.csv``: losses, learning rate and seconds per logged step; empty where a step has no such loss."""
    if not state.log:
        return
    names = list(dict.fromkeys(name for row in state.log for name in row))
    with written_whole(folder / LOG) as temporary, temporary.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, names)
        writer.writeheader()
        writer.writerows(state.log)
