"""An exported model gives torch's maps in onnxruntime, whatever it was set to, and says how to use it."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

from aseg_bench.errors import InputError
from aseg_bench.methods import find_methods
from aseg_bench.training.export import write_onnx
from aseg_bench.training.tiles import Tiling
from aseg_bench.training.trained import TrainedModel

pytest.importorskip("onnx", reason="export needs the extra `export`")
runtime = pytest.importorskip("onnxruntime", reason="the comparison needs onnxruntime")

NEEDS_CATEGORIES = {"hvq_trans"}  # so a file that takes pictures alone cannot hold it
LIVE = {name: facts for name, facts in find_methods().items() if facts.model and name not in NEEDS_CATEGORIES}
TOLERANCE = 2e-5
SMALL = {
    "patchcore": {"image_size": 64, "backbone": "test_efficientnet"},
    "uni_as": {"image_size": 64, "backbone": "test_efficientnet", "channels": 16, "ffn_channels": 16, "n_heads": 2},
    "uniad": {"image_size": 64, "backbone": "test_efficientnet", "channels": 16, "ffn_channels": 16, "n_heads": 2},
}
CHOICES = [
    ("uni_as", {"combination": combination, "levels": levels})
    for combination in ("product", "joint", "weighted")
    for levels in ((1,), (4,), (3, 4), (1, 2, 3, 4))
] + [
    ("uni_as", {"multi_level": False}),
    ("uni_as", {"combination": "product", "smoothing": (0, 3, 0, 15)}),
    ("uni_as", {"sample_aware": False, "local": "none"}),
    ("uni_as", {"local": "conv3", "neighbour_size": 3}),
    ("uni_as", {"local": "mg", "blur_size": 5}),
    ("uni_as", {"image_size": 80, "backbone": "resnet18"}),
    ("uni_as", {"image_size": "64x96"}),
    ("uni_as", {"image_size": "96x64", "combination": "product", "neighbour_size": 3}),
    ("uni_as", {"image_size": "64x96", "multi_level": False}),
    ("uniad", {"neighbour_size": 3, "n_layers": 1}),
    ("uniad", {"image_size": "64x96", "neighbour_size": 3}),
    ("uniad", {"neighbour_size": 0}),
    ("patchcore", {"levels": (4, 8), "combination": "product"}),
    ("patchcore", {"image_size": "64x96", "dimensions": 7, "smoothing": 2.0}),
]


def presets():
    """One preset of each network: those that differ only in how they train have the same one."""
    training = {"flip_horizontal", "flip_vertical", "rotate", "n_steps", "learning_rate"}
    seen = []
    for name, facts in LIVE.items():
        for preset, settings in facts.presets().items():
            network = {key: value for key, value in asdict(settings).items() if key not in training}
            if (name, network) not in seen:
                seen.append((name, network))
                yield pytest.param(name, settings, id=f"{name}-{preset}")


def trained(name, settings):
    """A model with random weights, and a scaler or batch statistics that do something."""
    torch.manual_seed(0)
    model = LIVE[name].model(settings)
    if model.sees_images:
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 1.0
        model.train()
        for progress in (0.0, 1.0):  # the parts learn in turns
            model.losses(255 * torch.rand(2, 3, 64, 64), progress)
    else:
        model.scaler.fit([[2 + 3 * torch.randn(2, channels, 4, 4) for channels in model.backbone.channels]])
    if name == "patchcore":
        model.decoder.fill([torch.randn(5000, bank.shape[1]) for bank in model.decoder.banks])
    return TrainedModel(model, settings.tiling, torch.device("cpu"))


def assert_same_maps(model, file, batches=(1, 3)):
    model.export(file)
    session = runtime.InferenceSession(file, providers=["CPUExecutionProvider"])
    assert [output.shape[0] for output in session.get_outputs()] == ["batch"]
    for batch in batches:
        images = torch.rand(batch, 3, *model.size) * 255
        with torch.inference_mode():
            expected = model.model(images).numpy()
        (maps,) = session.run(None, {"images": images.numpy()})
        assert maps.dtype == np.float32
        assert np.ptp(expected) > 100 * TOLERANCE
        np.testing.assert_allclose(maps, expected, atol=TOLERANCE * max(1, expected.max()), rtol=0)


@pytest.mark.parametrize(("name", "settings"), list(presets()))
def test_every_preset_gives_torchs_maps(name, settings, tmp_path):
    assert_same_maps(trained(name, replace(settings, image_size=128)), tmp_path / "model.onnx", batches=[2])


@pytest.mark.parametrize(("name", "choice"), CHOICES, ids=str)
def test_every_setting_of_the_maps_gives_torchs_maps(name, choice, tmp_path):
    settings = replace(LIVE[name].presets()["cpu"], **(SMALL[name] | choice))
    assert_same_maps(trained(name, settings), tmp_path / "model.onnx")


def test_what_the_file_says_of_itself_suffices_for_the_maps_of_predict(tmp_path):
    settings = replace(LIVE["uni_as"].presets()["cpu"], **(SMALL["uni_as"] | {"image_size": "64x96"}))
    model, file = trained("uni_as", settings), tmp_path / "a.onnx"
    model.export(file)
    session = runtime.InferenceSession(file, providers=["CPUExecutionProvider"])
    told = session.get_modelmeta().custom_metadata_map
    assert told["input"] == "images: float32 (batch, 3, height, width), RGB"
    assert told["input_range"].startswith("0 to 255")
    assert told["input_resampling"].startswith("bilinear with antialiasing, as Pillow's BILINEAR")
    assert told["output_resampling"].startswith("bilinear with half-pixel centres")
    height, width = (int(side) for side in told["input_size"].split(" x "))

    photo = np.random.default_rng(0).integers(0, 255, (90, 130, 3), dtype=np.uint8)
    small = np.asarray(Image.fromarray(photo).resize((width, height), Image.Resampling.BILINEAR), np.float32)
    (maps,) = session.run(None, {"images": small.transpose(2, 0, 1)[None]})
    sized = functional.interpolate(torch.from_numpy(maps)[None], photo.shape[:2], mode="bilinear", align_corners=False)
    np.testing.assert_allclose(sized[0, 0].numpy(), model.predict([photo])[0], atol=TOLERANCE)


def test_a_file_of_a_model_with_tiles_says_how_to_cut_and_join(tmp_path):
    settings = replace(LIVE["uni_as"].presets()["cpu"], **(SMALL["uni_as"] | {"tiles": "2x3"}))
    model = trained("uni_as", settings)
    model.export(tmp_path / "a.onnx")
    told = runtime.InferenceSession(tmp_path / "a.onnx").get_modelmeta().custom_metadata_map
    assert told["input_size"] == "64 x 64"
    assert told["tiles"].startswith(
        "resize a picture to 120 x 176 and cut 2 x 3 tiles, which share 8 rows and 8 columns"
    )


def test_a_model_that_onnx_cannot_hold_is_one_error_and_leaves_no_file(tmp_path, capfd):
    class Untranslatable(nn.Module):
        def forward(self, images):
            return torch.linalg.eigvals(images).real[..., 0]

    with pytest.raises(InputError, match="cannot be written as ONNX") as error:
        write_onnx(Untranslatable().eval(), Tiling(16, 16), tmp_path / "model.onnx")
    assert len(str(error.value).splitlines()) == 1
    assert len(str(error.value)) < 500
    assert not list(tmp_path.iterdir())
    assert capfd.readouterr() == ("", "")
