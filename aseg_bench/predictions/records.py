"""What a reader finds in someone else's dump, before it is matched with the images of a data set."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aseg_bench.records import Sample

SortKey = Callable[[Sample], Any]
RECIPE = """write them with the paths of their images:

    import numpy as np
    for category, (maps, paths) in results.items():  # maps: (images, height, width), one path for each
        np.savez(f"{category}.npz", maps=maps, paths=[str(path) for path in paths])
"""
"""What to write where nothing can be read; a dump of the reader ``stack``."""


@dataclass(frozen=True)
class FoundMap:
    """One anomaly map of a dump.

    Attributes:
        origin: the file it lies in.
        read: gives the scores, an array or a tensor, from the file; axes of length one are dropped later.
        place: the image's path as the dump names it, whole or in part; None where only the position says it.
        category: where the dump names it.
        read_mask: gives the truth that travelled with the map; None where none did.
        loss: 0 where its kind of file holds every number, more the fewer it holds; of several maps of one image in
            files of several kinds, the one with the least counts.
    """

    origin: Path
    read: Callable[[], Any]
    place: str | None = None
    category: str | None = None
    read_mask: Callable[[], Any] | None = None
    loss: int = 0


@dataclass(frozen=True)
class Found:
    """All maps of a dump.

    Attributes:
        maps: in the dump's order.
        left_over: files in the folder that hold no map of this format.
        order: of the test images of a category, for maps without a place; None where the format fixes none.
        faults: why some of its files could not be read.
        is_order_assumed: the order is ours and not the format's, so it is said where it was needed.
    """

    maps: Sequence[FoundMap]
    left_over: Sequence[Path] = ()
    order: SortKey | None = None
    faults: Sequence[str] = ()
    is_order_assumed: bool = False


@dataclass(frozen=True)
class Limits:
    """How much a dump may ask for, and what is trusted.

    Attributes:
        max_bytes: largest size of any one array, as its file declares it, and of any one file once unpacked.
        allow_pickle: formats that need pickle are read, through an unpickler for arrays and plain containers only.
    """

    max_bytes: int = 8 * 2**30
    allow_pickle: bool = False


@dataclass(frozen=True)
class Reader:
    """A layout of anomaly maps on disk.

    Attributes:
        key: name on the command line, for instance ``uniad``.
        summary: files and members, in one line.
        recognises: whether the sorted files of a dump look like this layout, by their names and those of members.
        find: finds the maps; raises InputError for what is wrong with them.
        crops: edge of a centre crop that the maps may show -> shorter edge that the image had before it.
        is_clamped: scores in this layout are usually clamped to [0, 1], which costs accuracy.
    """

    key: str
    summary: str
    recognises: Callable[[Sequence[Path]], bool]
    find: Callable[[Path, Limits], Found]
    crops: Mapping[int, int] = field(default_factory=dict)
    is_clamped: bool = False
