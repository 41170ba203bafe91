"""What a training leaves to be looked at: losses as CSV and as a picture."""

import csv
from pathlib import Path

from aseg_bench.files import written_whole
from aseg_bench.reporting.figures.style import COLUMN, looks, new_figure, printed, save, style
from aseg_bench.training.checkpoints import TrainingState

LOG = "log.csv"
_NO_LOSS = ("step", "seconds", "learning_rate")


def write_log(state: TrainingState, folder: Path) -> None:
    """Write ``log.csv`` (losses, learning rate and seconds per logged step) and the picture ``losses.png``."""
    if not state.log:
        return
    with written_whole(folder / LOG) as temporary, temporary.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(state.log[0]))
        writer.writeheader()
        writer.writerows(state.log)
    steps = [row["step"] for row in state.log]
    names = [name for name in state.log[0] if name not in _NO_LOSS]
    with style():
        figure = new_figure(COLUMN, 2.4)
        axes = figure.subplots()
        for name, look in looks(names).items():
            losses = [row[name] for row in state.log]
            axes.plot(steps, losses, color=look.colour, linestyle=look.dashes, label=printed(name))
        axes.set(xlabel="step", ylabel="loss", yscale="log")
        axes.legend()
    save(figure, folder, "losses", ["png"])
