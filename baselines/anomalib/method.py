"""A model of anomalib as a method of this toolkit: trained by anomalib's Engine, asked by its own ``predict_step``."""

import logging
import signal
import threading
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, redirect_stderr
from dataclasses import fields
from datetime import timedelta
from importlib.metadata import version
from inspect import signature
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zlib import crc32

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional
from torch.utils.data import DataLoader
from torchvision.transforms.v2 import Compose as Chain
from torchvision.transforms.v2 import Normalize, Resize, Transform

from aseg_bench.errors import AsegBenchError, InputError, MissingWeightsError, TrainingError, near_matches
from aseg_bench.files import written_whole
from aseg_bench.methods import MethodOptions
from aseg_bench.progress import progress_bar
from aseg_bench.records import AnomalyMap, Case, Finding, Sample
from aseg_bench.training.backbone import is_reachable
from aseg_bench.training.checkpoints import TrainingState
from aseg_bench.training.costs import costs_of, cut_short, restart_peak
from aseg_bench.training.data import load_images
from aseg_bench.training.engine import make_fabric
from aseg_bench.training.log import write_log
from aseg_bench.training.settings import choose_settings, plain
from baselines.anomalib.models import BACKBONES, OURS, PRETRAINED, traits
from baselines.anomalib.settings import BridgeSettings, presets
from baselines.anomalib.weights import Weights

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # anomalib warns of its own deprecated modules
    from anomalib import LearningType
    from anomalib.callbacks import ModelCheckpoint
    from anomalib.data import ImageBatch
    from anomalib.engine import Engine
    from anomalib.engine.plugins import AnomalibCheckpointIO
    from anomalib.models import image as zoo
    from anomalib.pre_processing import PreProcessor
    from anomalib.utils.path import get_pretrained_weights_dir
    from jsonargparse import ArgumentParser
    from lightning.pytorch import Callback, LightningDataModule, seed_everything
    from lightning.pytorch.utilities.seed import isolate_rng

MODEL_FILE = "model.ckpt"
_OWN_NOTE = "aseg_bench"  # in the checkpoint: what it was trained under, and for how long
_SAME = {"image_size": ("image_size", "input_shape"), "batch_size": ("batch_size",), "n_epochs": ("epochs",)}
_PREDICT_BATCH = 16
_STEPS_PER_LOG_ROW = 10
_NO_MEMORY = ("out of memory", "allocate memory", "not enough memory")


class AnomalibMethod:
    """One model of anomalib for the normal images of all categories.

    Args:
        name: class name in ``anomalib.models.image``.
        options: what the user asked for; settings that are not those of `BridgeSettings` go to the constructor.

    Attributes:
        model: the LightningModule, without post-processor, so that its maps are raw.
        findings: random weights, and a training that was cut short.

    Raises:
        InputError: an option cannot be followed, an argument is unknown, or the model does not take it.
        MissingWeightsError: pretrained weights cannot be had.
    """

    def __init__(self, name: str, options: MethodOptions) -> None:
        self.name, self._traits = f"anomalib:{name}", traits(name)
        self.findings: list[Finding] = []
        _refuse(self.name, self._traits.refused, options)
        own = {item.name for item in fields(BridgeSettings)}
        available: Mapping[str, Any] = presets(name)
        given = {key: text for key, text in options.settings.items() if key in own}
        self._settings: BridgeSettings = choose_settings(available, options.preset, given)
        self._options, self._fabric = options, make_fabric(options)
        self._class = getattr(zoo, name)
        typed = {key: text for key, text in options.settings.items() if key not in own}
        self.arguments = self._arguments(typed)
        self._weights = Weights(self.name, options.backbone_weights, self._settings.weights == "random")
        self._departures: list[str] = []
        self._progress: dict[str, Any] = {}
        self._check_needs()
        with _quiet(options.quiet), isolate_rng():
            seed_everything(options.seed, verbose=False)
            self.model = self._build()

    @property
    def about(self) -> dict[str, Any]:
        """What the record of a run keeps: version and arguments of anomalib, weights, departures, steps and seconds."""
        return {
            "device": str(self._fabric.device),
            "all_settings": plain(self._settings),  # type: ignore[arg-type]
            "anomalib": version("anomalib"),
            "arguments": {key: str(value) for key, value in self.arguments.items()},
            "weights": self._weights.used,
            "departures": self._departures,
            "training": self._progress,
            **costs_of(self.model, self._fabric.device),
        }

    def fit(self, train_samples: Sequence[Sample]) -> None:
        """Train on normal images. A finished training in the options' folder is taken, an interrupted one starts again.

        Raises:
            InputError: there are no training images, or one is unreadable.
            TrainingError: anomalib cannot train on them, memory runs out, or a checkpoint does not fit.
        """
        if not train_samples:
            raise InputError(f"{self.name} needs training images and there are none; look into <category>/train/good")
        restart_peak(self._fabric.device)
        images = load_images(train_samples, self._settings.tiling, self._options.quiet)
        if self._weights.used and self._settings.weights == "random":
            text = (
                f"the weights of {', '.join(self._weights.used)} are random, as --set {self.name}.weights=random "
                "asked: the scores say nothing about the method"
            )
            self.findings = [Finding("random_weights", text, Case(self.name, train_samples[0].dataset, ""))]
        conditions = {
            "seed": self._options.seed,
            "precision": self._options.precision,
            "training images": f"{crc32(images.data):08x}",
            "anomalib": version("anomalib"),
            **plain(self._settings),  # type: ignore[arg-type]
            **{key: str(value) for key, value in self.arguments.items()},
        }
        file = self._options.folder / MODEL_FILE if self._options.folder else None
        if file and file.exists():
            self._restore(file, conditions)
        elif self.model.learning_type == LearningType.ONE_CLASS:
            with _quiet(self._options.quiet), isolate_rng(), self._weights.served():
                seed_everything(self._options.seed, verbose=False)
                self._train(images, conditions, file)
        if self._options.max_minutes and self._progress:
            self.findings += cut_short(self._progress, self.name, train_samples[0].dataset)

    def predict(self, samples: Sequence[Sample]) -> Iterator[AnomalyMap]:
        """Yield one raw map per sample, in order, float32, of the size that all tiles have together."""
        tiling = self._settings.tiling
        self.model.to(self._fabric.device).eval()
        for start in range(0, len(samples), _PREDICT_BATCH):
            batch = samples[start : start + _PREDICT_BATCH]
            maps = tiling.mapped(load_images(batch, tiling, quiet=True), self._maps)
            yield from map(AnomalyMap, batch, maps)

    @torch.no_grad()
    def _maps(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Maps (B, H, W) of RGB images (B, 3, H, W)."""
        batch = _batch(torch.from_numpy(images).to(self._fabric.device))
        batch.image = self.model.pre_processor(batch.image)
        with _quiet(self._options.quiet), self._weights.served():
            maps = self.model.predict_step(batch, 0).anomaly_map
        if maps is None:
            raise InputError(f"{self.name} gives no anomaly maps; choose another model")
        maps = maps.reshape(len(images), 1, *maps.shape[-2:]).float()  # some models give (B, H, W)
        if maps.shape[-2:] != images.shape[-2:]:
            maps = functional.interpolate(maps, images.shape[-2:], mode="bilinear", align_corners=False)
        return np.asarray(maps[:, 0].cpu().numpy())

    def _arguments(self, typed: Mapping[str, str]) -> dict[str, Any]:
        """Arguments of the constructor: from options, and as typed, read by their types as anomalib's commands do."""
        known = signature(self._class.__init__).parameters
        names = [key for key in known if key not in (*OURS, "self")]
        settable = [key for key in names if key not in _forwarded(names)]
        for key in typed:
            if key == PRETRAINED:
                raise InputError(f"leave {PRETRAINED} out; --set {self.name}.weights=random does it, and is recorded")
            if key not in settable:
                own = [item.name for item in fields(BridgeSettings)]
                known_names = [*own, *(name for name in settable if name != PRETRAINED)]
                raise InputError(f"{self.name} has no argument {key}; {near_matches(key, known_names)}")
        parser = ArgumentParser(exit_on_error=False)
        parser.add_class_arguments(self._class, skip={*OURS}, fail_untyped=False)
        arguments = {key: self._read(parser, key, text) for key, text in typed.items()}
        if self._options.backbone:
            found = [key for key in BACKBONES if key in names]
            if not found:
                raise InputError(f"{self.name} has no backbone to choose; leave --backbone out")
            arguments |= dict.fromkeys(found, self._options.backbone)
        for key, field in _forwarded(names).items():
            value = getattr(self._settings, field)
            arguments[key] = self._size if key == "input_shape" else value
        return arguments

    def _read(self, parser: ArgumentParser, key: str, text: str) -> Any:
        for form in (text, f"[{text}]"):  # lists may come as everywhere here: separated by commas
            try:
                return parser.parse_args([f"--{key}={form}"])[key]
            except Exception as error:  # what it raises differs between its versions
                reason = error
        last = " ".join(str(reason).split())[:300]
        raise InputError(f"--set {self.name}.{key}={text} cannot be used: {last}") from reason

    @property
    def _size(self) -> tuple[int, int]:
        tiling = self._settings.tiling
        return tiling.height, tiling.width

    def _check_needs(self) -> None:
        known, key = self._traits, self._traits.pictures
        if known.is_fixed and self._size != (known.size, known.size):
            raise InputError(
                f"{self.name} takes images of {known.size} pixels only; --set {self.name}.image_size={known.size}"
            )
        if min(self._size) < known.minimum:
            raise InputError(
                f"{self.name} takes images of at least {known.minimum} pixels, not {self._settings.image_size}; "
                f"--set {self.name}.image_size={known.minimum}"
            )
        if key and not (key in self.arguments and Path(str(self.arguments[key])).is_dir()):
            what = f"{self.arguments[key]} is not a folder" if key in self.arguments else "there is none"
            raise InputError(
                f"{self.name} needs a folder of pictures of other things ({what}); --set {self.name}.{key}=FOLDER"
            )
        if known.archive and self._settings.weights == "random":
            raise InputError(f"{self.name} has no random weights to start from; leave weights=random out")
        if known.archive:
            kept, address = get_pretrained_weights_dir() / known.archive[0], known.archive[1]
            if not kept.exists() and not is_reachable(address):
                raise MissingWeightsError(
                    f"{self.name} needs weights that are not kept here, and no network: bring what lies at {address} "
                    f"to {kept}"
                )

    def _build(self) -> Any:
        own = self._class.configure_pre_processor().transform
        steps = list(_steps(own)) if own is not None else []
        left_out = {type(step).__name__ for step in steps if not isinstance(step, Normalize | Resize)}
        self._departures = [f"{kind} left out: the whole picture is seen" for kind in sorted(left_out)]
        normalising = [step for step in steps if isinstance(step, Normalize)]
        pre_processor = PreProcessor(Chain([Resize(self._size, antialias=True), *normalising]))  # resizes nothing here
        others = dict.fromkeys(OURS[1:], False)
        with self._explained(InputError, "cannot be made"), self._weights.served():
            try:
                model = self._class(**self.arguments, pre_processor=pre_processor, **others)
            except OSError as error:  # of clients of hubs
                raise MissingWeightsError(f"{self.name} could not get its weights ({_first(error)})") from error
            except (ValueError, RuntimeError):
                self._check_networks()  # may know better why
                raise
            self._check_networks()
            return model

    def _check_networks(self) -> None:
        """Refuse layers that the backbone does not have, and sizes that a transformer cannot cut into patches."""
        given = self.arguments | {
            key: parameter.default
            for key, parameter in signature(self._class.__init__).parameters.items()
            if key not in self.arguments
        }
        wanted = [name for key in ("layers", "layer") for name in np.atleast_1d(given.get(key) or []).tolist()]
        for name, network in self._weights.networks.items():
            info: Any = getattr(network, "feature_info", [])
            there = [item["module"] for item in getattr(info, "info", info)]  # anomalib leaves a missing one out
            if there and (missing := [layer for layer in wanted if isinstance(layer, str) and layer not in there]):
                key = "layers" if "layers" in given else "layer"
                raise InputError(
                    f"{name} has no {', '.join(missing)}; --set {self.name}.{key}=... of {', '.join(there)}"
                )
            patch = getattr(getattr(network, "patch_embed", None), "patch_size", (1, 1))
            height, width = (max(1, round(side / step)) * step for side, step in zip(self._size, patch, strict=True))
            if (height, width) != self._size:
                near = height if height == width else f"{height}x{width}"
                raise InputError(
                    f"{name} takes images whose sides are multiples of {patch[0]} pixels, not "
                    f"{self._settings.image_size}; --set {self.name}.image_size={near}"
                )

    def _train(self, images: NDArray[np.uint8], conditions: Mapping[str, Any], file: Path | None) -> None:
        settings, options = self._settings, self._options
        fixed = "max_epochs" in self.model.trainer_arguments  # a model that collects features in a pass or three
        data = _NormalImages(images, settings.batch_size, options.seed, drop_last=not fixed)
        n_batches = len(data.train_dataloader())
        n_steps = n_batches * self.model.trainer_arguments["max_epochs"] if fixed else settings.steps(n_batches)
        length: dict[str, Any] = {} if fixed else {"max_epochs": settings.epochs(n_batches)}
        if self.model.automatic_optimization and not fixed:
            length["max_steps"] = n_steps  # for schedules; else Lightning counts the steps of each optimiser
        diary = _Diary(conditions, n_steps, has_loss=not fixed, options=options)
        with TemporaryDirectory() as folder, self._explained(TrainingError, "cannot be trained"):
            engine = Engine(
                callbacks=[ModelCheckpoint(dirpath=folder, save_top_k=0), diary],
                default_root_dir=folder,
                accelerator=options.device,
                devices=1,
                precision="32-true" if options.precision == "auto" else options.precision,
                max_time=timedelta(minutes=options.max_minutes) if options.max_minutes else None,
                limit_val_batches=1 if self._traits.validates else 0,
                check_val_every_n_epoch=length.get("max_epochs", 1),
                num_sanity_val_steps=0,
                enable_progress_bar=False,
                enable_model_summary=False,
                **length,
            )
            with _interruptible():
                engine.fit(self.model, datamodule=data)
            if self._traits.validates:
                engine.trainer.validate(self.model, datamodule=data, verbose=False)
            self._progress = diary.progress
            if file:
                with written_whole(file) as temporary:
                    engine.trainer.save_checkpoint(temporary)
        if options.folder:
            write_log(TrainingState(log=diary.rows), options.folder)

    def _restore(self, file: Path, conditions: Mapping[str, Any]) -> None:
        reader = AnomalibCheckpointIO(extra_safe_globals=self._class.checkpoint_safe_globals())
        try:
            content = reader.load_checkpoint(file, map_location="cpu")
            note = content[_OWN_NOTE]
            found = note["conditions"]
        except Exception as error:  # torch.load raises many kinds for a broken or unsafe file
            raise TrainingError(
                f"{file} is not a whole checkpoint of this method; remove it and train again"
            ) from error
        for key, value in conditions.items():
            if found.get(key) != value:
                raise TrainingError(
                    f"{file} was trained with {key} {found.get(key)}, not {value}; give --overwrite to train again, "
                    "or another --out"
                )
        self.model.load_state_dict(content["state_dict"])
        self._progress = note["progress"]

    @contextmanager
    def _explained(self, kind: type[AsegBenchError], what: str) -> Iterator[None]:
        try:
            yield
        except AsegBenchError:
            raise
        except Exception as error:  # of any model, of any kind
            if isinstance(error, MemoryError) or any(words in str(error) for words in _NO_MEMORY):
                half = max(1, self._settings.batch_size // 2)
                raise TrainingError(f"{self.name} is out of memory; --set {self.name}.batch_size={half}") from error
            raise kind(
                f"{self.name} {what} with image_size {self._settings.image_size} and "
                f"{self.arguments or 'its default arguments'} ({type(error).__name__}: {_first(error)})"
            ) from error


def _refuse(name: str, reason: str, options: MethodOptions) -> None:
    if reason:
        raise InputError(f"{name} cannot be run here: {reason}")
    if options.n_devices > 1 or torch.distributed.is_torchelastic_launched():
        raise InputError(f"{name} trains in one process; leave --devices and torchrun out")
    if options.checkpoint:
        raise InputError(f"{name} takes no checkpoint; leave =checkpoint: out")


def _forwarded(names: Sequence[str]) -> dict[str, str]:
    """Arguments of a constructor that say the same as one of our settings, and that setting."""
    return {key: field for field, keys in _SAME.items() for key in keys if key in names}


def _steps(transform: Transform) -> Iterator[Transform]:
    for step in getattr(transform, "transforms", [transform]):
        yield from [step] if step is transform else _steps(step)


def _first(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), "")[:300]


def _batch(images: torch.Tensor) -> ImageBatch:
    """Normal images (B, 3, H, W) uint8 as anomalib has them: [0, 1], with labels and masks of zero."""
    normal = torch.zeros((len(images), *images.shape[-2:]), dtype=torch.bool, device=images.device)
    return ImageBatch(image=images.float() / 255, gt_label=normal[:, 0, 0], gt_mask=normal)


class _NormalImages(LightningDataModule):
    """The training images, decoded and resized as for every other method, for anomalib's Engine."""

    name, category = "normal", ""

    def __init__(self, images: NDArray[np.uint8], batch_size: int, seed: int, drop_last: bool) -> None:
        super().__init__()
        self._images, self.train_batch_size, self.eval_batch_size = images, batch_size, batch_size  # models read them
        self._seed, self._drop_last = seed, drop_last and len(images) > batch_size

    def train_dataloader(self) -> DataLoader[Any]:
        return self._loader(shuffle=True, drop_last=self._drop_last)

    def val_dataloader(self) -> DataLoader[Any]:
        return self._loader(shuffle=False, drop_last=False)

    def _loader(self, *, shuffle: bool, drop_last: bool) -> DataLoader[Any]:
        return DataLoader(
            list(range(len(self._images))),  # type: ignore[arg-type]
            batch_size=self.train_batch_size,
            shuffle=shuffle,
            drop_last=drop_last,  # batch statistics of one left-over image would be none
            collate_fn=lambda indices: _batch(torch.from_numpy(self._images[indices])),
            generator=torch.Generator().manual_seed(self._seed),
        )


class _Diary(Callback):
    """Counts the steps, notes the losses, and writes what a training was into its checkpoint."""

    def __init__(self, conditions: Mapping[str, Any], n_steps: int, *, has_loss: bool, options: MethodOptions) -> None:
        self.rows: list[dict[str, float]] = []
        self._conditions, self._step, self._started, self._seconds = dict(conditions), 0, 0.0, 0.0
        self._bar, self._n_steps, self._has_loss = progress_bar(options.quiet), n_steps, has_loss
        self._loggers = options.loggers

    @property
    def progress(self) -> dict[str, Any]:
        return {"steps": self._step, "of": self._n_steps, "seconds": round(self._seconds, 1)}

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        if stage == "fit":
            self._bar.start()
            self._task = self._bar.add_task("training", total=self._n_steps, note="")

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        self._bar.stop()

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self._started = time.monotonic()

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._step += 1
        self._seconds = time.monotonic() - self._started
        trainer.should_stop |= self._step >= self._n_steps
        self._bar.advance(self._task)
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        if self._has_loss and isinstance(loss, torch.Tensor) and self._step % _STEPS_PER_LOG_ROW == 0:
            value = float(loss.detach())
            self.rows.append({"step": self._step, "seconds": self._seconds, "loss": value})
            for logger in self._loggers:
                logger.log_metrics(metrics={"loss": value}, step=self._step)
            self._bar.update(self._task, note=f"loss {value:.3f}")

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        self._seconds = time.monotonic() - self._started

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        checkpoint["optimizer_states"] = []  # the training is over
        checkpoint[_OWN_NOTE] = {"conditions": self._conditions, "progress": self.progress}


@contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C stops the run as everywhere else: Lightning turns it into an exit and leaves the signal ignored."""
    is_main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit:
        raise KeyboardInterrupt from None
    finally:
        if is_main:
            signal.signal(signal.SIGINT, before)


@contextmanager
def _quiet(also_bars: bool) -> Iterator[None]:
    """Keep what anomalib and Lightning say of themselves off the screen, and on demand their progress bars."""
    loggers = [logging.getLogger(name) for name in ("anomalib", "lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stderr(StringIO()) if also_bars else nullcontext():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
