"""Anomaly maps on disk, in the folders of MVTec's evaluation code, which reads maps in the size of their images.

<root>/<method>/<dataset>/<category>/test/<defect>/<stem>.tiff      one float channel, in the size it was given
"""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import overload

import numpy as np
import tifffile
from numpy.typing import NDArray

from aseg_bench.errors import InputError
from aseg_bench.files import is_folder_name, written_whole
from aseg_bench.records import AnomalyMap, Sample

_HALF_ERROR = 0.01  # rounding to float16 beyond this share of a map's spread is worth a warning


class MapStore:
    """Reads and writes the anomaly maps below one folder.

    Args:
        root: the folder; it need not exist before the first map is written.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, method: str, dataset: str = "") -> Path:
        """Where the maps of a method on a data set, or on all of them, lie, whether or not there are any.

        Raises:
            InputError: the method's name is no folder name.
        """
        if not is_folder_name(method):
            raise InputError(
                f"{method!r} cannot name a method: its maps lie in a folder of that name; "
                "leave out slashes and what cannot be seen"
            )
        return self.root / method / dataset

    def path(self, method: str, sample: Sample) -> Path:
        """Where the map of a sample lies, whether or not it is there.

        Raises:
            InputError: the method's name is no folder name, or the sample's would lead out of its folder.
        """
        folder, place = self.folder(method, sample.dataset), Path(f"{sample.name}.tiff")
        if place.anchor or ".." in place.parts:
            raise InputError(f"the map of {sample.name!r} would lie outside {folder}; rename the category or the image")
        return folder / place

    def write(self, method: str, anomaly_map: AnomalyMap, half: bool = False) -> Path:
        """Write one map whole, as float32, or with ``half`` as float16; an older one is replaced.

        Returns:
            The file written.

        Raises:
            InputError: the map is not 2-D, not finite, or too large for float16.
        """
        path = self.path(method, anomaly_map.sample)
        where = f"the map of {method} for {anomaly_map.sample.name}"
        scores = np.asarray(anomaly_map.scores, dtype=np.float32)
        _check(where, scores)
        stored = _halved(where, scores) if half else scores
        with written_whole(path) as temporary:
            tifffile.imwrite(temporary, stored)
        return path

    def read(self, method: str, sample: Sample) -> NDArray[np.float32]:
        """The map of one sample, (height, width) float32.

        Raises:
            InputError: there is no such map, the file is damaged, or it is no finite 2-D map.
        """
        path = self.path(method, sample)
        try:
            scores = np.asarray(tifffile.imread(path))
        except FileNotFoundError as error:
            raise InputError(f"{method} has no map for {sample.name}; expected {path}") from error
        except Exception as error:  # a damaged TIFF can raise nearly anything
            raise InputError(f"cannot read the map {path} ({error}); remove it and run again") from error
        if not np.issubdtype(scores.dtype, np.floating):
            raise InputError(
                f"{path} holds {scores.dtype}, not anomaly scores as floating-point numbers; remove it and run again"
            )
        _check(f"the map {path}", scores)
        return scores.astype(np.float32, copy=False)

    def maps(self, method: str, samples: Sequence[Sample]) -> Sequence[NDArray[np.float32]]:
        """The maps of the samples, in order; each is read from its file when it is asked for, and not kept."""
        return _StoredMaps(self, method, samples)

    def missing(self, method: str, samples: Sequence[Sample]) -> list[Sample]:
        """The samples of which there is no map yet."""
        return [sample for sample in samples if not self.path(method, sample).is_file()]

    def left_over(self, method: str, dataset: str, samples: Sequence[Sample]) -> list[Path]:
        """TIFF files that belong to none of the samples, in the folders of the samples' categories, sorted.

        They come from a crashed run or from other data of the same name. Nothing here reads them; other tools would.
        """
        folder = self.folder(method, dataset)
        expected = {self.path(method, sample) for sample in samples}
        return sorted(
            path
            for category in {sample.category for sample in samples}
            for path in (folder / category).rglob("*.tif*")
            if path not in expected and path.is_file()
        )


class _StoredMaps(Sequence[NDArray[np.float32]]):
    def __init__(self, store: MapStore, method: str, samples: Sequence[Sample]) -> None:
        self._store, self._method, self._samples = store, method, samples

    def __len__(self) -> int:
        return len(self._samples)

    @overload
    def __getitem__(self, index: int) -> NDArray[np.float32]: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[NDArray[np.float32]]: ...
    def __getitem__(self, index: int | slice) -> NDArray[np.float32] | Sequence[NDArray[np.float32]]:
        if isinstance(index, slice):
            return _StoredMaps(self._store, self._method, self._samples[index])
        return self._store.read(self._method, self._samples[index])


def _check(where: str, scores: NDArray[np.floating]) -> None:
    if scores.ndim != 2 or scores.size == 0:
        raise InputError(f"{where} has the shape {scores.shape}, not (height, width)")
    if not np.isfinite(scores).all():
        row, column = np.argwhere(~np.isfinite(scores))[0]
        raise InputError(f"{where} is {scores[row, column]} at pixel ({row}, {column}); scores must be finite")


def _halved(where: str, scores: NDArray[np.float32]) -> NDArray[np.float16]:
    largest = float(np.abs(scores).max())
    if largest > float(np.finfo(np.float16).max):
        raise InputError(f"{where} reaches {largest:g}, too large for float16; store it as float32")
    halved = scores.astype(np.float16)
    error = np.abs(halved - scores).max()
    if 0 < _HALF_ERROR * np.ptp(scores) < error:
        warnings.warn(
            f"float16 blurs {where} by {error:g} of a spread of {np.ptp(scores):g}; scores may change: use float32",
            stacklevel=3,
        )
    return halved
