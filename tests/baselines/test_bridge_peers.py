"""Methods that both this toolkit and anomalib have: on the same images and weights they give the same maps.

Where the two differ on purpose, a setting or one line of the test brings them together, and says what it bridges.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from aseg_bench.methods import MethodOptions
from aseg_bench.training.data import load_images
from aseg_bench.training.tiles import Tiling
from baselines.patchcore.method import make_method as make_patchcore
from baselines.rd4ad.model import build_rd4ad, load_official
from baselines.rd4ad.settings import PRESETS as RD4AD
from tests.baselines.test_anomalib import fitted, live, make, maps_of

SIDE = 64
WHOLE = Tiling(SIDE, SIDE, 1, 1)
BORDER = 16  # pixels: the Gaussian's reach, four deviations of four pixels
LITE = "tf_efficientnet_lite0"  # its weights come with the package


def inner(maps):
    """Maps without what the two sides mirror differently: scipy repeats the last pixel, anomalib does not."""
    return maps[..., BORDER:-BORDER, BORDER:-BORDER]


def as_imagenet(backbone):
    """Normalise as anomalib does whatever the network: timm's EfficientNet-Lite0 takes a mean and deviation of 0.5."""
    for name, values in (("mean", (0.485, 0.456, 0.406)), ("std", (0.229, 0.224, 0.225))):
        getattr(backbone, name).copy_(255 * torch.tensor(values).view(1, 3, 1, 1))


def bilinear(generator):
    """Make pixels of patches as the authors of PatchCore do, where anomalib repeats a patch's distance."""
    blur = generator.blur
    generator.compute_anomaly_map = lambda scores, size: blur(
        functional.interpolate(scores, size, mode="bilinear", align_corners=False)
    )


@live
def test_patchcore_gives_anomalibs_distances_and_maps(samples):
    own = {"weights": "pretrained", "layers": "blocks.2,blocks.4", "coreset_sampling_ratio": "1"}
    theirs = fitted("Patchcore", samples[:3], backbone=LITE, own=own)
    settings = {
        "image_size": str(SIDE),
        "backbone": LITE,
        "levels": "8,16",
        "dimensions": "0",  # anomalib keeps all channels side by side, the authors average them
        "bank_share": "1",  # all patches, as the two draw different coresets
    }
    options = MethodOptions(device="cpu", preset="paper", settings=settings, quiet=True)
    ours, sharp = (make_patchcore(replace(options, settings=settings | own)) for own in ({}, {"smoothing": "0"}))
    for method in (ours, sharp):
        as_imagenet(method.model.backbone)
        method.fit(samples[:3])
    bank, peer = ours.model.decoder.banks[0], theirs.model.model.memory_bank
    assert bank.shape == peer.shape == (3 * (SIDE // 8) ** 2, 40 + 112)
    nearest = torch.cdist(bank.double(), peer.double()).min(1).values
    assert float(nearest.max()) < 1e-4 * float(bank.norm(dim=1).mean())

    generator = theirs.model.model.anomaly_map_generator
    seen = []
    generator.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    maps_of(theirs, samples[3:])
    (distances,) = (values.squeeze(1) for values in seen)
    with torch.inference_mode():
        pictures = torch.from_numpy(load_images(samples[3:], WHOLE, quiet=True))
        rows, columns = distances.shape[1:]
        features = sharp.model.scaler(sharp.model.backbone(pictures))
        own_distances = sharp.model.decoder.anomaly_map(features, (rows, columns))
    scale = float(distances.max())
    torch.testing.assert_close(own_distances, distances, rtol=0, atol=1e-4 * scale)

    bilinear(generator)
    np.testing.assert_allclose(
        inner(maps_of(ours, samples[3:])), inner(maps_of(theirs, samples[3:])), rtol=0, atol=1e-4 * scale
    )


@live
def test_rd4ad_gives_anomalibs_features_losses_and_maps(samples):
    samples = samples[:2]
    theirs = make("ReverseDistillation", own={"backbone": "resnet50"})
    peer = theirs.model.model
    settings = replace(
        RD4AD["paper"],
        image_size=SIDE,
        backbone="resnet50",  # of Wide-ResNet-50-2 anomalib makes the embedding half as wide inside as the authors
        block_width=0.25,  # a ResNet-50's
    )
    ours = build_rd4ad(settings, pretrained=False).eval()
    ours.backbone.network.load_state_dict(peer.encoder.feature_extractor.state_dict())
    load_official(ours, {"bn": peer.bottleneck.state_dict(), "decoder": peer.decoder.state_dict()})
    pictures = torch.from_numpy(load_images(samples, WHOLE, quiet=True))
    with torch.inference_mode():
        features = ours.backbone(pictures)
        encoded = peer.encoder(theirs.model.pre_processor(pictures / 255))
        for level, found in zip(encoded.values(), features, strict=True):
            torch.testing.assert_close(found, level, rtol=1e-4, atol=1e-4)
        ours.train()
        peer.train()  # both by the statistics of this batch
        loss = float(sum(ours.losses(features).values()))
        assert loss == pytest.approx(float(theirs.model.loss(*peer(theirs.model.pre_processor(pictures / 255)))), 1e-4)
        ours.eval()
        peer.eval()
        maps = {smoothing: smoothed_maps(ours, features, smoothing) for smoothing in (0.0, 4.0)}
    np.testing.assert_allclose(inner(maps[4.0]), inner(maps_of(theirs, samples)), rtol=1e-4, atol=1e-5)
    peer.anomaly_map_generator.sigma, peer.anomaly_map_generator.kernel_size = 1, 1  # smooths nothing
    np.testing.assert_allclose(maps[0.0], maps_of(theirs, samples), rtol=1e-4, atol=1e-5)


def smoothed_maps(model, features, smoothing):
    model.decoder.smoothing = smoothing
    return model.anomaly_map(features, (SIDE, SIDE)).numpy()
