"""DeSTSeg, written from the paper and from facts of the authors' release (commit f6ea31f); no code is taken from it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from aseg_bench.errors import InputError
from aseg_bench.methods import MethodOptions
from aseg_bench.training.backbone import Backbone
from aseg_bench.training.checkpoints import load_renamed
from aseg_bench.training.data import Augmentation
from aseg_bench.training.method import TrainedMethod
from aseg_bench.training.network import Network
from aseg_bench.training.official import by_part, state_in
from aseg_bench.training.settings import settings_for
from baselines.destseg.anomalies import SyntheticAnomalies, load_textures
from baselines.destseg.segmentation import SegmentationNet
from baselines.destseg.settings import PRESETS, DeSTSegSettings
from baselines.destseg.student import StudentNet

STRIDES = (4, 8, 16)  # layers 1 to 3 of a ResNet
_OFFICIAL = {
    "teacher_net.encoder.": "backbone.network.",
    "student_net.": "student.",
    "student.decoder_layer3.": "student.decoder_layers.0.",
    "student.decoder_layer2.": "student.decoder_layers.1.",
    "student.decoder_layer1.": "student.decoder_layers.2.",
    "segmentation_net.": "segmentation.",
    "head.1.": "head.1.0.",
    "head.2.": "head.1.1.",
    "head.4.": "head.2.",
    "aspp_feature_extractors.0.1.": "whole.",
    "aspp_feature_extractors.1.": "paths.0.",
    "aspp_feature_extractors.2.": "paths.1.",
    "aspp_feature_extractors.3.": "paths.2.",
    "aspp_fusion_layer.": "fusion.",
    ".conv.": ".0.",
    ".norm.": ".1.",
}


class DeSTSeg(Network):
    """Teacher, denoising student and segmentation network (section 3).

    Args:
        teacher: frozen.
        student: learns in step 1.
        segmentation: learns in step 2.
        anomalies: draws them into images.
        settings: the other numbers.
    """

    sees_images = True
    learns_in_turns = True
    tells_apart = True

    def __init__(
        self,
        teacher: Backbone,
        student: StudentNet,
        segmentation: SegmentationNet,
        anomalies: SyntheticAnomalies,
        settings: DeSTSegSettings,
    ) -> None:
        super().__init__(backbone=teacher)
        self.student, self.segmentation, self._anomalies = student, segmentation, anomalies
        self._student_share, self._gamma = settings.student_share, settings.gamma
        self._rate_shares = settings.res_rate_share, settings.head_rate_share

    def forward(self, images: Tensor) -> Tensor:
        """Section 3.4: the segmentation's probabilities, upsampled, (B, H, W) in [0, 1]."""
        size = (int(images.shape[2]), int(images.shape[3]))
        probabilities = self.segment(images).float().sigmoid()
        return functional.interpolate(probabilities, size, mode="bilinear", align_corners=False)[:, 0]

    def segment(self, images: Tensor) -> Tensor:
        """Logits (B, 1, H_1, W_1) of where images (B, 3, H, W) are anomalous; only the segmentation learns."""
        with torch.no_grad():
            teacher = self._teacher(images)
            student = self._student(images, teacher)
            products = [
                functional.interpolate(-own * its, teacher[0].shape[2:], mode="bilinear", align_corners=False)
                for own, its in zip(teacher, student, strict=True)
            ]
        logits: Tensor = self.segmentation(torch.cat(products, dim=1))
        return logits

    def losses(self, batch: Tensor, progress: float = 0.0) -> dict[str, Tensor]:
        """Step 1, the student's cosine distances (section 3.2), and then step 2, focal and L1 loss (section 3.3).

        Args:
            batch: normal images (B, 3, H, W), RGB in [0, 255].
            progress: share of the training that is done.
        """
        spoilt, masks = self._anomalies(batch)
        is_first = progress < self._student_share
        self.student.train(is_first)  # in step 2 it gives what it will give to test images
        if is_first:
            distances = self._distances(self._teacher(batch), spoilt)
            # summed over the images, in the authors' code; their learning rate goes with it
            return {f"level_{k}": own.mean((1, 2)).sum() for k, own in enumerate(distances, start=1)}
        logits = self.segment(spoilt).float()
        shares = functional.interpolate(masks, logits.shape[2:], mode="bilinear", align_corners=False)
        truth = (shares >= 0.5).float()
        wrong = (logits.sigmoid() - truth).abs()
        entropy = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
        return {"focal": (wrong**self._gamma * entropy).mean(), "l1": wrong.mean()}

    def judged(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """Negative logits of normal pixels, and of those of anomalies drawn into normal images (B, 3, H, W)."""
        spoilt, masks = self._anomalies(batch)
        scores = -functional.interpolate(self.segment(spoilt), masks.shape[2:], mode="bilinear", align_corners=False)
        return scores[masks == 0], scores[masks > 0]

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Each part learns at a rate of its own."""
        res, head = self._rate_shares
        return [
            {"params": list(self.student.parameters())},
            {"params": list(self.segmentation.res.parameters()), "rate_share": res},
            {"params": list(self.segmentation.head.parameters()), "rate_share": head},
        ]

    def level_maps(self, images: Tensor) -> Tensor:
        """Cosine distances of teacher and student, upsampled, (B, levels, H, W) in [0, 2]."""
        size = images.shape[2:]
        maps = [
            functional.interpolate(own[:, None], size, mode="bilinear", align_corners=False)
            for own in self._distances(self._teacher(images), images)
        ]
        return torch.cat(maps, dim=1)

    def _teacher(self, images: Tensor) -> list[Tensor]:
        return [functional.normalize(level, dim=1) for level in self.backbone(images)]

    def _student(self, images: Tensor, teacher: Sequence[Tensor]) -> list[Tensor]:
        levels = self.student(self.backbone.normalised(images), [level.shape[2:] for level in teacher])
        return [functional.normalize(level, dim=1) for level in levels]

    def _distances(self, teacher: Sequence[Tensor], images: Tensor) -> list[Tensor]:
        """One minus the cosine per position and level, (B, H_k, W_k)."""
        return [
            1 - (own * its).float().sum(1) for own, its in zip(teacher, self._student(images, teacher), strict=True)
        ]


def build_destseg(
    settings: DeSTSegSettings, weights: Path | None = None, pretrained: bool = True, textures: Tensor | None = None
) -> DeSTSeg:
    """DeSTSeg as a module: ``model(images)`` maps RGB images (B, 3, H, W) in [0, 255] to (B, H, W).

    Args:
        settings: every number.
        weights: file with the teacher's weights.
        pretrained: False leaves the teacher random, for a checkpoint that holds its weights.
        textures: of the anomalies, as ``SyntheticAnomalies`` takes them.

    Raises:
        InputError: numbers do not fit together, or the teacher lacks a stride.
        MissingWeightsError: the teacher's weights cannot be found.
    """
    settings.grid((*STRIDES, 2 * STRIDES[-1]))
    if settings.feature_scaling != "none":
        raise InputError("DeSTSeg compares directions of features, which it does not scale; leave feature_scaling out")
    for name in ("encoder_channels", "encoder_blocks"):
        if len(getattr(settings, name)) != 4:
            raise InputError(f"{name} {getattr(settings, name)}: one number for each of the four stages of a ResNet")
    teacher = Backbone(settings.backbone, STRIDES, weights, pretrained)
    student = StudentNet(teacher.channels, settings.encoder_channels, settings.encoder_blocks, settings.rectified)
    segmentation = SegmentationNet(sum(teacher.channels), settings.channels, settings.dilations)
    return DeSTSeg(teacher, student, segmentation, SyntheticAnomalies(textures), settings)


def load_official(model: DeSTSeg, content: Mapping[str, Any]) -> None:
    """Load what the authors' ``train.py`` saves, the teacher included, for the preset ``paper``.

    Raises:
        InputError: an entry has no place here, has another shape, or is missing.
    """
    parts = by_part(state_in(content, "state_dict"))
    load_renamed(model, parts, _OFFICIAL)


def make_method(options: MethodOptions) -> TrainedMethod:
    """DeSTSeg as the runner uses it.

    Raises:
        InputError: as ``build_destseg``, or there are no textures where they should be.
        MissingWeightsError: as ``build_destseg``.
    """
    settings = settings_for(PRESETS, options)
    textures = load_textures(Path(settings.textures), settings.size) if settings.textures else None

    def build() -> DeSTSeg:
        model = build_destseg(settings, options.backbone_weights, not options.checkpoint, textures)
        model.about = {
            "textures": "made from the training images; the paper's are of DTD"
            if textures is None
            else f"{len(textures)} pictures of {settings.textures}"
        }
        return model

    return TrainedMethod("destseg", build, settings, options, Augmentation(rotate=settings.rotate, tilt=settings.tilt))
