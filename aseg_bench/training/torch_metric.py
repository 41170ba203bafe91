"""The metric core as a drop-in `torchmetrics.Metric`, with the numbers of `evaluate_maps`."""

import math
import warnings
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, distributed
from torchmetrics import Metric

from aseg_bench.errors import InputError, UndefinedMetricError
from aseg_bench.metrics import METRICS, FirstPass, SecondPass, defined, needs_of
from aseg_bench.metrics.checks import (
    Levels,
    Masks,
    ScoreMaps,
    as_array,
    as_map,
    as_maps,
    as_mask,
    as_truth,
    check_keys,
    mask_bytes,
    mask_of_bytes,
    note_levels,
)

Part = TypeVar("Part", FirstPass, SecondPass)


class SegmentationMetrics(Metric):
    """Exact anomaly-segmentation metrics over all batches of all processes.

    The maps wait in main memory, 5 bytes per pixel in float32, in the process that made them. Processes exchange only
    what the sweep needs to merge: the anomalous pixels, and counts of the normal ones.

    >>> metric = SegmentationMetrics(["pixel_auroc"])
    >>> metric.update(torch.tensor([[[0.1, 0.9]]]), torch.tensor([[[False, True]]]))
    >>> metric.compute()
    {'pixel_auroc': tensor(1., dtype=torch.float64)}
    """

    full_state_update = False
    is_differentiable = False
    score_maps: list[Tensor]
    masks: list[Tensor]
    image_scores: list[Tensor]
    levels: list[Tensor]

    def __init__(self, metrics: str | Sequence[str] | None = None, **kwargs: Any) -> None:
        """Start empty.

        Args:
            metrics: keys of ``METRICS``; None computes all that are defined. A single key makes `compute` return one
                scalar, as ``self.log`` of Lightning and anomalib's Evaluator need it.
            kwargs: settings of ``torchmetrics.Metric``.

        Raises:
            InputError: a key is unknown.
        """
        super().__init__(**kwargs)
        self.key = metrics if isinstance(metrics, str) else None
        self.named = metrics is not None
        self.keys = tuple(METRICS) if metrics is None else (metrics,) if isinstance(metrics, str) else tuple(metrics)
        check_keys(self.keys, tuple(METRICS))
        for state in ("score_maps", "masks", "image_scores", "levels"):
            self.add_state(state, default=[], dist_reduce_fx=None)

    def update(self, scores: ScoreMaps, masks: Masks, image_scores: Tensor | None = None) -> None:
        """Take a batch.

        Args:
            scores: anomaly score per pixel, (batch, height, width) or (batch, 1, height, width), or a sequence of
                (height, width) tensors of any sizes.
            masks: what `evaluate_maps` takes, of the same shape: True, 1 or 255 where the pixel is anomalous; a numpy
                masked array where some are void.
            image_scores: one score per image, (batch,); None takes the highest pixel, then for all batches.

        Raises:
            InputError: shapes differ, masks hold other values, 1 stands for anomalous in some batches and 255 in
                others, or only some batches come with image scores.
        """
        levels = self._levels()
        maps, truth = as_maps(  # first whole, as one copy from a device is faster than one for each image
            scores if isinstance(scores, list | tuple) else as_array(scores, "the array of scores"),
            masks if isinstance(masks, list | tuple) else as_truth(masks, "the array of masks", levels),
        )
        if image_scores is not None and image_scores.shape != (len(maps),):
            raise InputError(f"there are {len(maps)} images and image scores of shape {tuple(image_scores.shape)}")
        if self.score_maps and (image_scores is None) == bool(self.image_scores):
            raise InputError("give image scores with every batch or with none")
        kept_maps, kept_masks = [], []  # of a batch that is refused, none
        for index, (score_map, mask) in enumerate(zip(maps, truth, strict=True)):
            plain, whole = as_map(score_map, f"image {index}"), as_mask(mask, f"the mask of image {index}", levels)
            fit = np.require(plain, plain.dtype.newbyteorder("="), ["C", "W"])  # for torch; a copy only where it is not
            kept_maps.append(torch.from_numpy(fit))
            kept_masks.append(torch.from_numpy(mask_bytes(whole).reshape(whole.shape)))
        self.score_maps += kept_maps
        self.masks += kept_masks
        self.levels = [torch.tensor(level) for level in levels]
        if image_scores is not None:
            self.image_scores.extend(image_scores.detach().double().cpu())

    def compute(self) -> Any:
        """Value of each metric, float64 scalars by key; of a single key the scalar itself.

        Raises:
            InputError: there is no image, or a score is nan.
            UndefinedMetricError: one of a sequence of metrics has no value. With ``metrics=None`` it is left out, and
                a single key is nan after a warning, so that no training ends for a batch without anomalous pixels.
        """
        first = FirstPass(needs_of(self.keys))
        first.note_levels(self._levels())
        pairs = [
            (score_map.cpu().numpy(), mask_of_bytes(mask.cpu().numpy()))
            for score_map, mask in zip(self.score_maps, self.masks, strict=True)
        ]
        for score_map, mask in pairs:
            first.update(score_map, mask)
        second = SecondPass(self._merged(first).compute())
        for index, (score_map, mask) in enumerate(pairs):
            given = float(self.image_scores[index]) if self.image_scores else None
            second.update(score_map, mask, image_score=given)
        sweep = self._merged(second).compute()
        if not sweep.images:
            raise InputError("there is no image yet; call update first")
        try:
            values = defined(sweep, self.keys, named=self.named)
        except UndefinedMetricError as error:
            if self.key is None:
                raise
            warnings.warn(str(error), stacklevel=2)
            values = {self.key: math.nan}
        found = {key: torch.tensor(value, dtype=torch.float64) for key, value in values.items()}
        return found if self.key is None else found[self.key]

    def _levels(self) -> Levels:
        """What has stood for anomalous in all batches; `forward` puts those of several updates side by side.

        Raises:
            InputError: 1 in some and 255 in others.
        """
        levels: Levels = {}
        for level in self.levels:
            note_levels(levels, {int(level): "a batch before"})
        return levels

    def _sync_dist(self, *_: Any, **__: Any) -> None:
        """Gather no maps: while synchronised, `compute` merges the passes of the processes."""

    def _merged(self, part: Part) -> Part:
        """The parts of all processes in one, where torchmetrics has them synchronised."""
        if not self._is_synced:
            return part
        parts: list[Any] = [None] * distributed.get_world_size(self.process_group)
        distributed.all_gather_object(parts, part, group=self.process_group)
        for other in parts[1:]:
            parts[0].merge(other)
        merged: Part = parts[0]
        return merged
