"""A method whose maps other code has made."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from aseg_bench.errors import InputError
from aseg_bench.predictions.checks import Suspicion
from aseg_bench.predictions.imported import Category, import_maps
from aseg_bench.predictions.records import Limits
from aseg_bench.protocols.mask_rule import DEFAULT_RULE
from aseg_bench.records import AnomalyMap, Case, Finding, Sample


class MapsMethod:
    """A method that someone else ran: it predicts by reading its maps.

    Args:
        name: in tables and stores.
        path: the dump.
        reader: key of a reader, or ``auto``.
        limits: how much a file may ask for.
        allow_clamped: take clamped maps of layouts that usually clamp them.
        mask_rule: which values of a mask mean anomalous or void, see `MaskRule`.

    Attributes:
        findings: what looks odd in the maps that ``predict`` has read.
        about: the mask rule by which they were looked at, where it is not the default.
    """

    def __init__(
        self,
        name: str,
        path: Path,
        reader: str = "auto",
        limits: Limits | None = None,
        allow_clamped: bool = False,
        mask_rule: str = DEFAULT_RULE,
    ) -> None:
        self.name = name
        self.about = {} if mask_rule == DEFAULT_RULE else {"mask_rule": mask_rule}
        self.findings: list[Finding] = []
        self._path, self._reader, self._limits, self._allow_clamped = path, reader, limits, allow_clamped

    def fit(self, train: Sequence[Sample]) -> None:
        """Nothing to learn."""

    def predict(self, samples: Sequence[Sample]) -> Iterator[AnomalyMap]:
        """The map of each sample, in order.

        Raises:
            InputError: a sample has no map, or a map cannot be used.
        """
        imported = import_maps(
            self._path, samples, reader=self._reader, limits=self._limits, allow_clamped=self._allow_clamped
        )
        for where, texts in imported.problems.items():
            if where:
                raise InputError(f"{self.name}, {where}: {texts[0]}")
        if lacking := sorted({sample.category for sample in samples} - imported.found.keys()):
            raise InputError(f"{self.name}: {self._path} has no map of {lacking[0]}; {imported.problem_text}")
        odd = {"": [*imported.suspicions[""], *(Suspicion("not_used", text) for text in imported.problems.get("", ()))]}
        category: Category | None = None
        places: dict[Sample, int] = {}
        for sample in samples:
            if category is None or sample not in places:
                category = None  # two of them are never kept
                category = imported.read(sample.category, self.about.get("mask_rule", DEFAULT_RULE))
                odd[sample.category] = list(category.suspicions)
                self.findings = [Finding(one.kind, one.text, Case(self.name, sample.dataset, key))
                                 for key, found in odd.items() for one in found]  # fmt: skip
                places = {of: place for place, of in enumerate(category.samples)}
            yield AnomalyMap(sample, category.maps[places[sample]])
