"""A trained model in memory: pictures in, maps out, or the whole model into an ONNX file."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError
from torch.nn import functional

from aseg_bench.errors import InputError, TrainingError
from aseg_bench.methods import MethodOptions, find_method
from aseg_bench.training.checkpoints import load_weights_into, read_checkpoint
from aseg_bench.training.engine import make_fabric
from aseg_bench.training.export import write_onnx
from aseg_bench.training.network import Network
from aseg_bench.training.tiles import Tiling

_BATCH = 16
Pictures = Sequence[NDArray[np.uint8]] | NDArray[np.uint8]


class TrainedModel:
    """A trained model, on the device where it will run.

    Args:
        model: as trained.
        tiling: size and tiles of the images that it was trained on.
        device: where it will run.

    Attributes:
        tiling: as given.
        size: height and width of all tiles together: that of pictures as they go in, and of maps as they come out.
        method: key of the method whose checkpoints are taken; empty takes those of all.

    Raises:
        InputError: the model must be told the category of every picture, as HVQ-Trans must.
    """

    method: ClassVar[str] = ""

    def __init__(self, model: Network, tiling: Tiling, device: torch.device) -> None:
        if model.needs_categories:
            raise InputError(
                "this model must be told the category of every picture, and pictures alone do not say it; let "
                "`aseg-bench run` map test images of the categories that it was trained on, or train another method"
            )
        self.model, self.tiling = model.eval().to(device), tiling
        self.size, self._device = tiling.size, device

    @classmethod
    def from_checkpoint(cls, file: str | Path, device: str = "auto") -> Self:
        """The model as a training left it; the checkpoint names its method and brings the backbone's weights.

        Args:
            file: ``<out>/training/<method>/<dataset>/checkpoint.pt`` of a run.
            device: ``auto``, ``cpu``, ``cuda`` or ``mps``.

        Raises:
            InputError: the method of the checkpoint is not installed, cannot be loaded from one, or needs categories.
            TrainingError: the file is missing, truncated or of another method, or there is no such device.
        """
        file = Path(file)
        content = read_checkpoint(file)
        name = content["conditions"]["method"]
        if cls.method not in ("", name):
            raise TrainingError(f"{file} holds {name}, not {cls.method}")
        facts = find_method(name)
        if facts.model is None or facts.presets is None:
            raise InputError(f"{facts.label} cannot be loaded from a checkpoint")
        kind = type(next(iter(facts.presets().values())))
        try:
            settings = TypeAdapter(kind).validate_python(content["settings"])
        except ValidationError as error:
            raise TrainingError(f"{file} is of another version of {name}: {error.errors()[0]['msg']}") from error
        model = facts.model(settings)
        load_weights_into(model, content, file)
        return cls(model, settings.tiling, make_fabric(MethodOptions(device=device)).device)

    def predict(self, images: Pictures) -> list[NDArray[np.float32]]:
        """Anomaly maps, each in its image's own size.

        Args:
            images: RGB pictures (height, width, 3) uint8, or one array (images, height, width, 3).

        Returns:
            One map (height, width) per image; higher is more anomalous.

        Raises:
            InputError: an image has another shape or type.
        """
        return [maps[0] for maps in self._run(images, by_level=False)]

    def level_maps(self, images: Pictures) -> list[NDArray[np.float32]]:
        """Maps of the single levels, (levels, height, width) per image, shallowest first; else as ``predict``.

        Raises:
            InputError: the model has no levels, or an image has another shape or type.
        """
        return self._run(images, by_level=True)

    def export(self, file: Path) -> None:
        """Write the model as ONNX: ``images`` (B, 3, H, W) float32 RGB in [0, 255] to ``maps`` (B, H, W), for any B.

        Of a model with tiles, both are one tile; the file's metadata say how to cut a picture and join the maps.

        Raises:
            InputError: the exporter cannot translate what the model computes.
            ModuleNotFoundError: the package ``onnx`` is not installed.
        """
        write_onnx(self.model, self.tiling, file)

    @torch.inference_mode()
    def _run(self, images: Pictures, by_level: bool) -> list[NDArray[np.float32]]:
        for index, image in enumerate(images):
            if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
                raise InputError(
                    f"image {index} has the shape {image.shape} and type {image.dtype}; (height, width, 3) uint8 in "
                    "RGB is needed, for instance from aseg_bench.images.read_image"
                )

        def maps_of(tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
            batch = torch.from_numpy(tiles).to(self._device)
            maps = self.model.level_maps(batch) if by_level else self.model(batch)[:, None]
            return np.asarray(maps.float().cpu().numpy())

        found: list[NDArray[np.float32]] = []
        for start in range(0, len(images), _BATCH):
            chunk = images[start : start + _BATCH]
            maps = self.tiling.mapped(np.concatenate([self.tiling.cut(image) for image in chunk]), maps_of)
            for image, own in zip(chunk, maps, strict=True):
                whole = torch.from_numpy(own)[None]
                sized = functional.interpolate(whole, image.shape[:2], mode="bilinear", align_corners=False)
                found.append(sized[0].numpy())
        return found
