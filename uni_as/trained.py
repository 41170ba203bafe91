"""UniAS as one uses it after training: from a checkpoint, numpy in and out."""

from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from aseg_bench.errors import TrainingError
from aseg_bench.methods import MethodOptions
from aseg_bench.training.checkpoints import load_weights_into, read_checkpoint
from aseg_bench.training.engine import make_fabric
from aseg_bench.training.trained import TrainedModel
from uni_as.model import UniASSettings, build_uni_as


class UniAS(TrainedModel):
    """A trained UniAS.

    Example:
        >>> model = UniAS.from_checkpoint(Path("checkpoint.pt"))  # doctest: +SKIP
        >>> maps = model.predict([read_image(path) for path in paths])  # doctest: +SKIP
    """

    @classmethod
    def from_checkpoint(cls, file: str | Path, device: str = "auto") -> "UniAS":
        """The model as a training left it; the checkpoint brings the backbone's weights as well.

        Args:
            file: ``<out>/training/uni_as/<dataset>/checkpoint.pt`` of a run.
            device: ``auto``, ``cpu``, ``cuda`` or ``mps``.

        Raises:
            TrainingError: it is missing, truncated or of another method, or there is no such device.
        """
        file = Path(file)
        content = read_checkpoint(file)
        method = content["conditions"]["method"]
        if method != "uni_as":
            raise TrainingError(f"{file} holds {method}, not uni_as")
        try:
            settings = TypeAdapter(UniASSettings).validate_python(content["settings"])
        except ValidationError as error:
            raise TrainingError(f"{file} is of another version of uni_as: {error.errors()[0]['msg']}") from error
        model = build_uni_as(settings=settings, pretrained=False)
        load_weights_into(model, content, file)
        return cls(model, settings.image_size, make_fabric(MethodOptions(device=device)).device)
