"""The metric core as a drop-in `torchmetrics.Metric`, with the numbers of `evaluate_maps`."""

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, distributed
from torchmetrics import Metric

from aseg_bench.errors import InputError
from aseg_bench.metrics import METRICS, FirstPass, SecondPass, defined, needs_of
from aseg_bench.metrics.checks import as_array, as_mask, check_keys, check_pair, mask_bytes, mask_of_bytes

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

    def __init__(self, metrics: Sequence[str] | None = None, **kwargs: Any) -> None:
        """Start empty.

        Args:
            metrics: keys of ``METRICS``; None computes all that are defined.
            kwargs: settings of ``torchmetrics.Metric``.

        Raises:
            InputError: a key is unknown.
        """
        super().__init__(**kwargs)
        self.named = metrics is not None
        self.keys = tuple(METRICS) if metrics is None else tuple(metrics)
        check_keys(self.keys if metrics is None else metrics, tuple(METRICS))
        for state in ("score_maps", "masks", "image_scores"):
            self.add_state(state, default=[], dist_reduce_fx=None)

    def update(self, scores: Tensor, masks: Tensor | NDArray[np.bool_], image_scores: Tensor | None = None) -> None:
        """Take a batch.

        Args:
            scores: anomaly score per pixel, (batch, height, width) or (batch, 1, height, width).
            masks: True where the pixel is anomalous, bool, same shape; a numpy masked array where some are void.
            image_scores: one score per image, (batch,); None takes the highest pixel, then for all batches.

        Raises:
            InputError: shapes differ, masks are not boolean, or only some batches come with image scores.
        """
        scores = scores.squeeze(1) if scores.ndim == 4 else scores
        masks = masks.squeeze(1) if masks.ndim == 4 else masks
        if scores.ndim != 3 or scores.shape != masks.shape:
            raise InputError(
                f"scores have shape {tuple(scores.shape)}, masks {tuple(masks.shape)}; (batch, height, width) or "
                "(batch, 1, height, width) is needed of both"
            )
        if image_scores is not None and image_scores.shape != scores.shape[:1]:
            raise InputError(f"there are {len(scores)} images and image scores of shape {tuple(image_scores.shape)}")
        if self.score_maps and (image_scores is None) == bool(self.image_scores):
            raise InputError("give image scores with every batch or with none")
        maps, truth = as_array(scores, "the scores"), as_mask(masks, "the masks")
        for score_map, mask in zip(maps, truth, strict=True):
            check_pair(score_map, mask, f"image {len(self.score_maps)}")
            self.score_maps.append(torch.from_numpy(score_map))
            self.masks.append(torch.from_numpy(mask_bytes(mask).reshape(mask.shape)))
        if image_scores is not None:
            self.image_scores.extend(image_scores.detach().double().cpu())

    def compute(self) -> dict[str, Tensor]:
        """Value of each metric, float64 scalars by key.

        Raises:
            InputError: there is no image, or a score is nan.
            UndefinedMetricError: a metric asked for by name has no value; with ``metrics=None`` it is left out.
        """
        needs = needs_of(self.keys)
        first = FirstPass(needs)
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
        values = defined(sweep, self.keys, named=self.named)
        return {key: torch.tensor(value, dtype=torch.float64) for key, value in values.items()}

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
