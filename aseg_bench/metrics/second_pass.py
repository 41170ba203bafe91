"""Second pass of the sweep: every normal pixel, counted against the ranked anomalous ones."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import starmap
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from aseg_bench.errors import InputError
from aseg_bench.metrics import _kernels as kernels
from aseg_bench.metrics.above import Above, above
from aseg_bench.metrics.checks import as_map, as_mask, check_pair, mask_bytes, n_valid, truth_of
from aseg_bench.metrics.counting import Counting
from aseg_bench.metrics.first_pass import Ranking, extremes, same_kind
from aseg_bench.metrics.keys import Keys, key_type
from aseg_bench.metrics.sweep import Image, Sweep
from aseg_bench.metrics.tallies import TopTally

N_TOGETHER = 2**16  # pixels whose keys near the threshold are written before they are copied
ImageScore = Callable[[NDArray[Any]], float]
_OF_ANOMALOUS = "_of_anomalous_images"
_CLASSES = ("anomalous", "normal")  # of pixels, as `_Image` names them


class _Part(NamedTuple):
    """Pixels of one class in an image near the threshold that is not yet known."""

    keys: Keys  # ascending, within the span of possible thresholds
    counts: NDArray[np.integer[Any]]
    n_above: int  # pixels above the span

    def at_or_above(self, key: int) -> int:
        return self.n_above + int(self.counts[np.searchsorted(self.keys, key) :].sum())


@dataclass(frozen=True)
class _Image:
    index: int
    n_pixels: int
    n_anomalous: int
    anomalous: _Part | None
    normal: _Part | None
    score: float
    label: bool
    above: Above


class SecondPass:
    """Counts the normal pixels, image by image; parts made anywhere from one `Ranking` merge in any order."""

    def __init__(self, ranking: Ranking) -> None:
        self.ranking = ranking
        kind = ranking.kind
        self._gaps = Counting(ranking)  # of all images, or of those that have no counts of their own
        self._gaps_of_anomalous = Counting(ranking) if ranking.needs.anomalous_images else None
        self._tops = TopTally(ranking.n_top, kind.integer)
        self._images: list[_Image] = []
        self._inside = np.empty((2, N_TOGETHER + 1), dtype=kind.integer)

    def update(
        self,
        score_map: NDArray[Any],
        mask: NDArray[np.bool_],
        *,
        image_score: float | ImageScore | None = None,
        image_label: bool | None = None,
        index: int | None = None,
        name: str | None = None,
    ) -> None:
        """Take one image, as it was in the first pass.

        Args:
            score_map: anomaly scores, (height, width).
            mask: True where anomalous, masked where void, (height, width).
            image_score: the image's score, or what computes it from the map; None takes the highest pixel, void or not.
            image_label: whether the image is anomalous; None takes it from the mask.
            index: place of the image in per-image results, as in the first pass; None counts the calls.
            name: the image's name in messages; None takes its index.

        Raises:
            InputError: shapes or types do not fit, or a score is nan.
        """
        index = len(self._images) if index is None else index
        where = f"image {index}" if name is None else name
        score_map, mask = as_map(score_map, where), as_mask(mask, f"the mask of {where}")
        check_pair(score_map, mask, where)
        ranking = self.ranking
        kind = key_type(score_map.dtype, where)
        if ranking.n_distinct:
            same_kind(ranking.kind, kind, where)
        bits, flat = kind.bits(score_map), mask_bytes(mask)
        _, highest = extremes(bits, kind, score_map.shape, where)
        n_anomalous, n_pixels = int(np.count_nonzero(truth_of(mask))), n_valid(mask)
        is_normal = not (n_anomalous or image_label)
        if self._gaps_of_anomalous is not None and n_anomalous:
            self._gaps_of_anomalous.update(bits, flat, kind.flip)
        elif ranking.needs.curve:
            self._gaps.update(bits, flat, kind.flip)
        if ranking.n_top and is_normal and highest >= self._tops.floor:
            self._tops.update(self._between(bits, flat, kind.flip, (self._tops.floor, np.iinfo(np.int64).max))[0][0])
        normal = anomalous = None
        if ranking.needs.overlaps and ranking.n_distinct:
            normal, anomalous = starmap(_near, self._between(bits, flat, kind.flip, ranking.span))
        self._images.append(
            _Image(
                index,
                n_pixels,
                n_anomalous,
                anomalous if n_anomalous else None,
                normal,
                self._score(score_map, image_score, kind.scores(np.array([highest], dtype=kind.integer)), where),
                bool(n_anomalous) if image_label is None else image_label,
                above(score_map, mask, ranking.needs),
            )
        )

    def merge(self, other: Self) -> None:
        """Add the images of another part.

        Raises:
            InputError: the other part counts against another ranking.
        """
        ours, theirs = self.ranking, other.ranking
        if ours.needs != theirs.needs or not np.array_equal(ours.keys, theirs.keys):
            raise InputError("the parts count against different rankings; compute one from the merged first passes")
        self._gaps.merge(other._gaps)
        self._tops.merge(other._tops)
        self._images += other._images
        if self._gaps_of_anomalous is not None and other._gaps_of_anomalous is not None:
            self._gaps_of_anomalous.merge(other._gaps_of_anomalous)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """All that was counted, for `take` of another process: some 2 bytes per distinct score of the ranking."""
        images = self._images
        arrays = {
            **self._gaps.to_arrays(),
            "tops": self._tops.keys,
            "top_counts": self._tops.counts,
            "images": np.array(
                [[i.index, i.n_pixels, i.n_anomalous, i.label, *i.above] for i in images], np.int64
            ).reshape(-1, 4 + len(Above._fields)),
            "scores": np.array([i.score for i in images], None if images else np.float64),  # int64 of int64 scores
        }
        for name in _CLASSES:
            near = [getattr(image, name) or self._none for image in images]
            arrays |= {
                f"{name}_n": np.array([[len(part.keys), part.n_above] for part in near], np.int64).reshape(-1, 2),
                f"{name}_steps": self._steps(np.concatenate([self._none.keys, *(part.keys for part in near)])),
                f"{name}_counts": np.concatenate([self._none.counts, *(part.counts for part in near)]),
            }
        if self._gaps_of_anomalous is not None:
            arrays |= self._gaps_of_anomalous.to_arrays(_OF_ANOMALOUS)
        return arrays

    def take(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Add what another process has counted against the same ranking and gave with `to_arrays`.

        Raises:
            ValueError: it has not counted what this one needs.
        """
        if (f"gaps{_OF_ANOMALOUS}" in arrays) != (self._gaps_of_anomalous is not None):
            raise ValueError("images with an anomalous pixel are counted apart there or here, and not in both")
        self._gaps.take(arrays)
        self._tops.take(arrays["tops"], arrays["top_counts"])
        parts = {}
        for name in _CLASSES:
            n_keys, n_above = arrays[f"{name}_n"].T
            places = np.cumsum(n_keys)[:-1]
            reached = self.ranking.keys[np.cumsum(arrays[f"{name}_steps"])]
            keys, counts = np.split(reached, places), np.split(arrays[f"{name}_counts"], places)
            parts[name] = map(_Part, keys, counts, n_above.tolist())
        near = zip(parts["anomalous"], parts["normal"], strict=True)
        columns = zip(arrays["images"].tolist(), arrays["scores"].tolist(), near, strict=True)
        for (index, n_pixels, n_anomalous, label, *counts), score, (anomalous, normal) in columns:
            own = Above(*counts)
            self._images.append(_Image(index, n_pixels, n_anomalous, anomalous, normal, score, bool(label), own))
        if self._gaps_of_anomalous is not None:
            self._gaps_of_anomalous.take(arrays, _OF_ANOMALOUS)

    def _steps(self, keys: Keys) -> NDArray[np.int64]:
        """From the rank that a key reaches to that of the next one: what lies between thresholds need not be told."""
        return np.diff(np.searchsorted(self.ranking.keys, keys, side="right") - 1, prepend=0)

    @property
    def _none(self) -> _Part:
        return _Part(np.zeros(0, dtype=self.ranking.kind.integer), np.zeros(0, dtype=np.uint8), 0)

    def compute(self) -> Sweep:
        """The finished sweep."""
        apart = self._gaps_of_anomalous
        of_anomalous = None if apart is None else apart.total()
        return Sweep(
            self.ranking, self._gaps.total(apart), self._tops.keys, self._tops.counts, self._finished, of_anomalous
        )

    def _finished(self, key: int) -> list[Image]:
        """All images in order, with their true and false positives at a threshold within the span."""
        return [
            Image(
                image.index,
                image.n_pixels,
                image.n_anomalous,
                image.anomalous.at_or_above(key) if image.anomalous else 0,
                image.normal.at_or_above(key) if image.normal else 0,
                image.score,
                image.label,
                image.above,
            )
            for image in sorted(self._images, key=lambda image: image.index)
        ]

    def _between(self, bits: Keys, flat: NDArray[np.uint8], flip: int, span: tuple[int, int]) -> list[tuple[Keys, int]]:
        """Of normal and of anomalous pixels: the keys in [low, high), and how many lie above."""
        found: list[tuple[Keys, Keys]] = []
        n_above = np.zeros(2, dtype=np.int64)
        for start in range(0, bits.size, N_TOGETHER):
            some = slice(start, start + N_TOGETHER)
            n_normal, normal, n_anomalous, anomalous = kernels.between(
                bits[some], flat[some], flip, *span, *self._inside
            )
            found.append((self._inside[0, :n_normal].copy(), self._inside[1, :n_anomalous].copy()))
            n_above += (normal, anomalous)
        return [(np.concatenate(parts), n) for parts, n in zip(zip(*found, strict=True), n_above.tolist(), strict=True)]

    def _score(
        self, score_map: NDArray[Any], image_score: float | ImageScore | None, highest: NDArray[Any], where: str
    ) -> float:
        if not self.ranking.needs.images:
            return 0.0
        if image_score is None:
            found: float = highest[0].item()  # an int keeps all digits of an int64
            return found
        score = float(image_score(score_map) if callable(image_score) else image_score)
        if np.isnan(score):
            raise InputError(f"the image score of {where} is nan")
        return score


def _near(keys: Keys, n_above: int) -> _Part:
    keys, counts = np.unique(keys, return_counts=True)
    return _Part(keys, counts.astype(np.min_scalar_type(counts.max(initial=0))), n_above)  # mostly a byte each
