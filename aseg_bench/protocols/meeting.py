"""Maps and truths of a category in the frame that a protocol prescribes, read when asked for."""

from collections.abc import Callable, Sequence
from functools import cached_property, lru_cache
from typing import Any, NamedTuple
from weakref import WeakMethod

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from aseg_bench.errors import InputError, UndefinedMetricError
from aseg_bench.images import image_size, read_mask
from aseg_bench.protocols.curves import Curve, best_f1_threshold, f1_threshold, score_range
from aseg_bench.protocols.frame import Shape, crop_box, frame_shape, resized_map
from aseg_bench.protocols.image_scores import image_score
from aseg_bench.protocols.mask_rule import MaskRule
from aseg_bench.protocols.presets import Protocol
from aseg_bench.protocols.truth import binarised, truth_fractions, void_pixels
from aseg_bench.records import LazySequence, Sample

Scores = NDArray[np.floating]
Masks = Sequence[NDArray[np.number] | None]
N_BYTES_KEPT = 2**26  # of resized maps and truths: a small category is read once, a large one again for each pass


class Pair(NamedTuple):
    """One image: scores and truth of one shape, and its normal pixels as the unbinarised mask counts them.

    The truth is a masked array where pixels are void.
    """

    scores: Scores
    truth: NDArray[np.bool_]
    normal_area: float


class Meeting:
    """A category under a protocol.

    Images are read one by one, and again for each pass, except the first ones that fit into ``N_BYTES_KEPT``.

    Args:
        samples: test images.
        maps: one (height, width) array per sample; may be read lazily.
        masks: masks that travelled with the maps; None reads those of the samples.
        protocol: the rules.
        n_bytes_kept: of maps and truths; None takes ``N_BYTES_KEPT``.

    Raises:
        InputError: an image has no mask and is to enter image metrics only, and the protocol restates other code.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        maps: Sequence[Scores],
        masks: Masks | None,
        protocol: Protocol,
        n_bytes_kept: int | None = None,
    ) -> None:
        self._samples, self._maps, self._masks, self._protocol = samples, maps, masks, protocol
        self._n_bytes_kept = N_BYTES_KEPT if n_bytes_kept is None else n_bytes_kept
        self._has_lost: dict[int, bool | None] = {}  # of the images that were read
        self._shapes: dict[int, Shape] = {}  # of these, in the frame
        check_known(samples, protocol)
        read = WeakMethod(self._read)  # else the maps that are kept would stay until Python looks for cycles
        # a thread asks for the truth of an image and for its scores in turn: the last pairs serve both
        last = lru_cache(maxsize=2)(lambda index: read()(index))  # type: ignore[misc]
        self._pairs: LazySequence[Pair] = LazySequence(len(samples), last, self._n_bytes_kept)

    def __reduce__(self) -> tuple[type["Meeting"], tuple[Any, ...]]:
        given = (self._samples, self._maps, self._masks, self._protocol, self._n_bytes_kept)
        return Meeting, given  # another process reads again

    @property
    def protocol(self) -> Protocol:
        """The rules."""
        return self._protocol

    @property
    def samples(self) -> Sequence[Sample]:
        """The test images."""
        return self._samples

    @property
    def truths(self) -> Sequence[NDArray[np.bool_]]:
        """True where anomalous; masked arrays where pixels are void."""
        return LazySequence(len(self._samples), lambda index: self._pairs[index].truth)

    @property
    def scores(self) -> Sequence[Scores]:
        """Maps after resizing, cropping, smoothing and scaling."""
        return LazySequence(len(self._samples), lambda index: self._scaled(self._pairs[index].scores))

    @cached_property
    def lost_defects(self) -> tuple[list[int], int]:
        """Which images have anomalous pixels in the stored mask and none in the truth, and how many have the former."""
        self._read_all()
        marked = {index: lost for index, lost in sorted(self._has_lost.items()) if lost is not None}
        return [index for index, lost in marked.items() if lost], len(marked)

    @cached_property
    def shapes(self) -> list[Shape]:
        """The distinct heights and widths at which pixels are compared, by area."""
        self._read_all()
        return sorted(set(self._shapes.values()), key=lambda shape: (shape[0] * shape[1], shape))

    @property
    def is_native(self) -> bool:
        """Whether the pixels of every image are compared at its own size, none of them cropped away."""
        self._read_all()
        return all(self._shapes[index] == image_size(one.image_path) for index, one in enumerate(self._samples))

    @property
    def has_own_masks(self) -> bool:
        """Whether masks travelled with the maps."""
        return self._masks is not None

    def _read_all(self) -> None:
        for index in set(range(len(self._samples))) - self._has_lost.keys():
            _ = self._pairs[index]

    @cached_property
    def normal_areas(self) -> list[float]:
        """Normal pixels of each image; a partly covered pixel of an unbinarised mask counts in part."""
        return [self._pairs[index].normal_area for index in range(len(self._samples))]

    @property
    def has_plain_image_scores(self) -> bool:
        """Whether an image's score is the maximum of its map as it is, which the sweep finds by itself."""
        return self._protocol.image_score == "max" and self._protocol.map_scale != "anomalib"

    @cached_property
    def image_scores(self) -> Scores:
        """One score per image.

        Raises:
            UndefinedMetricError: a map is smaller than the window over which its scores are averaged.
        """
        rule, is_anomalib = self._protocol.image_score, self._protocol.map_scale == "anomalib"
        try:
            scores = np.array([image_score(m, rule) for m in (self._unscaled if is_anomalib else self.scores)])
        except InputError as error:
            raise UndefinedMetricError(str(error)) from error
        if not is_anomalib:
            return scores
        threshold = best_f1_threshold(scores, self.image_labels)
        return _anomalib_scaled(scores, scores.min(), scores.max(), threshold)

    @cached_property
    def image_labels(self) -> NDArray[np.bool_]:
        """Which images are anomalous."""
        if self._protocol.image_label == "mask":
            return np.array([bool(truth.any()) for truth in self.truths])
        return np.array([sample.is_anomalous for sample in self._samples])

    @property
    def _unscaled(self) -> Sequence[Scores]:
        return LazySequence(len(self._samples), lambda index: self._pairs[index].scores)

    def _read(self, index: int) -> Pair:
        sample, scores, protocol = self._samples[index], self._maps[index], self._protocol
        if scores.ndim != 2:
            raise InputError(f"the map of {sample.name} has shape {scores.shape}; (height, width) is needed")
        mask = self._mask(index)
        image_shape = scores.shape
        if protocol.size != "map":
            image_shape = image_size(sample.image_path) if mask is None else mask.shape
        travels = self._masks is not None and mask is not None and mask.shape == scores.shape
        shape = scores.shape if travels else frame_shape(scores.shape, image_shape, protocol)
        fractions = np.zeros(shape, dtype=np.float32) if mask is None else truth_fractions(mask, shape, protocol)
        box = crop_box(shape, None if travels else protocol.crop)
        fractions = fractions[box]
        framed = np.ascontiguousarray(resized_map(scores, shape)[box])
        if framed.dtype.kind != "f" and (protocol.size != "map" or protocol.map_scale != "none"):
            framed = framed.astype(np.float64)  # the arithmetic of the other code bases is that of floats
        if protocol.smoothing:
            framed = gaussian_filter(framed, sigma=protocol.smoothing)
        truth = binarised(fractions, protocol.truth_rule)
        is_empty = not truth.any()
        is_marked = mask is not None and bool(MaskRule.parse(protocol.mask_rule).anomalous(mask).any())
        self._has_lost[index] = is_empty if is_marked else None
        self._shapes[index] = (framed.shape[0], framed.shape[1])
        void = None if mask is None else void_pixels(mask, shape, protocol)
        if sample.is_image_level and mask is None:
            void = np.ones(shape, dtype=np.bool_)
        if void is not None and void.any():
            truth = np.ma.MaskedArray(truth, mask=void[box])
        return Pair(framed, truth, float(np.sum(1 - fractions, dtype=np.float64)))

    def _mask(self, index: int) -> NDArray[np.number] | None:
        sample = self._samples[index]
        if self._masks is not None:
            return self._masks[index]
        if sample.mask_path is not None:
            return read_mask(sample.mask_path, sample.image_path)
        if sample.is_anomalous and not sample.is_image_level:
            raise InputError(
                f"{sample.name} shows a defect but has no mask; add one, remove the image, or let it enter image "
                "metrics only with --image-level"
            )
        return None

    @cached_property
    def _scaled(self) -> Callable[[Scores], Scores]:
        rule = self._protocol.map_scale
        if rule == "none":
            return lambda scores: scores
        if rule == "image_min_max":
            return lambda scores: _min_max_scaled(scores, scores.min(), scores.max())
        low, high = score_range(self._unscaled)
        if rule == "category_min_max":
            return lambda scores: _min_max_scaled(scores, low, high)
        curve = Curve.of(self._unscaled, self.truths)
        threshold = f1_threshold(curve) if curve.tp.size else high
        return lambda scores: _anomalib_scaled(scores, low, high, threshold)


def check_known(samples: Sequence[Sample], protocol: Protocol) -> None:
    """Refuse images that enter image metrics only where a protocol restates code that knows none.

    Raises:
        InputError: there is such an image.
    """
    alone = next((sample for sample in samples if sample.is_image_level), None)
    if alone is not None and protocol.is_restated:
        raise InputError(
            f"{alone.name} has no mask and enters image metrics only, which the protocol {protocol.name} does not "
            "know; take exact or native, or leave out --image-level"
        )


def _min_max_scaled(scores: Scores, low: float, high: float) -> Scores:
    kind = scores.dtype.type
    spread = kind(high) - kind(low)
    scaled: Scores = (scores - kind(low)) / spread if spread else np.zeros_like(scores)
    return scaled


def _anomalib_scaled(scores: Scores, low: float, high: float, threshold: float) -> Scores:
    """The threshold is moved to one half; values outside [0, 1] are clamped."""
    kind = scores.dtype.type
    spread = kind(high) - kind(low)
    if not spread:
        return np.where(scores > threshold, kind(1), np.where(scores < threshold, kind(0), kind(0.5)))
    scaled: Scores = ((scores - kind(threshold)) / spread + kind(0.5)).clip(0, 1)
    return scaled
