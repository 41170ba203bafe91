"""Every error that a user can cause. The text says what is wrong, where, and how to fix it."""

import re
from collections.abc import Sequence
from difflib import get_close_matches
from importlib.metadata import requires

_DISTRIBUTIONS = {
    "PIL": "pillow",
    "cv2": "opencv-python-headless",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}


class AsegBenchError(Exception):
    """Base of all errors the command line prints as one line, with exit code 2."""


class InputError(AsegBenchError, ValueError):
    """What the user handed over (a file, an array, a name, a setting) cannot be used."""


class UndefinedMetricError(AsegBenchError):
    """A metric has no value on these data, for instance pixel AUROC without an anomalous pixel."""


class MissingWeightsError(AsegBenchError):
    """Pretrained weights are not installed, not in the named file, and not reachable."""


class TrainingError(AsegBenchError):
    """Training cannot go on: a loss is not finite, memory runs out, or a checkpoint does not fit."""


def near_matches(name: str, known: Sequence[str]) -> str:
    """The known names nearest to a mistyped one, for an error message: ``did you mean a, b? known: a, b, c``."""
    near = get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"did you mean {', '.join(near)}? " if near else ""
    return f"{hint}known: {', '.join(known)}"


def first_few(names: Sequence[str], n: int = 5) -> str:
    """The first few of some names, and how many more there are: ``a, b, c, d, e and 7 more``."""
    return ", ".join(names[:n]) + (f" and {len(names) - n} more" if len(names) > n else "")


def listed(names: Sequence[str]) -> str:
    """Names as a sentence has them: ``a, b and c``."""
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def how_to_install(module: str) -> str:
    """The command that brings a missing module: the extra of a checkout that has it, else its own package.

    The project is on no package index, so its name alone would find nothing there.

    Args:
        module: as it is imported, for instance ``torch.nn``.
    """
    top = module.split(".")[0]
    package = _DISTRIBUTIONS.get(top, top).replace("_", "-")
    for requirement in requires("aseg-bench") or ():
        name, extra = re.match(r"[\w.-]+", requirement), re.search(r"extra == .([\w-]+)", requirement)
        if extra and name and name[0].lower().replace("_", "-") == package.lower():
            return f"pip install '.[{extra[1]}]' in the folder of aseg-bench's sources"
    return f"pip install {package}"
