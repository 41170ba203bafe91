"""Which values of a stored mask mean anomalous, and which mean void: ``>127``, ``=1,2 ignore=255``."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from aseg_bench.errors import InputError

DEFAULT_RULE: Final = ">0"
_NUMBER = r"\d+(?:\.\d+)?"
_WORD = re.compile(rf"(?P<kind>>|=|ignore=)(?P<values>{_NUMBER}(?:,{_NUMBER})*)")
_EXAMPLES = "write >127, =1,2 or either with ignore=255 behind it, which makes pixels void"


@dataclass(frozen=True)
class MaskRule:
    """What the values of a mask mean; all values that are neither anomalous nor void are normal.

    Attributes:
        above: values above it are anomalous; None where ``values`` are.
        values: exactly these are anomalous.
        ignored: these are void, whatever else they would be.
    """

    above: float | None = 0
    values: tuple[float, ...] = ()
    ignored: tuple[float, ...] = ()

    @classmethod
    @lru_cache  # it is asked for at every mask
    def parse(cls, text: str) -> "MaskRule":
        """The rule of a text: ``>N`` or ``=V1,V2`` (``>0`` if neither is there), and ``ignore=V1,V2``, in any order.

        Raises:
            InputError: it is anything else, or one value is both anomalous and void.
        """
        found: dict[str, tuple[float, ...]] = {}
        for word in text.split():
            match = _WORD.fullmatch(word)
            if match is None:
                raise InputError(f"the mask rule {text!r} has no meaning at {word!r}; {_EXAMPLES}")
            kind, values = match["kind"], tuple(sorted({_number(value) for value in match["values"].split(",")}))
            if kind in found or (kind != "ignore=" and found.keys() & {">", "="}):
                raise InputError(f"the mask rule {text!r} says twice what is {_WHAT[kind]}; {_EXAMPLES}")
            if kind == ">" and "," in match["values"]:
                raise InputError(f"the mask rule {text!r} has several values behind >; {_EXAMPLES}")
            found[kind] = values
        if not found:
            raise InputError(f"the mask rule is empty; {_EXAMPLES}")
        both = sorted(set(found.get("=", ())) & set(found.get("ignore=", ())))
        if both:
            raise InputError(f"by the mask rule {text!r}, {both[0]:g} is both anomalous and void; name it once")
        above = None if "=" in found else found.get(">", (0,))[0]
        return cls(above, found.get("=", ()), found.get("ignore=", ()))

    @property
    def text(self) -> str:
        """The one text of the rule: it parses to the same rule, and equal rules have the same."""
        words = [f"={_listed(self.values)}" if self.above is None else f">{_listed((self.above,))}"]
        return " ".join([*words, *([f"ignore={_listed(self.ignored)}"] if self.ignored else [])])

    def anomalous(self, mask: NDArray[Any]) -> NDArray[np.bool_]:
        """Where a mask of any real type says anomalous and not void, in its shape."""
        is_anomalous = np.isin(mask, self.values) if self.above is None else mask > self.above
        void = self.void(mask)
        return np.asarray(is_anomalous if void is None else is_anomalous & ~void)

    def void(self, mask: NDArray[Any]) -> NDArray[np.bool_] | None:
        """Where a mask says void, in its shape; None where the rule knows no void."""
        return np.asarray(np.isin(mask, self.ignored)) if self.ignored else None


def own_rule(text: str) -> Callable[[NDArray[Any]], NDArray[np.bool_]] | None:
    """What a rule that the user has chosen calls anomalous; None for the default, about which masks are questioned."""
    rule = MaskRule.parse(text)
    return None if rule == MaskRule() else rule.anomalous


_WHAT = {">": "anomalous", "=": "anomalous", "ignore=": "void"}


def _listed(values: tuple[float, ...]) -> str:
    return ",".join(np.format_float_positional(value, trim="-") for value in values)


def _number(text: str) -> float:
    return float(text) if "." in text else int(text)
