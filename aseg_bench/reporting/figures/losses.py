"""How the losses of a training fell."""

import pandas as pd
from matplotlib.figure import Figure

from aseg_bench.reporting.figures.style import COLUMN, looks, new_figure, printed, style

_NO_LOSS = ("step", "seconds", "learning_rate")


def losses_figure(log: pd.DataFrame) -> Figure:
    """The losses over the steps.

    Args:
        log: one row per logged step: ``step``, ``seconds``, ``learning_rate``, and a column per loss.
    """
    names = [name for name in log.columns if name not in _NO_LOSS]
    with style():
        figure = new_figure(COLUMN, 2.4)
        axes = figure.subplots()
        for name, look in looks(names).items():
            axes.plot(log["step"], log[name], color=look.colour, linestyle=look.dashes, label=printed(name))
        axes.set(xlabel="step", ylabel="loss", yscale="log")
        axes.legend()
    return figure
