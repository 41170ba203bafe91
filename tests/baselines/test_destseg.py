import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from aseg_bench.errors import InputError
from aseg_bench.methods import MethodOptions
from aseg_bench.training.checkpoints import CHECKPOINT, read_checkpoint
from aseg_bench.training.data import ImageSource
from baselines.destseg.anomalies import (
    SyntheticAnomalies,
    load_textures,
    made_textures,
    perlin_mask,
    perlin_noise,
)
from baselines.destseg.blocks import BasicBlock
from baselines.destseg.model import build_destseg, load_official, make_method
from baselines.destseg.segmentation import SegmentationNet
from baselines.destseg.settings import PRESETS
from baselines.destseg.student import StudentNet

PAPER = (64, 128, 256)
SMALL = {"encoder_channels": "8,8,16,16", "encoder_blocks": "1,1,1,1", "channels": "8", "dilations": "1,2"}


@pytest.fixture(scope="module")
def paper():
    """The preset ``paper`` on small images, with random weights."""
    torch.manual_seed(0)
    return build_destseg(replace(PRESETS["paper"], image_size=64), pretrained=False)


@pytest.fixture
def images():
    torch.manual_seed(1)
    return torch.rand(2, 3, 64, 64) * 255


def plain_noise(row, column, size, directions):
    """Perlin noise of one pixel: the gradients at the four corners of its cell, faded into each other."""
    y, x = (place * (n - 1) / side for place, side, n in zip((row, column), size, directions.shape, strict=True))
    top, left = math.floor(y), math.floor(x)
    total = 0.0
    for corner_y in (top, top + 1):
        for corner_x in (left, left + 1):
            angle = float(directions[corner_y, corner_x])
            dot = math.cos(angle) * (y - corner_y) + math.sin(angle) * (x - corner_x)
            distances = (abs(y - corner_y), abs(x - corner_x))
            total += dot * math.prod(1 - (6 * d**5 - 15 * d**4 + 10 * d**3) for d in distances)
    return math.sqrt(2) * total


@pytest.mark.parametrize("cells", [(1, 1), (2, 4), (4, 1), (8, 5)])
def test_section_3_1_perlin_noise_is_that_of_plain_loops(cells):
    torch.manual_seed(0)
    directions = 2 * math.pi * torch.rand(cells[0] + 1, cells[1] + 1)
    expected = [[plain_noise(row, column, (12, 10), directions) for column in range(10)] for row in range(12)]
    np.testing.assert_allclose(perlin_noise((12, 10), directions), expected, atol=1e-5)


def test_section_3_1_a_quarter_turn_of_the_noise_is_one_of_its_picture_and_an_eighth_leaves_corners_empty():
    directions = 2 * math.pi * torch.rand(5, 3)
    still = perlin_noise((16, 16), directions)
    torch.testing.assert_close(perlin_noise((16, 16), directions, math.pi / 2), still.rot90(-1), atol=1e-4, rtol=0)
    eighth = perlin_noise((16, 16), directions, math.pi / 4)
    assert all(float(eighth[corner]) == 0 for corner in ((0, 0), (0, -1), (-1, 0), (-1, -1)))


def test_section_3_1_masks_are_few_and_varied_and_settled_by_the_generator():
    torch.manual_seed(0)
    masks = torch.stack([perlin_mask((64, 48)) for _ in range(300)])
    shares = masks.double().mean((1, 2))
    assert masks.shape == (300, 64, 48)
    assert 0.03 < float(shares.mean()) < 0.07
    assert float(shares.max()) < 0.5
    assert len(shares.unique()) > 100
    assert 0 < int((shares == 0).sum()) < 100  # a single cell is often nowhere above one half
    torch.manual_seed(0)
    assert torch.equal(masks, torch.stack([perlin_mask((64, 48)) for _ in range(300)]))


def test_section_3_1_the_picture_is_unchanged_outside_and_blended_with_one_texture_inside(images):
    many, textures = images.repeat(20, 1, 1, 1), torch.full((3, 3, 64, 64), 200, dtype=torch.uint8)
    spoilt, masks = SyntheticAnomalies(textures)(many)
    outside = (masks == 0).expand_as(many)
    assert torch.equal(spoilt[outside], many[outside])
    kept = []
    for image, changed, mask in zip(many, spoilt, masks[:, 0] > 0, strict=True):
        if mask.any():
            shares = (changed - 200)[:, mask] / (image - 200)[:, mask]
            kept.append(float(shares.median()))
            torch.testing.assert_close(changed[:, mask], kept[-1] * image[:, mask] + (1 - kept[-1]) * 200)
    assert 0 <= min(kept) < 0.2
    assert 0.6 < max(kept) < 0.8


def test_a_made_texture_is_of_another_image_of_the_batch():
    torch.manual_seed(0)
    images = torch.stack([torch.rand(3, 32, 24) * 255, torch.zeros(3, 32, 24)])
    for _ in range(5):
        of_nothing, of_something = made_textures(images)
        assert (of_nothing == of_nothing[:, :1, :1]).all()
        assert float(of_something.std()) > 1
        assert 0 <= float(of_something.min()) <= float(of_something.max()) <= 255
    assert made_textures(images[:1]).shape == (1, 3, 32, 24)  # of itself, where there is no other


def test_textures_are_all_pictures_below_the_folder(tmp_path):
    (tmp_path / "banded").mkdir()
    for number, name in enumerate(("banded/a.jpg", "b.PNG")):
        Image.new("RGB", (30, 20), (200 * number, 200 * number, 0)).save(tmp_path / name)
    (tmp_path / "readme.txt").write_text("not a picture")
    textures = load_textures(tmp_path, (16, 24))
    assert textures.shape == (2, 3, 16, 24)
    assert sorted(textures[:, 0].float().mean((1, 2)).tolist()) == pytest.approx([0, 200], abs=2)


def test_bad_textures_are_one_error_before_anything_is_loaded(tmp_path):
    def make(folder):
        return make_method(MethodOptions(backbone_weights=tmp_path / "none.pt", settings={"textures": str(folder)}))

    with pytest.raises(InputError, match="textures: there is no folder"):
        make(tmp_path / "dtd")
    with pytest.raises(InputError, match="holds no pictures"):
        make(tmp_path)
    (tmp_path / "broken.jpg").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"broken\.jpg"):
        make(tmp_path)


def test_section_3_2_the_student_is_a_resnet_18_and_a_decoder_with_the_teachers_levels(paper):
    student = StudentNet(PAPER, (64, 128, 256, 512), (2, 2, 2, 2), rectified=True)
    found = student(torch.rand(2, 3, 64, 96), [(16, 24), (8, 12), (4, 6)])
    assert [tuple(level.shape) for level in found] == [(2, 64, 16, 24), (2, 128, 8, 12), (2, 256, 4, 6)]
    assert all(float(level.detach().min()) == 0 for level in found)
    n_encoder = sum(parameter.numel() for parameter in student.encoder.parameters())
    assert n_encoder == 11_689_512 - 512 * 1000 - 1000  # ResNet-18 without its classifier (He et al., 2016)
    pairs = [(512, 512), (512, 256), (256, 128), (128, 64)]
    decoder = sum(9 * (a + 3 * b) * b + 8 * b + (a * b + 2 * b if a != b else 0) for a, b in pairs)
    assert sum(parameter.numel() for parameter in student.parameters()) == n_encoder + decoder
    assert sum(parameter.numel() for parameter in paper.student.parameters()) == n_encoder + decoder


def test_section_3_3_the_segmentation_has_the_sizes_of_the_paper(paper):
    net = SegmentationNet(448, 256, (6, 12, 18))
    assert net(torch.rand(2, 448, 8, 12)).shape == (2, 1, 8, 12)
    residual = 9 * (448 + 3 * 256) * 256 + 8 * 256 + 448 * 256 + 2 * 256
    pooling = 256 * 256 + 2 * 256 + 3 * (9 * 256 * 256 + 2 * 256) + 9 * 4 * 256 * 256 + 2 * 256
    head = 9 * 256 * 256 + 2 * 256 + 256 + 1
    assert sum(parameter.numel() for parameter in net.parameters()) == residual + pooling + head
    assert paper.segmentation.res[0].conv1.in_channels == sum(PAPER) == sum(paper.backbone.channels)


def test_a_block_is_that_of_torchvision():
    theirs = pytest.importorskip("torchvision").models.resnet
    torch.manual_seed(0)
    ours, values = BasicBlock(12, 16).eval(), torch.randn(2, 12, 8, 6)
    shortcut = torch.nn.Sequential(torch.nn.Conv2d(12, 16, 1, bias=False), torch.nn.BatchNorm2d(16))
    block = theirs.BasicBlock(12, 16, downsample=shortcut).eval()
    block.load_state_dict(ours.state_dict())
    torch.testing.assert_close(ours(values), block(values))


def test_the_paper_preset_holds_the_authors_configuration(paper):
    numbers = PRESETS["paper"]
    assert (numbers.image_size, numbers.n_steps, numbers.batch_size) == (256, 5000, 32)
    assert (numbers.optimiser, numbers.beta_1, numbers.weight_decay, numbers.clip_norm) == ("sgd", 0.9, 1e-4, 0)
    assert sum(step / numbers.n_steps < numbers.student_share for step in range(numbers.n_steps)) == 1000
    assert {numbers.rate(step / 5000) for step in range(5000)} == {0.4}
    rates = [numbers.learning_rate * group.get("rate_share", 1) for group in paper.parameter_groups()]
    assert rates == pytest.approx([0.4, 0.1, 0.01])
    assert len(numbers.tilt) == 10
    assert numbers.tilt - numbers.rotate == {"cable", "wood", "zipper"}
    learning = [value for group in paper.parameter_groups() for value in group["params"]]
    assert {id(value) for value in learning} == {id(value) for value in paper.parameters() if value.requires_grad}


def test_the_schedule_runs_over_either_part():
    settings = replace(PRESETS["cpu"], student_share=0.25)
    plain = replace(settings, student_share=0.0)
    for share in (0.0, 0.3, 0.7, 0.99):
        for progress in (0.25 * share, 0.25 + 0.75 * share):
            assert settings.rate(progress) == pytest.approx(plain.rate(share))
    assert replace(settings, student_share=1.0).rate(1.0) > 0


def test_step_1_is_the_students_and_step_2_the_segmentations(paper, images):
    paper.train()
    for progress, learner, terms in (
        (0.0, paper.student, {"level_1", "level_2", "level_3"}),
        (0.2, paper.segmentation, {"focal", "l1"}),
    ):
        paper.zero_grad(set_to_none=True)
        losses = paper.losses(images, progress)
        assert set(losses) == terms
        sum(losses.values()).backward()
        got = {id(value) for value in paper.parameters() if value.grad is not None}
        assert got == {id(value) for value in learner.parameters()}
        assert paper.student.training == (learner is paper.student)
        assert not paper.backbone.training


def test_section_3_2_the_student_of_a_spoilt_image_is_compared_with_the_teacher_of_the_clean_one(
    paper, images, monkeypatch
):
    spoilt = images.flip(0)
    monkeypatch.setattr(paper, "_anomalies", lambda _: (spoilt, torch.zeros(2, 1, 64, 64)))
    paper.train()
    losses = paper.losses(images, 0.0)
    teacher = [level.numpy() for level in paper.backbone(images)]
    student = [
        level.detach().numpy()
        for level in paper.student(paper.backbone.normalised(spoilt), [level.shape[2:] for level in teacher])
    ]
    for number, (own, its) in enumerate(zip(teacher, student, strict=True), start=1):
        cosine = (own * its).sum(1) / np.sqrt((own**2).sum(1) * (its**2).sum(1))
        expected = (1 - cosine).mean((1, 2)).sum()
        assert float(losses[f"level_{number}"].detach()) == pytest.approx(expected, rel=1e-4)
        assert 0 < expected / len(images) < 1  # nothing learned, and neither has a negative value


def test_section_3_3_the_segmentation_loss_is_focal_and_l1_of_where_the_mask_is_half_covered(
    paper, images, monkeypatch
):
    logits, masks = torch.randn(2, 1, 16, 16), torch.zeros(2, 1, 64, 64)
    masks[:, :, 8:31, 16:40] = 1
    monkeypatch.setattr(paper, "_anomalies", lambda given: (given, masks))
    monkeypatch.setattr(paper, "segment", lambda _: logits)
    losses = paper.losses(images, 0.5)
    focal, absolute = [], []
    for place in np.ndindex(2, 16, 16):
        image, row, column = place
        middle = masks[image, 0, 4 * row + 1 : 4 * row + 3, 4 * column + 1 : 4 * column + 3]  # of a cell of 4 x 4
        truth = float(middle.mean()) >= 0.5
        anomalous = 1 / (1 + math.exp(-float(logits[image, 0, row, column])))
        right = anomalous if truth else 1 - anomalous
        focal.append((1 - right) ** 4 * -math.log(right))
        absolute.append(1 - right)
    assert float(losses["focal"]) == pytest.approx(np.mean(focal), rel=1e-4)
    assert float(losses["l1"]) == pytest.approx(np.mean(absolute), rel=1e-4)


def test_section_3_3_the_segmentation_sees_products_of_normalised_features(paper, images, monkeypatch):
    paper.eval()
    seen = []
    monkeypatch.setattr(paper.segmentation, "forward", lambda products: seen.append(products) or products[:, :1])
    maps = paper(images)
    teacher = [functional.normalize(level) for level in paper.backbone(images)]
    products = [
        -own * functional.normalize(its.detach())
        for own, its in zip(
            teacher,
            paper.student(paper.backbone.normalised(images), [level.shape[2:] for level in teacher]),
            strict=True,
        )
    ]
    torch.testing.assert_close(seen[0][:, :64], products[0])
    torch.testing.assert_close(seen[0][:, 192:], functional.interpolate(products[2], (16, 16), mode="bilinear"))
    assert maps.shape == (2, 64, 64)
    assert 0 <= float(maps.min()) <= float(maps.max()) <= 1
    levels = paper.level_maps(images).detach()
    assert levels.shape == (2, 3, 64, 64)
    distance = 1 + products[0].sum(1, keepdim=True)
    torch.testing.assert_close(levels[:, :1], functional.interpolate(distance, (64, 64), mode="bilinear"))


def test_the_guard_gets_every_pixel_once(paper, images, monkeypatch):
    masks = torch.zeros(2, 1, 64, 64)
    masks[0, :, :32] = 1
    monkeypatch.setattr(paper, "_anomalies", lambda given: (given, masks))
    monkeypatch.setattr(paper, "segment", lambda _: functional.avg_pool2d(2 * masks - 1, 4))
    normal, spoilt = paper.judged(images)
    assert normal.numel() == 3 * spoilt.numel() == 3 * 2 * 32 * 32
    assert float((normal > 0).double().mean()) > 0.95
    assert float((spoilt < 0).double().mean()) > 0.9


def test_a_short_training_lowers_the_losses_of_both_steps(fit_tiny):
    settings = {"n_steps": "100", "learning_rate": "0.01", **SMALL}
    method, log, maps = fit_tiny(make_method, settings, smoothing=None)
    first, second = log[:5], log[5:]
    levels = [sum(row[f"level_{number}"] for number in (1, 2, 3)) for row in first]
    assert levels[-1] < 0.9 * levels[0]
    assert second[-1]["focal"] + second[-1]["l1"] < 0.9 * (second[0]["focal"] + second[0]["l1"])
    assert "focal" not in first[-1]
    assert maps.shape == (2, 64, 64)
    assert set(method.learned) == {"a", "b"}
    assert method.about["textures"] == "made from the training images; the paper's are of DTD"


@pytest.mark.parametrize("stopped", [1, 3])
def test_a_training_resumed_in_either_step_equals_an_uninterrupted_one_bit_for_bit(
    fit_tiny, tmp_path, monkeypatch, stopped
):
    settings = {"n_steps": "4", "optimiser": "sgd", "rotate": "a", "tilt": "b", **SMALL}
    _, _, whole = fit_tiny(make_method, settings, smoothing=None)
    calls, real = iter(range(1000)), ImageSource.batch

    def batch(self, indices, seed):
        if next(calls) == stopped:
            raise KeyboardInterrupt
        return real(self, indices, seed)

    monkeypatch.setattr(ImageSource, "batch", batch)
    with pytest.raises(KeyboardInterrupt):
        fit_tiny(make_method, settings, smoothing=None, folder=tmp_path / "stopped")
    assert read_checkpoint(tmp_path / "stopped" / CHECKPOINT)["state"]["step"] == stopped
    _, _, resumed = fit_tiny(make_method, settings, smoothing=None, folder=tmp_path / "stopped")
    np.testing.assert_array_equal(whole, resumed)
    one, two = (read_checkpoint(tmp_path / name / CHECKPOINT) for name in ("training_0", "stopped"))
    assert all(torch.equal(values, two["model"][name]) for name, values in one["model"].items())


def test_the_anomalies_take_the_users_textures_and_the_record_says_so(tmp_path, fit_tiny):
    Image.new("RGB", (8, 8), (250, 0, 0)).save(tmp_path / "red.png")
    folder = tmp_path / "textures"
    folder.mkdir()
    (tmp_path / "red.png").rename(folder / "red.png")
    method, _, _ = fit_tiny(make_method, {"n_steps": "2", "textures": str(folder), **SMALL}, smoothing=None)
    assert method.about["textures"] == f"1 pictures of {folder}"


def official():
    """Names and shapes of the authors' ``DeSTSeg_MVTec_5000_<category>.pckl``."""
    shapes = {}

    def convolution(name, norm, into, out, side):
        shapes[f"{name}.weight"] = (out, into, side, side)
        shapes.update({f"{norm}.{entry}": (out,) for entry in ("weight", "bias", "running_mean", "running_var")})
        shapes[f"{norm}.num_batches_tracked"] = ()

    def block(name, into, out):
        convolution(f"{name}.conv1", f"{name}.bn1", into, out, 3)
        convolution(f"{name}.conv2", f"{name}.bn2", out, out, 3)
        if into != out:
            convolution(f"{name}.downsample.0", f"{name}.downsample.1", into, out, 1)

    for net, depth in (("teacher_net", 3), ("student_net", 4)):
        convolution(f"{net}.encoder.conv1", f"{net}.encoder.bn1", 3, 64, 7)
        for layer, (into, out) in enumerate([(64, 64), (64, 128), (128, 256), (256, 512)][:depth], start=1):
            block(f"{net}.encoder.layer{layer}.0", into, out)
            block(f"{net}.encoder.layer{layer}.1", out, out)
    for layer, (into, out) in {4: (512, 512), 3: (512, 256), 2: (256, 128), 1: (128, 64)}.items():
        block(f"student_net.decoder_layer{layer}.0", into, out)
        block(f"student_net.decoder_layer{layer}.1", out, out)
    block("segmentation_net.res.0", 448, 256)
    block("segmentation_net.res.1", 256, 256)
    pooling = "segmentation_net.head.0.aspp_"
    for path in ("feature_extractors.0.1", "feature_extractors.1", "feature_extractors.2", "feature_extractors.3"):
        side = 1 if path.endswith("0.1") else 3
        convolution(f"{pooling}{path}.conv", f"{pooling}{path}.norm", 256, 256, side)
    convolution(f"{pooling}fusion_layer.conv", f"{pooling}fusion_layer.norm", 1024, 256, 3)
    convolution("segmentation_net.head.1", "segmentation_net.head.2", 256, 256, 3)
    shapes |= {"segmentation_net.head.4.weight": (1, 256, 1, 1), "segmentation_net.head.4.bias": (1,)}
    return {name: torch.rand(shape) for name, shape in shapes.items()}


def test_official_weights_load_whole_and_are_refused_where_they_do_not_fit(paper):
    state, before = official(), {name: values.clone() for name, values in paper.state_dict().items()}
    load_official(paper, state)
    pooling = paper.segmentation.head[0]
    for ours, theirs in (
        (paper.backbone.network.layer3[1].conv2, "teacher_net.encoder.layer3.1.conv2"),
        (paper.student.decoder_layers[0][0].conv1, "student_net.decoder_layer3.0.conv1"),
        (paper.student.decoder_layers[2][1].bn2, "student_net.decoder_layer1.1.bn2"),
        (pooling.paths[2][1], "segmentation_net.head.0.aspp_feature_extractors.3.norm"),
        (pooling.whole[0], "segmentation_net.head.0.aspp_feature_extractors.0.1.conv"),
        (paper.segmentation.head[1][1], "segmentation_net.head.2"),
        (paper.segmentation.head[2], "segmentation_net.head.4"),
    ):
        assert torch.equal(ours.weight, state[f"{theirs}.weight"])
    del state["student_net.encoder.conv1.weight"]
    with pytest.raises(InputError, match=r"in 1 entries, first student.encoder.conv1.weight is missing"):
        load_official(paper, state)
    paper.load_state_dict(before)


def test_an_official_file_brings_the_teacher_so_no_other_weights_are_needed(tmp_path):
    state = official()
    torch.save(state, tmp_path / "DeSTSeg_MVTec_5000_bottle.pckl")
    options = MethodOptions(device="cpu", preset="paper", checkpoint=tmp_path / "DeSTSeg_MVTec_5000_bottle.pckl")
    model = make_method(options).model
    assert torch.equal(model.backbone.network.conv1.weight, state["teacher_net.encoder.conv1.weight"])
    (tmp_path / "DeSTSeg_MVTec_5000_bottle.pckl").unlink()


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"image_size": "112"}, "not a multiple of the coarsest stride 32"),
        ({"feature_scaling": "z_score"}, "does not scale"),
        ({"encoder_blocks": "1,1"}, "one number for each of the four stages"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, text):
    with pytest.raises(InputError, match=text):
        make_method(MethodOptions(settings=settings))
