"""A method that trains a Network: what UniAS, UniAD and their kin do alike."""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zlib import crc32

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

from aseg_bench.errors import InputError, TrainingError
from aseg_bench.methods import Estimate, MethodOptions
from aseg_bench.records import AnomalyMap, Case, Finding, Sample
from aseg_bench.training.checkpoints import (
    CHECKPOINT,
    MOMENTS,
    TrainingJob,
    TrainingState,
    load_weights_into,
    read_checkpoint,
    write_checkpoint,
)
from aseg_bench.training.costs import costs_of, cut_short, restart_peak
from aseg_bench.training.data import N_SCALED, Augmentation, FeatureSource, ImageSource, Source, load_images
from aseg_bench.training.engine import make_fabric, train
from aseg_bench.training.learned import N_IMAGES, Learned, learned_of, not_learned
from aseg_bench.training.log import write_log
from aseg_bench.training.network import Network
from aseg_bench.training.official import load_checkpoint, loaded
from aseg_bench.training.reconstruction import FeatureReconstruction
from aseg_bench.training.settings import TrainingSettings, plain
from aseg_bench.training.tiles import Tiling
from aseg_bench.training.timing import N_TIMED, TIMED_SECONDS, seconds_per_step, spread, timed

_PREDICT_BATCH = 16
_TOLD = (
    "is told the category of every test image, which other methods are not: parts of it are of one category each, so "
    "it cannot map an image of unknown category"
)


class TrainedMethod:
    """Fits one model to the normal images of all categories, then maps test images.

    Args:
        name: key of the method.
        build: makes the untrained model; called with the seed set.
        settings: of the method.
        options: what the user asked for.
        augmentation: changes of training images; None for none.

    Attributes:
        learned: by category, what ``fit`` has achieved on normal images.
        findings: which categories it has not learned, and whether its training was cut short.

    Raises:
        InputError: a setting does not fit the others or the backbone, or the options' checkpoint cannot be taken.
        MissingWeightsError: the backbone's weights cannot be found.
    """

    def __init__(
        self,
        name: str,
        build: Callable[[], Network],
        settings: TrainingSettings,
        options: MethodOptions,
        augmentation: Augmentation | None = None,
    ) -> None:
        self.name = name
        self.learned: dict[str, Learned] = {}
        self.findings: list[Finding] = []
        self._training: dict[str, Any] = {}
        self._settings, self._options, self._augmentation = settings, options, augmentation
        with self._seeded():
            self.model = build()
        if options.checkpoint:
            load_checkpoint(self.model, settings, name, options.checkpoint)
        self._fabric = make_fabric(options, self.model.learns_in_turns)

    @contextmanager
    def _seeded(self) -> Iterator[None]:
        with torch.random.fork_rng([]):  # models are built on the CPU
            torch.manual_seed(self._options.seed)
            yield

    @property
    def about(self) -> dict[str, Any]:
        """What the record of a run keeps: the device, every setting with its value, what was learned, and the costs."""
        return {
            "device": str(self.model.backbone.mean.device),
            "all_settings": plain(self._settings),
            "learned": {category: found._asdict() for category, found in self.learned.items()},
            "training": self._training,
            **costs_of(self.model, self._fabric.device),
            **self.model.backbone.about,
            **self.model.about,
        }

    def fit(self, train_samples: Sequence[Sample]) -> None:
        """Train on normal images, or go on from the checkpoint in the options' folder.

        Where the options name a checkpoint its weights are taken as they are, and the images only tell what it learned.

        Raises:
            InputError: there are no training images, or one is unreadable.
            TrainingError: a loss is not finite, memory runs out, or a checkpoint does not fit.
        """
        restart_peak(self._fabric.device)
        data = self._data(train_samples, self._options.quiet)
        images = data.images
        job = TrainingJob(self.name, self._settings, self._options, f"{crc32(images.data):08x}")
        if self._options.checkpoint:
            state = TrainingState(finished=True)
            if torch.distributed.is_torchelastic_launched():
                self._fabric.launch()  # to share the maps
            if self._fabric.is_global_zero:
                write_checkpoint(job, 1, self.model, None, state)
        else:
            state = self._trained(data, job)
        if job.options.folder and self._fabric.global_rank == 0:
            write_log(state, job.options.folder)
        self.model.to(self._fabric.device)
        self.learned = learned_of(self.model, images, data.categories)
        dataset = train_samples[0].dataset
        if self._options.checkpoint:
            self.findings = [loaded(self.name, dataset, self._options.checkpoint)]
        else:
            n_steps = self._settings.steps(len(images), self._fabric.world_size)
            self._training = {"steps": state.step, "of": n_steps, "seconds": round(state.seconds, 1)}
            self.findings = cut_short(self._training, self.name, dataset)
        self.findings += not_learned(self.learned, self.name, dataset)
        if self.model.needs_categories:
            self.findings.append(Finding("told", _TOLD, Case(self.name, dataset, "")))

    def estimate(self, train_samples: Sequence[Sample], test_samples: Sequence[Sample]) -> Estimate:
        """About how long ``fit`` and ``predict`` will take, from a few steps and maps timed here.

        It stands in the place of ``fit``: nothing is kept, and the model is of no use afterwards.

        Raises:
            InputError: there are no training images, or one is unreadable.
            TrainingError: a loss is not finite, memory runs out, or the checkpoint to go on from is broken.
        """
        settings, options, n_tiles = self._settings, self._options, self._settings.tiling.n_tiles
        self._fabric.loggers.clear()
        data, seconds = timed(lambda: self._data(spread(train_samples), quiet=True))
        seconds *= len(train_samples) * n_tiles / len(data.images)
        n_images = Counter(sample.category for sample in train_samples)
        data = replace(data, n_all=n_images.total() * n_tiles)
        job, done = TrainingJob(self.name, settings, options), TrainingState(finished=options.checkpoint is not None)
        if job.file and job.file.exists() and not options.checkpoint:
            done = TrainingState(**read_checkpoint(job.file)["state"])
        basis = []
        if not done.finished:
            budget = options.max_minutes * 60 if options.max_minutes else math.inf

            unkept = replace(options, folder=None, learning_curve=False, quiet=True)

            def short(seconds: float) -> TrainingJob:
                return replace(job, options=replace(unkept, max_minutes=seconds / 60))

            if self._fabric.world_size == 1:
                self._trained(data, short(1e-6))  # a step that warms up
            state = self._trained(data, short(min(TIMED_SECONDS, budget)))
            n_left = settings.steps(data.n_all, self._fabric.world_size) - done.step
            seconds += min(n_left * seconds_per_step(state), budget - done.seconds)
            seconds += self._seconds_of_features(data)
            basis.append(f"{state.step} step{'s' * (state.step > 1)}")
        own = [sample for sample in test_samples if sample.category in data.categories][:N_TIMED]
        if own:
            list(self.predict(own[:1]))  # warms up
            of_maps = timed(lambda: list(self.predict(own)))[1] / len(own)
            n_looked_at = sum(min(N_IMAGES, n * n_tiles) for n in n_images.values()) / n_tiles  # to see what it learned
            seconds += of_maps * (len(test_samples) + n_looked_at)
            basis.append(f"{len(own)} maps")
        return Estimate(seconds, f"{', '.join([f'{len(train_samples[:N_TIMED])} images', *basis])} timed here")

    def _seconds_of_features(self, data: "TrainingData") -> float:
        """Of what is extracted from all images before the first step."""
        if self.model.sees_images:
            return 0
        self.model.to(self._fabric.device)
        source = FeatureSource(self.model.backbone, data.categories, data.images, data.augmentation, True, data.n_all)
        list(source.unchanged(1))  # warms up
        n_scaled = min(N_SCALED, data.n_all) if self._settings.feature_scaling == "z_score" else 0
        seconds = timed(lambda: list(source.unchanged()))[1] / len(data.images)
        return seconds * (n_scaled + (data.n_all if source.is_kept else 0))

    def _data(self, samples: Sequence[Sample], quiet: bool) -> "TrainingData":
        """What is trained on; a model that needs categories is told them."""
        if not samples:
            raise InputError(f"{self.name} needs training images and there are none; look into <category>/train/good")
        tiling = self._settings.tiling
        images = load_images(samples, tiling, quiet)
        categories = tuple(sample.category for sample in samples for _ in range(tiling.n_tiles))
        if self.model.needs_categories and not self._options.checkpoint:
            assert isinstance(self.model, FeatureReconstruction), "no other network needs them"
            with self._seeded():
                self.model.set_categories(sorted(set(categories)))
        return TrainingData(images, categories, self._augmentation)

    def _trained(self, data: "TrainingData", job: TrainingJob) -> TrainingState:
        if self._fabric.strategy.launcher and not torch.distributed.is_torchelastic_launched():
            return self._fit_in_processes(data, job)
        self._fabric.launch()
        state = fit_model(self._fabric, self.model, data, job)
        if torch.distributed.is_initialized():  # the running means of a batch norm differ after the last step
            for values in self.model.state_dict().values():
                if isinstance(values, torch.Tensor):
                    torch.distributed.broadcast(values, 0)
        return state

    def _fit_in_processes(self, data: "TrainingData", job: TrainingJob) -> TrainingState:
        """Train in separate processes; only the checkpoint comes back from them."""
        with TemporaryDirectory() as temporary:
            folder = job.options.folder or Path(temporary)
            job = replace(job, options=replace(job.options, folder=folder))
            try:
                self._fabric.launch(partial(_fit_silently, data=data, job=job), self.model)
            except ProcessRaisedException as error:
                reason = str(error).strip().splitlines()[-1].removeprefix(f"{TrainingError.__module__}.TrainingError: ")
                raise TrainingError(reason) from error
            except ProcessExitedException as error:
                raise TrainingError(
                    f"a training {error}; if memory ran out, set a smaller batch_size or fewer --devices; else the "
                    "same command goes on from the last checkpoint"
                ) from error
            content = read_checkpoint(folder / CHECKPOINT)
            load_weights_into(self.model, content, folder / CHECKPOINT)
        return TrainingState(**content["state"])

    def predict(self, samples: Sequence[Sample]) -> Iterator[AnomalyMap]:
        """Yield one map per sample, in order, of the setting ``image_size``, or of the size of all tiles together.

        The processes of ``torchrun`` share the batches, so all must call this; the first one yields all maps.

        Raises:
            InputError: an image cannot be read, or the model must be told a category that it does not know.
        """
        self.model.to(self._fabric.device)
        is_shared = torch.distributed.is_initialized()
        return maps_of(self.model, samples, self._settings.tiling, self._fabric, is_shared=is_shared)

    def moments(self, samples: Sequence[Sample]) -> Iterator[tuple[int, float, Iterator[AnomalyMap]]]:
        """Yield step, seconds and maps as the model was at earlier moments, which ``learning_curve`` has kept."""
        final = deepcopy(self.model.state_dict())
        job = TrainingJob(self.name, self._settings, self._options)
        for file in filter(None, map(job.moment_file, MOMENTS)):
            if file.exists():
                content = read_checkpoint(file)
                load_weights_into(self.model, content, file)
                maps = maps_of(self.model, samples, self._settings.tiling, self._fabric)  # the first process is alone
                yield content["state"]["step"], content["state"]["seconds"], maps
        self.model.load_state_dict(final)


@dataclass(frozen=True)
class TrainingData:
    """Training images and what is done to them.

    Attributes:
        images: RGB, (images, 3, H, W) uint8.
        categories: one per image.
        augmentation: changes in training; None for none.
        n_all: of how many images these stand for the whole, where a few are timed; 0 where they are all.
    """

    images: NDArray[np.uint8]
    categories: tuple[str, ...]
    augmentation: Augmentation | None = None
    n_all: int = 0


def fit_model(fabric: Fabric, model: Network, data: TrainingData, job: TrainingJob) -> TrainingState:
    """Fit the scaler, if there is one, and train what learns, in each process of ``fabric``.

    Raises:
        TrainingError: for the reasons that ``train`` gives.
    """
    if fabric.device.type != "cpu":
        model.to(memory_format=torch.channels_last)
    model.to(fabric.device)
    source: Source
    if model.sees_images:
        source = ImageSource(fabric.device, data.categories, data.images, data.augmentation)
    else:
        is_quiet = job.options.quiet or fabric.global_rank > 0
        source = FeatureSource(model.backbone, data.categories, data.images, data.augmentation, is_quiet, data.n_all)
        if job.settings.feature_scaling == "z_score":
            assert isinstance(model, FeatureReconstruction), "no other network has a scaler"
            model.scaler.fit(source.unchanged())
    if job.settings.compile:
        for part in model.children():
            if any(parameter.requires_grad for parameter in part.parameters()):
                part.compile()
    return train(model, source, job, fabric)


def _fit_silently(fabric: Fabric, model: Network, data: TrainingData, job: TrainingJob) -> None:
    fit_model(fabric, model, data, job)  # Fabric looks into arguments and results, and refuses frozen records
    for logger in fabric.loggers:
        logger.finalize("success")  # the process that has started this one has another copy
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()  # else a thread of it may outlive the process's end, which aborts then


def maps_of(
    model: Network, samples: Sequence[Sample], tiling: Tiling, fabric: Fabric, *, is_shared: bool = False
) -> Iterator[AnomalyMap]:
    """Yield one map per sample, in order, of the size of all tiles together; the model is on the fabric's device.

    Where it ``is_shared``, every process makes the maps of its batches, and the first one alone yields them.
    """
    runs = [samples]
    if model.needs_categories:  # then all images of a batch are of one
        runs = [list(run) for _, run in groupby(samples, lambda sample: sample.category)]
    batches = [run[start : start + _PREDICT_BATCH] for run in runs for start in range(0, len(run), _PREDICT_BATCH)]
    rank, n_processes = (fabric.global_rank, fabric.world_size) if is_shared else (0, 1)
    for first in range(0, len(batches), n_processes):
        together, maps = batches[first : first + n_processes], list[NDArray[np.float32]]()
        for batch in together[rank : rank + 1]:
            images = load_images(batch, tiling, quiet=True)
            with fabric.autocast():
                maps = tiling.mapped(images, partial(predict_maps, model, category=batch[0].category))
        gathered: list[Any] = [maps] * n_processes
        if is_shared:
            torch.distributed.gather_object(maps, gathered if rank == 0 else None)
        for batch, own in zip(together, gathered, strict=False) if rank == 0 else ():
            for sample, scores in zip(batch, own, strict=True):
                yield AnomalyMap(sample, scores)


@torch.inference_mode()
def predict_maps(model: Network, images: NDArray[np.uint8], category: str) -> NDArray[np.float32]:
    """Maps (B, H, W) of images (B, 3, H, W), on the model's device; the category is for a model that must be told."""
    model.eval()
    batch = torch.from_numpy(images).to(model.backbone.mean.device)
    maps: NDArray[np.float32] = model(batch, **model.told([category] * len(batch))).float().cpu().numpy()
    return maps
