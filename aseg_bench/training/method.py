"""A method that trains a FeatureReconstruction: what UniAS, UniAD and their kin do alike."""

from collections.abc import Callable, Iterator, Sequence

import torch

from aseg_bench.errors import InputError
from aseg_bench.methods import MethodOptions
from aseg_bench.records import AnomalyMap, Sample
from aseg_bench.training.data import Augmentation, FeatureSource, load_images
from aseg_bench.training.engine import make_fabric, train, write_log
from aseg_bench.training.reconstruction import FeatureReconstruction
from aseg_bench.training.settings import TrainingSettings

_PREDICT_BATCH = 16


class TrainedMethod:
    """Fits one model to the normal images of all categories, then maps test images.

    Args:
        name: key of the method.
        build: makes the untrained model; called with the seed set.
        settings: of the method.
        options: what the user said.
        augmentation: changes of training images; None for none.

    Raises:
        InputError: the image size does not fit the backbone's strides.
        MissingWeightsError: the backbone's weights cannot be had.
    """

    def __init__(
        self,
        name: str,
        build: Callable[[], FeatureReconstruction],
        settings: TrainingSettings,
        options: MethodOptions,
        augmentation: Augmentation | None = None,
    ) -> None:
        self.name = name
        self._settings, self._options, self._augmentation = settings, options, augmentation
        with torch.random.fork_rng():
            torch.manual_seed(options.seed)
            self.model = build()
        coarsest = max(self.model.backbone.strides)
        if settings.image_size % coarsest:
            raise InputError(f"image_size {settings.image_size} is no multiple of the coarsest stride {coarsest}")

    def fit(self, train_samples: Sequence[Sample]) -> None:
        """Train on normal images, or go on from the checkpoint in the options' folder.

        Raises:
            InputError: no training images, or an unreadable one.
            TrainingError: a non-finite loss, no memory, or a checkpoint that does not fit.
        """
        if not train_samples:
            raise InputError(f"{self.name} needs training images and there are none; look into <category>/train/good")
        options, settings = self._options, self._settings
        fabric = make_fabric(options)
        self.model.to(fabric.device)
        images = load_images(train_samples, settings.image_size, options.quiet)
        source = FeatureSource(self.model.backbone, train_samples, images, self._augmentation, options.quiet)
        if settings.feature_scaling == "z_score":
            self.model.scaler.fit(source.unchanged())
        state = train(self.model, source, settings, options, fabric)
        if options.folder and fabric.global_rank == 0:
            write_log(state, options.folder / "log.csv")

    @torch.inference_mode()
    def predict(self, samples: Sequence[Sample]) -> Iterator[AnomalyMap]:
        """Yield one map of ``image_size`` squared per sample, in order."""
        self.model.eval()
        device = self.model.backbone.mean.device
        for start in range(0, len(samples), _PREDICT_BATCH):
            batch = samples[start : start + _PREDICT_BATCH]
            images = torch.from_numpy(load_images(batch, self._settings.image_size, quiet=True)).to(device)
            maps = self.model(images).float().cpu().numpy()
            for sample, scores in zip(batch, maps, strict=True):
                yield AnomalyMap(sample, scores)
