"""A stream of maps that are seen only once, as in a prediction loop."""

from collections.abc import Sequence
from tempfile import TemporaryFile
from typing import IO, Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from aseg_bench.errors import InputError
from aseg_bench.metrics.checks import (
    Levels,
    as_map,
    as_mask,
    check_pair,
    mask_bytes,
    mask_of_bytes,
    note_levels,
    of_merged,
)
from aseg_bench.metrics.measure import Measured, chosen, measure
from aseg_bench.metrics.second_pass import ImageScore
from aseg_bench.records import LazySequence


class _Kept(NamedTuple):
    """One array in a temporary file."""

    file: IO[bytes]
    place: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def read(self) -> NDArray[Any]:
        self.file.seek(self.place)
        data = bytearray(int(np.prod(self.shape)) * self.dtype.itemsize)
        self.file.readinto(data)  # type: ignore[attr-defined]
        return np.frombuffer(data, dtype=self.dtype).reshape(self.shape)


class MetricStream:
    """Takes every map once and measures all of them at the end, with the numbers of `measure`.

    The maps wait in a temporary file (in the folder that ``TMPDIR`` names) that vanishes with the stream; memory holds
    no map. Where maps can be read twice, `measure` needs no such file; across processes, `FirstPass` and `SecondPass`
    merge.

    >>> stream = MetricStream(metrics=["pixel_auroc"])
    >>> stream.update(np.array([[0.1, 0.9]]), np.array([[False, True]]))
    >>> stream.update(np.array([[0.2], [0.3]]), np.array([[False], [False]]))
    >>> stream.compute().values
    {'pixel_auroc': 1.0}
    """

    def __init__(self, metrics: Sequence[str] | None = None) -> None:
        """Start an empty stream.

        Args:
            metrics: keys of ``METRICS``; None measures all.

        Raises:
            InputError: a key is unknown.
        """
        self._metrics = chosen(metrics)
        self._file: IO[bytes] = TemporaryFile()  # noqa: SIM115 - lives as long as the stream and what it merged into
        self._scores: list[_Kept] = []
        self._masks: list[_Kept] = []
        self._image_scores: list[float] = []
        self._levels: Levels = {}

    def update(self, score_map: ArrayLike, mask: ArrayLike, *, image_score: float | None = None) -> None:
        """Take one image.

        Args:
            score_map: anomaly scores, (height, width) or (1, height, width); sizes may differ from image to image.
            mask: what `evaluate_maps` takes as the mask of an image, (height, width).
            image_score: the image's score; None takes the highest pixel, then for all images.

        Raises:
            InputError: shapes or types do not fit, or only some images come with a score.
        """
        where = f"image {len(self._scores)}"
        levels: Levels = {}
        score_map, mask = as_map(score_map, where), as_mask(mask, f"the mask of {where}", levels)
        check_pair(score_map, mask, where)
        if (image_score is None) != (len(self._image_scores) == 0) and self._scores:
            raise InputError(f"image {len(self._scores)}: give an image score with every image or with none")
        note_levels(self._levels, levels)
        if image_score is not None:
            self._image_scores.append(float(image_score))
        self._scores.append(self._keep(score_map))
        self._masks.append(self._keep(mask_bytes(mask).reshape(mask.shape)))

    def merge(self, other: Self) -> None:
        """Add the images of another stream of this process.

        Raises:
            InputError: only one of the two streams has image scores, or 255 stands for anomalous there and 1 here.
        """
        if self._scores and other._scores and bool(self._image_scores) != bool(other._image_scores):
            raise InputError("only one of the merged streams has image scores; give them to both or to none")
        note_levels(self._levels, of_merged(other._levels))
        self._scores += other._scores
        self._masks += other._masks
        self._image_scores += other._image_scores

    def compute(self, *, image_scores: ImageScore | None = None, n_threads: int | None = None) -> Measured:
        """Measure all images so far; more may follow.

        Args:
            image_scores: a function from a map to the image's score, in the place of the highest pixel.
            n_threads: as in `measure`.

        Raises:
            InputError: there is no image yet, or a score is nan.
        """
        return measure(
            LazySequence(len(self._scores), lambda index: self._scores[index].read()),
            LazySequence(len(self._masks), lambda index: mask_of_bytes(self._masks[index].read())),
            metrics=self._metrics,
            image_scores=self._image_scores or image_scores,
            n_threads=n_threads,
        )

    def _keep(self, array: NDArray[Any]) -> _Kept:
        place = self._file.seek(0, 2)
        self._file.write(np.ascontiguousarray(array).data)
        return _Kept(self._file, place, array.shape, array.dtype)
