from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from aseg_bench.errors import InputError
from aseg_bench.methods import MethodOptions
from baselines.rd4ad.blocks import Bottleneck
from baselines.rd4ad.embedding import MultiScaleFusion, OneClassEmbedding
from baselines.rd4ad.model import ReverseDistillation, build_rd4ad, load_official, make_method
from baselines.rd4ad.settings import PRESETS
from baselines.rd4ad.student import StudentDecoder

CHANNELS = (4, 6, 8)
SETTINGS = PRESETS["cpu"]
PAPER = (256, 512, 1024)


@pytest.fixture
def net():
    torch.manual_seed(0)
    return ReverseDistillation(CHANNELS, SETTINGS)


@pytest.fixture
def features():
    torch.manual_seed(1)
    return [torch.randn(2, n, 24 // 2**level, 16 // 2**level) for level, n in enumerate(CHANNELS)]


def n_of_block(n_in, n_out, kernel=9):
    """Weights of a bottleneck of Wide-ResNet-50-2, half as wide inside, with three batch normalisations."""
    inner = n_out // 2
    return n_in * inner + kernel * inner**2 + inner * n_out + 2 * (2 * inner + n_out)


def test_section_3_1_the_student_mirrors_the_teacher():
    student = StudentDecoder(2048, PAPER, (3, 4, 6), 0.5, rectified=True)
    levels = student(torch.randn(1, 2048, 2, 3))
    assert [tuple(level.shape[1:]) for level in levels] == [(256, 16, 24), (512, 8, 12), (1024, 4, 6)]
    assert all(float(level.detach().min()) == 0 for level in levels)
    expected = 0
    for n_in, n_out, count in ((2048, 1024, 3), (1024, 512, 4), (512, 256, 6)):
        shortcut = 4 * n_in * n_out + 2 * n_out
        expected += n_of_block(n_in, n_out, kernel=4) + shortcut + (count - 1) * n_of_block(n_out, n_out)
    assert sum(parameter.numel() for parameter in student.parameters()) == expected


def test_section_3_1_a_student_of_signed_features_has_both_signs_at_every_level(net, features):
    assert all(float(level.detach().min()) < 0 < float(level.detach().max()) for level in net(features))


def test_section_3_2_all_levels_are_fused_on_the_grid_of_the_deepest():
    fusion = MultiScaleFusion(PAPER)
    teacher = [torch.randn(1, n, 16 // 2**level, 24 // 2**level) for level, n in enumerate(PAPER)]
    fused = fusion(teacher)
    assert fused.shape == (1, 3 * 1024, 4, 6)
    assert torch.equal(fused[:, 2048:], teacher[2])
    convolutions = 9 * (256 * 512 + 512 * 1024 + 512 * 1024)
    assert sum(parameter.numel() for parameter in fusion.parameters()) == convolutions + 2 * (512 + 1024 + 1024)


def test_section_3_2_the_embedding_is_half_as_fine_as_the_deepest_level():
    embedding = OneClassEmbedding(3072, 2048, 3, 0.5)
    assert embedding(torch.randn(1, 3072, 4, 6)).shape == (1, 2048, 2, 3)
    expected = n_of_block(3072, 2048) + 3072 * 2048 + 2 * 2048 + 2 * n_of_block(2048, 2048)
    assert sum(parameter.numel() for parameter in embedding.parameters()) == expected


def test_a_block_is_that_of_torchvision():
    theirs = pytest.importorskip("torchvision").models.resnet
    torch.manual_seed(0)
    ours = Bottleneck(12, 16, 8, "halve").eval()
    shortcut = torch.nn.Sequential(torch.nn.Conv2d(12, 16, 1, stride=2, bias=False), torch.nn.BatchNorm2d(16))
    block = theirs.Bottleneck(12, 4, 2, shortcut, base_width=128).eval()
    block.load_state_dict({key.replace("shortcut", "downsample"): value for key, value in ours.state_dict().items()})
    values = torch.randn(2, 12, 8, 6)
    torch.testing.assert_close(ours(values), block(values))


def test_section_3_3_the_map_is_the_sum_of_cosine_distances(net, features):
    net.eval()
    net.smoothing = 0
    expected = np.zeros((2, 24, 16))
    for teacher, student in zip(features, net(features), strict=True):
        t, s = teacher.numpy(), student.detach().numpy()
        distance = 1 - (t * s).sum(1) / np.sqrt((t**2).sum(1) * (s**2).sum(1))
        sized = functional.interpolate(
            torch.from_numpy(distance)[:, None], (24, 16), mode="bilinear", align_corners=True
        )
        expected += sized[:, 0].numpy()
    maps = net.anomaly_map(features, (24, 16)).detach().numpy()
    np.testing.assert_allclose(maps, expected, atol=1e-5)
    assert maps.min() >= 0
    assert maps.max() <= 2 * len(CHANNELS)
    np.testing.assert_allclose(net.level_maps(features, (24, 16)).sum(1).detach(), maps, atol=1e-5)


def test_the_loss_is_one_cosine_per_image_and_level_and_blind_to_scale(net, features, monkeypatch):
    students = [values + torch.randn_like(values) for values in features]
    monkeypatch.setattr(net, "forward", lambda _: [7 * values for values in students])
    for number, (teacher, student) in enumerate(zip(features, students, strict=True), start=1):
        expected = np.mean([
            1 - np.dot(t.ravel(), s.ravel()) / np.linalg.norm(t) / np.linalg.norm(s)
            for t, s in zip(teacher.numpy(), student.numpy(), strict=True)
        ])  # fmt: skip
        assert float(net.losses(features)[f"level_{number}"]) == pytest.approx(expected, rel=1e-5)
    for teacher, reconstructed in net.pairs(features):
        error = float((teacher - reconstructed).square().sum())
        for factor in (0.99, 1.01):
            assert error < float((teacher - factor * reconstructed).square().sum())


def test_a_perfect_student_costs_nothing_and_maps_to_zero(net, features, monkeypatch):
    monkeypatch.setattr(net, "forward", lambda given: [3 * values for values in given])
    assert sum(float(term) for term in net.losses(features).values()) == pytest.approx(0, abs=1e-5)
    assert float(net.anomaly_map(features, (24, 16)).abs().max()) < 1e-5
    assert all(torch.allclose(*pair, atol=1e-5) for pair in net.pairs(features))


def test_the_paper_preset_holds_the_authors_configuration():
    paper = PRESETS["paper"]
    assert (paper.image_size, paper.n_epochs, paper.batch_size, paper.smoothing) == (256, 200, 16, 4)
    assert (paper.learning_rate, paper.beta_1, paper.weight_decay, paper.clip_norm) == (5e-3, 0.5, 0, 0)
    assert {paper.rate(progress) for progress in (0, 0.5, 0.999)} == {5e-3}
    model = build_rd4ad(replace(paper, image_size=64), pretrained=False)
    assert model.backbone.channels == PAPER
    images = torch.rand(2, 3, 64, 64) * 255
    terms = model.losses(model.backbone(images))
    assert all(
        0 < float(term.detach()) < 1 for term in terms.values()
    )  # nothing learned, and neither has a negative value
    assert model.eval()(images).shape == (2, 64, 64)


def test_a_short_training_lowers_the_loss_and_repeats(fit_tiny):
    (method, log, maps), (_, _, again) = (fit_tiny(make_method, {"n_steps": "30"}) for _ in range(2))
    levels = [f"level_{number}" for number in (1, 2, 3)]
    assert sum(log[-1][level] for level in levels) < 0.8 * sum(log[0][level] for level in levels)
    assert set(method.learned) == {"a", "b"}
    np.testing.assert_array_equal(maps, again)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"image_size": "112"}, "not a multiple of the coarsest stride 32"),
        ({"n_student_blocks": "2,2"}, "one number for each of 3 levels"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, text):
    with pytest.raises(InputError, match=text):
        make_method(MethodOptions(settings=settings))


def test_official_weights_load_whole_and_give_the_features_of_their_own_code():
    peer = pytest.importorskip(
        "anomalib.models.image.reverse_distillation.components.bottleneck", reason="needs anomalib"
    )
    from anomalib.models.components.backbone.resnet_decoder import get_decoder

    torch.manual_seed(0)
    bottleneck = peer.get_bottleneck_layer("wide_resnet50_2", width_per_group=128).eval()  # as the authors call it
    decoder = get_decoder("wide_resnet50_2").eval()
    model = build_rd4ad(replace(PRESETS["paper"], image_size=64), pretrained=False).eval()
    load_official(model, {"bn": bottleneck.state_dict(), "decoder": decoder.state_dict()})
    teacher = [torch.rand(2, n, 16 // 2**level, 16 // 2**level) for level, n in enumerate(PAPER)]
    with torch.inference_mode():
        for ours, theirs in zip(model.decoder(teacher), decoder(bottleneck(teacher)), strict=True):
            torch.testing.assert_close(ours, theirs)
