"""PatchCore as the runner uses it: a bank instead of a training."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, cast
from zlib import crc32

import torch
from torch import Tensor

from aseg_bench.errors import InputError
from aseg_bench.methods import Estimate, MethodOptions
from aseg_bench.progress import track
from aseg_bench.records import AnomalyMap, Finding, Sample
from aseg_bench.training.checkpoints import (
    TrainingJob,
    TrainingState,
    load_weights_into,
    read_checkpoint,
    restore,
    write_checkpoint,
)
from aseg_bench.training.costs import costs_of, restart_peak
from aseg_bench.training.data import FEATURE_BATCH, N_SCALED, FeatureSource, load_images
from aseg_bench.training.engine import make_fabric
from aseg_bench.training.method import maps_of
from aseg_bench.training.official import load_checkpoint, loaded
from aseg_bench.training.settings import plain, settings_for
from aseg_bench.training.timing import N_TIMED, TIMED_SECONDS, spread, timed
from baselines.patchcore.coreset import greedy_coreset
from baselines.patchcore.memory import MemoryBank, build_patchcore
from baselines.patchcore.settings import PRESETS, PatchCoreSettings

NAME = "patchcore"


class PatchCore:
    """One bank of normal patches for all categories.

    Args:
        settings: every number.
        options: what the user asked for. ``max_minutes`` ends the choice of a greedy coreset, which stays smaller.

    Raises:
        InputError: a setting does not fit the others or the backbone, or an option has no meaning here.
        MissingWeightsError: the backbone's weights cannot be found.
    """

    name = NAME

    def __init__(self, settings: PatchCoreSettings, options: MethodOptions) -> None:
        if options.n_devices > 1 or torch.distributed.is_torchelastic_launched():
            raise InputError(f"{NAME} fills its bank in one process; run it without --devices and torchrun")
        self._settings, self._options = settings, options
        self._fabric = make_fabric(options)
        self.model = build_patchcore(settings, options.backbone_weights, pretrained=options.checkpoint is None)
        self.findings: list[Finding] = []
        if options.checkpoint:
            load_checkpoint(self.model, settings, NAME, options.checkpoint)

    @property
    def _memory(self) -> MemoryBank:
        return cast(MemoryBank, self.model.decoder)

    @property
    def about(self) -> dict[str, Any]:
        """What the record of a run keeps: the device, every setting with its value, and the size of the bank."""
        banks = self._memory.banks
        device = self.model.backbone.mean.device
        return {
            "device": str(device),
            "all_settings": plain(self._settings),
            **costs_of(self.model, device),
            **self.model.backbone.about,
            "bank_entries": len(banks[0]) if len(banks) == 1 else [len(bank) for bank in banks],
            "bank_bytes": sum(bank.nbytes for bank in banks),
        }

    def fit(self, train_samples: Sequence[Sample]) -> None:
        """Fill the bank from normal images, or take the one of the options' checkpoint or of that in their folder.

        Raises:
            InputError: there are no training images, one is unreadable, or their patches need too much memory.
            TrainingError: a checkpoint does not fit or cannot be written.
        """
        settings, options, tiling = self._settings, self._options, self._settings.tiling
        n_patches = self._n_patches(train_samples)
        restart_peak(self._fabric.device)
        images = load_images(train_samples, tiling, options.quiet)
        job = TrainingJob(NAME, settings, options, f"{crc32(images.data):08x}")
        self.model.to(self._fabric.device)
        if options.checkpoint:
            self.findings = [loaded(NAME, train_samples[0].dataset, options.checkpoint)]
            write_checkpoint(job, 1, self.model, None, TrainingState(finished=True))
            return
        if job.file and job.file.exists():
            restore(job, 1, self.model, None)
            return
        source = FeatureSource(self.model.backbone, [""] * len(images), images, quiet=options.quiet)
        with torch.no_grad(), self._fabric.autocast():
            if settings.feature_scaling == "z_score":
                self.model.scaler.fit(source.unchanged())
            self._memory.fill(self._banks(source, n_patches))
        write_checkpoint(job, 1, self.model, None, TrainingState(finished=True))

    def estimate(self, train_samples: Sequence[Sample], test_samples: Sequence[Sample]) -> Estimate:
        """About how long ``fit`` and ``predict`` will take, from a few images and choices timed here.

        It stands in the place of ``fit``; where there is no bank yet, maps are timed with a random one of its size.

        Raises:
            InputError: there are no training images, or one is unreadable.
            TrainingError: the checkpoint to go on from does not fit.
        """
        settings, options, device = self._settings, self._options, self._fabric.device
        n_patches, some = self._n_patches(train_samples), spread(train_samples)
        images, seconds = timed(lambda: load_images(some, settings.tiling, quiet=True))
        seconds *= len(train_samples) / len(some)
        self.model.to(device)
        basis = [f"{len(some)} images"]
        file = TrainingJob(NAME, settings, options).file
        if file and file.exists() and not options.checkpoint:
            load_weights_into(self.model, read_checkpoint(file), file)
        elif not options.checkpoint:
            size = settings.entries(n_patches)
            source = FeatureSource(self.model.backbone, [""] * len(images), images, quiet=True)
            with torch.no_grad(), self._fabric.autocast():
                list(source.unchanged(1))  # warms up
                made, of_patches = timed(lambda: [self._memory.patches(each) for each in source.unchanged()])
            n_scaled = min(N_SCALED, len(train_samples)) if settings.feature_scaling == "z_score" else 0
            seconds += of_patches * (len(train_samples) + n_scaled) / len(some)
            if settings.coreset == "greedy":
                for width in (part.shape[1] for part in made[0]):
                    patches = torch.randn(n_patches, min(settings.projection or width, width), device=device)
                    chosen, of_choice = timed(
                        lambda patches=patches: greedy_coreset(patches, size, options.seed, seconds=TIMED_SECONDS)  # type: ignore[misc]
                    )
                    budget = options.max_minutes * 60 / len(made[0]) if options.max_minutes else math.inf
                    seconds += min(of_choice * size / len(chosen), budget)
                    basis.append(f"{len(chosen)} choices")
            self._memory.fill([torch.randn(size, part.shape[1], device=device) for part in made[0]])
        if test_samples:
            list(self.predict(test_samples[:1]))  # warms up
            own = test_samples[:N_TIMED]
            seconds += timed(lambda: list(self.predict(own)))[1] * len(test_samples) / len(own)
            basis.append(f"{len(own)} maps")
        return Estimate(seconds, f"{', '.join(basis)} timed here")

    def predict(self, samples: Sequence[Sample]) -> Iterator[AnomalyMap]:
        """Yield one map per sample, in order, of the setting ``image_size``, or of the size of all tiles together."""
        self.model.to(self._fabric.device)
        return maps_of(self.model, samples, self._settings.tiling, self._fabric)

    def _banks(self, source: FeatureSource, n_patches: int) -> list[Tensor]:
        settings, options = self._settings, self._options
        size = settings.entries(n_patches)
        wanted = torch.arange(n_patches)
        if settings.coreset == "random":
            order = torch.randperm(n_patches, generator=torch.Generator().manual_seed(options.seed))
            wanted = order[:size].sort().values
        device = self._fabric.device
        kept = [torch.empty(len(wanted), bank.shape[1], device=device) for bank in self._memory.banks]
        first = 0  # patch of a batch
        batches = source.unchanged(len(source))
        for features in track(batches, "patches", -(-len(source) // FEATURE_BATCH), options.quiet):
            parts = self._memory.patches(self.model.scaler(features))
            start, stop = torch.searchsorted(wanted, torch.tensor([first, first + len(parts[0])])).tolist()
            for part, own in zip(kept, parts, strict=True):
                part[start:stop] = own[(wanted[start:stop] - first).to(device)]
            first += len(parts[0])
        if settings.coreset == "random":
            return kept
        seconds = options.max_minutes * 60 / len(kept) if options.max_minutes else math.inf
        return [
            part[greedy_coreset(part, size, options.seed, settings.projection, seconds, options.quiet)] for part in kept
        ]

    def _n_patches(self, train_samples: Sequence[Sample]) -> int:
        """Patches of the training images; without any, or beyond the memory allowed, refused before they are read."""
        if not train_samples:
            raise InputError(f"{NAME} needs training images and there are none; look into <category>/train/good")
        n_patches = len(train_samples) * self._settings.tiling.n_tiles * math.prod(self._memory.grid)
        settings, size = self._settings, self._settings.entries(n_patches)
        is_greedy = settings.coreset == "greedy"
        widths = [bank.shape[1] for bank in self._memory.banks]
        needed = sum(width * (n_patches + size if is_greedy else size) for width in widths)
        if is_greedy:  # one bank at a time
            needed += max(min(width, settings.projection or width) for width in widths) * n_patches
        gib = 4 * needed / 2**30
        if gib > settings.memory_gib:
            less = "bank_size or bank_share" if not is_greedy else "image_size, or --set patchcore.coreset=random"
            raise InputError(
                f"{NAME} needs {gib:.3g} GiB for {n_patches:,} patches of {sum(widths)} numbers, more than memory_gib "
                f"{settings.memory_gib:g}; allow more with --set {NAME}.memory_gib={math.ceil(gib)}, or take a "
                f"smaller {less}"
            )
        return n_patches


def make_method(options: MethodOptions) -> PatchCore:
    """PatchCore as the runner uses it."""
    return PatchCore(settings_for(PRESETS, options), options)
