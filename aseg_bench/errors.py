"""Every error that a user can cause. The text says what is wrong, where, and how to mend it."""


class AsegBenchError(Exception):
    """Base of all errors the command line prints as one line, with exit code 2."""


class InputError(AsegBenchError, ValueError):
    """What the user handed over (a file, an array, a name, a setting) cannot be used."""


class UndefinedMetricError(AsegBenchError):
    """A metric has no value on these data, for instance pixel AUROC without an anomalous pixel."""


class MissingWeightsError(AsegBenchError):
    """Pretrained weights are neither installed, nor in the named file, nor reachable."""


class TrainingError(AsegBenchError):
    """Training cannot go on: a non-finite loss, no memory, or a checkpoint that does not fit."""
