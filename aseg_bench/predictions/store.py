"""Anomaly maps on disk, in the folders of MVTec's evaluation code, which reads maps in the size of their images.

<root>/<method>/<dataset>/<category>/test/<defect>/<stem>.tiff      one float channel, in the size it was given
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from aseg_bench.errors import InputError
from aseg_bench.files import folder_name, is_folder_name, is_left_by_others, written_whole
from aseg_bench.images import most_pixels
from aseg_bench.metrics.checks import as_array
from aseg_bench.predictions.exact import exact_scores
from aseg_bench.predictions.pictures import read_tiff
from aseg_bench.predictions.records import Limits
from aseg_bench.records import AnomalyMap, LazySequence, Sample

_BYTES_OF_SCORE = 8  # at most; a map has as many scores as its image has pixels, or fewer
_N_HALVES = 2**16  # bit patterns of float16


class MapStore:
    """Reads and writes the anomaly maps below one folder.

    Args:
        root: the folder; it need not exist before the first map is written.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._ranges: dict[str, NDArray[np.float64]] = {}

    def folder(self, method: str, dataset: str = "") -> Path:
        """Where the maps of a method on a data set, or on all of them, lie, whether or not there are any.

        Raises:
            InputError: the method's name cannot name a folder.
        """
        if not is_folder_name(method):
            raise InputError(
                f"{method!r} cannot name a method: its maps lie in a folder of that name; "
                "leave out slashes and what cannot be seen"
            )
        return self.root / folder_name(method) / dataset

    def path(self, method: str, sample: Sample) -> Path:
        """Where the map of a sample lies, whether or not it is there.

        Raises:
            InputError: the method's name cannot name a folder, or the sample's name would lead out of its folder.
        """
        folder, place = self.folder(method, sample.dataset), Path(f"{sample.name}.tiff")
        if place.anchor or ".." in place.parts:
            raise InputError(f"the map of {sample.name!r} would lie outside {folder}; rename the category or the image")
        return folder / place

    def write(self, method: str, anomaly_map: AnomalyMap, half: bool = False) -> Path:
        """Write one map whole, in the type that it has, or with ``half`` as float16; an older one is replaced.

        Returns:
            The file written.

        Raises:
            InputError: the map is not 2-D, not finite, or too large for float16, or its type cannot be compared.
        """
        path = self.path(method, anomaly_map.sample)
        where = f"the map of {method} for {anomaly_map.sample.name}"
        scores = as_array(anomaly_map.scores, where)
        _check(where, scores)
        exact = exact_scores(scores, where)
        stored = scores if scores.dtype.itemsize <= exact.dtype.itemsize else exact
        if half:
            stored = self._halved(method, where, exact)
        with written_whole(path) as temporary:
            tifffile.imwrite(temporary, stored)
        return path

    def read(self, method: str, sample: Sample) -> NDArray[Any]:
        """The map of one sample, (height, width): float32, float64 or int64, the first of these that holds it exactly.

        Raises:
            InputError: the store has no such map, or the file is damaged or does not hold a finite 2-D map.
        """
        path = self.path(method, sample)
        if not path.exists():
            raise InputError(f"{method} has no map for {sample.name}; expected {path}")
        limits = Limits(max_bytes=most_pixels() * _BYTES_OF_SCORE)
        scores = as_array(read_tiff(path, limits, "remove it and run again"), f"the map {path}")
        _check(f"the map {path}", scores)
        return exact_scores(scores, f"the map {path}")

    def maps(self, method: str, samples: Sequence[Sample]) -> Sequence[NDArray[Any]]:
        """The maps of the samples, in order; each is read from its file when it is asked for, and not kept."""
        return LazySequence(len(samples), lambda index: self.read(method, samples[index]))

    def merged_by_half(self, method: str) -> tuple[int, int]:
        """How many of a method's float16 values, as this store has written them, stand for several scores; and all.

        Scores of several maps that become one value count as well, since all maps of a category are ranked together.
        """
        low, high = self._ranges.get(method, np.zeros((2, 0)))
        return int(np.count_nonzero(low < high)), int(np.count_nonzero(low <= high))

    def _halved(self, method: str, where: str, scores: NDArray[Any]) -> NDArray[np.float16]:
        largest = float(np.abs(scores).max())
        if largest > float(np.finfo(np.float16).max):
            raise InputError(f"{where} reaches {largest:g}, too large for float16; store it as float32")
        halved = scores.astype(np.float16) + np.float16(0)  # which makes -0 and 0 one value
        unset = np.repeat([[np.inf], [-np.inf]], _N_HALVES, axis=1)
        low, high = self._ranges.setdefault(method, unset)
        values, wide = halved.view(np.uint16).ravel(), scores.astype(np.float64).ravel()
        np.minimum.at(low, values, wide)
        np.maximum.at(high, values, wide)
        return halved

    def missing(self, method: str, samples: Sequence[Sample]) -> list[Sample]:
        """The samples that have no map yet."""
        return [sample for sample in samples if not self.path(method, sample).is_file()]

    def left_over(self, method: str, dataset: str, samples: Sequence[Sample]) -> list[Path]:
        """TIFF files that belong to none of the samples, in the folders of the samples' categories and splits, sorted.

        They come from other data of the same name. Nothing here reads them; other tools would.
        """
        folder = self.folder(method, dataset)
        expected = {self.path(method, sample) for sample in samples}
        return sorted(
            path
            for place in {Path(sample.category, sample.split) for sample in samples}
            for path in (folder / place).rglob("*.tif*")
            if path not in expected and path.is_file() and not is_left_by_others(path.parent)
        )


def _check(where: str, scores: NDArray[Any]) -> None:
    if scores.ndim != 2 or scores.size == 0:
        raise InputError(f"{where} has the shape {scores.shape}, not (height, width)")
    if not np.isfinite(scores).all():
        row, column = np.argwhere(~np.isfinite(scores))[0]
        raise InputError(f"{where} is {scores[row, column]} at pixel ({row}, {column}); scores must be finite")
