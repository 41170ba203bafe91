"""UniAS as it is used after training: from a checkpoint, numpy in and out."""

from aseg_bench.training.trained import TrainedModel


class UniAS(TrainedModel):
    """A trained UniAS.

    Example:
        >>> model = UniAS.from_checkpoint("checkpoint.pt")  # doctest: +SKIP
        >>> maps = model.predict([read_image(path) for path in paths])  # doctest: +SKIP
    """

    method = "uni_as"
