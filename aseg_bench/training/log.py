"""What a training leaves to be looked at: its losses as CSV."""

import csv
from pathlib import Path

from aseg_bench.files import written_whole
from aseg_bench.training.checkpoints import TrainingState

LOG = "log.csv"


def write_log(state: TrainingState, folder: Path) -> None:
    """Write ``log.csv``: losses, learning rate and seconds per logged step."""
    if not state.log:
        return
    with written_whole(folder / LOG) as temporary, temporary.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(state.log[0]))
        writer.writeheader()
        writer.writerows(state.log)
