from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import tifffile
import timm
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter, uniform_filter
from scipy.spatial.distance import cdist
from sklearn.neighbors import NearestNeighbors
from torch.nn import functional

from aseg_bench.errors import InputError, TrainingError
from aseg_bench.methods import MethodOptions
from aseg_bench.records import Sample
from aseg_bench.training.checkpoints import CHECKPOINT
from baselines.patchcore import coreset, memory
from baselines.patchcore.coreset import greedy_coreset
from baselines.patchcore.memory import MemoryBank, build_patchcore, nearest_distance
from baselines.patchcore.method import PatchCore, make_method
from baselines.patchcore.settings import PRESETS, PatchCoreSettings

TINY = {"backbone": "test_efficientnet", "image_size": "64"}


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    torch.manual_seed(1)
    file = tmp_path_factory.mktemp("weights") / "tiny.pt"
    torch.save(timm.create_model("test_efficientnet").state_dict(), file)
    return MethodOptions(device="cpu", backbone_weights=file, settings=TINY, quiet=True)


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    folder, random = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    found = []
    for number in range(4):
        path = folder / f"{number}.png"
        Image.fromarray(random.integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(path)
        found.append(Sample("tiny", "ab"[number % 2], "train", "good", path.stem, path))
    return found


def made(options, samples, settings=None, **others):
    method = make_method(replace(options, settings={**TINY, **(settings or {})}, **others))
    method.fit(samples)
    return method


def maps(method, samples):
    return np.stack([anomaly_map.scores for anomaly_map in method.predict(samples)])


@pytest.mark.parametrize("offset", [0, 100])
def test_the_distance_to_the_nearest_entry_is_that_of_scipy_and_of_scikit_learn(monkeypatch, offset):
    monkeypatch.setattr(memory, "_BLOCK", 64)
    random = np.random.default_rng(0)
    patches, bank = (random.normal(size=(n, 48)).astype(np.float32) + offset for n in (50, 300))
    found = nearest_distance(torch.from_numpy(patches), torch.from_numpy(bank)).numpy()
    np.testing.assert_allclose(found, cdist(patches, bank).min(1), rtol=1e-5)
    neighbours = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(bank.astype(float))
    np.testing.assert_allclose(found, neighbours.kneighbors(patches)[0][:, 0], rtol=1e-5)


def test_an_entry_of_the_bank_lies_at_no_distance_from_itself_however_far_from_zero():
    bank = torch.randn(500, 48, generator=torch.Generator().manual_seed(0)) + 1000
    assert torch.equal(nearest_distance(bank, bank), torch.zeros(500))


@pytest.mark.parametrize(("borders", "mode"), [("zeros", "constant"), ("mirrored", "mirror")])
def test_a_neighbourhood_ends_in_zeros_as_the_authors_have_it_or_in_a_mirror(borders, mode):
    settings = replace(PRESETS["cpu"], borders=borders)
    level = torch.randn(2, 5, 7, 9, generator=torch.Generator().manual_seed(0))
    found = MemoryBank([5], (7, 9), settings).locally_aware(0, level).numpy()
    np.testing.assert_allclose(found, uniform_filter(level.numpy(), (1, 1, 3, 3), mode=mode), atol=1e-6)


def slow_k_centre(patches, first, size):
    chosen = [first]
    while len(chosen) < size:
        chosen.append(int(cdist(patches, patches[chosen]).min(1).argmax()))
    return chosen


@pytest.mark.parametrize("active", [3, 40, 1000])
def test_the_coreset_is_the_greedy_one_of_k_centre(monkeypatch, active):
    monkeypatch.setattr(coreset, "_ACTIVE", active)
    monkeypatch.setattr(coreset, "_BLOCK", 100)
    patches = np.random.default_rng(0).normal(size=(400, 6)).astype(np.float32)
    chosen = greedy_coreset(torch.from_numpy(patches), 80, seed=0).tolist()
    assert chosen == slow_k_centre(patches.astype(float), chosen[0], 80)


def test_no_patch_is_chosen_twice_even_among_equal_ones():
    chosen = greedy_coreset(torch.zeros(50, 4), 20, seed=0)
    assert len(set(chosen.tolist())) == 20
    assert sorted(greedy_coreset(torch.zeros(50, 4), 50, seed=0).tolist()) == list(range(50))


def test_a_coreset_chosen_under_projection_covers_about_as_well():
    patches = torch.randn(600, 400, generator=torch.Generator().manual_seed(0)) * torch.linspace(0.1, 2, 400)
    radius = {
        dimensions: cdist(patches, patches[greedy_coreset(patches, 60, 0, dimensions)]).min(1).max()
        for dimensions in (0, 128)
    }
    random = cdist(patches, patches[:60]).min(1).max()
    assert radius[0] <= radius[128] < random


def test_time_that_is_up_leaves_the_coreset_smaller(options, samples):
    patches = torch.randn(600, 8, generator=torch.Generator().manual_seed(0))
    assert greedy_coreset(patches, 60, seed=0, seconds=0).tolist() == greedy_coreset(patches, 1, seed=0).tolist()
    assert len(made(options, samples, max_minutes=60.0).model.decoder.banks[0]) == 26


def test_a_patch_is_the_mean_of_its_neighbourhood():
    features = torch.randn(2, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    found = MemoryBank([3], (5, 5), PatchCoreSettings(dimensions=0)).locally_aware(0, features)
    torch.testing.assert_close(found[:, :, 2, 3], features[:, :, 1:4, 2:5].mean((2, 3)))
    torch.testing.assert_close(found[:, :, 0, 0], features[:, :, :2, :2].sum((2, 3)) / 9)  # zeros beyond the border
    alone = MemoryBank([3], (5, 5), PatchCoreSettings(dimensions=0, pool=1)).locally_aware(0, features)
    assert torch.equal(alone, features)


@pytest.mark.parametrize("dimensions", [3, 4, 6, 30])
def test_dimensions_are_reduced_as_the_authors_reduce_them(dimensions):
    """Every patch as C x 3 x 3 values pooled to D in one row, then the rows of all levels side by side again."""
    levels = [torch.randn(2, n, 5, 5, generator=torch.Generator().manual_seed(n)) for n in (3, 4)]
    (found,) = MemoryBank([3, 4], (5, 5), PatchCoreSettings(dimensions=dimensions)).patches(levels)
    rows = [functional.unfold(level, 3, padding=1).transpose(1, 2).flatten(0, 1) for level in levels]
    pooled = torch.cat([functional.adaptive_avg_pool1d(row, dimensions) for row in rows], dim=1)
    torch.testing.assert_close(found, functional.adaptive_avg_pool1d(pooled, dimensions))


def test_levels_meet_on_one_grid_after_they_are_pooled():
    settings = PatchCoreSettings(levels=(4, 8, 16), stride=8, dimensions=0)
    features = [torch.randn(1, 2, side, side, generator=torch.Generator().manual_seed(0)) for side in (8, 4, 2)]
    (patches,) = MemoryBank((2, 2, 2), (4, 4), settings).patches(features)
    assert patches.shape == (16, 6)
    finest, same, _ = (functional.avg_pool2d(level, 3, 1, 1)[0] for level in features)
    torch.testing.assert_close(patches[:, 2:4], same.flatten(1).T)
    torch.testing.assert_close(patches[5, :2], finest[:, 2:4, 2:4].mean((1, 2)))


@pytest.mark.parametrize("changes", [{}, {"combination": "product"}, {"dimensions": "4"}, {"coreset": "random"}])
def test_training_images_lie_at_no_distance_from_a_bank_of_all_their_patches(options, samples, changes):
    method = made(options, samples, {"bank_share": "1", **changes})
    assert maps(method, samples).max() < 1e-4
    changed = replace(samples[0], image_path=samples[0].image_path.with_name("changed.png"))
    Image.new("RGB", (64, 64), "red").save(changed.image_path)
    assert maps(method, [changed]).min() > 1e-3


def test_a_product_multiplies_the_distances_of_one_bank_per_level(options, samples):
    both, first, second = (
        maps(made(options, samples[:2], {"coreset": "random", "stride": "64", **changes}), samples[2:])[:, 0, 0]
        for changes in ({"levels": "8,16", "combination": "product"}, {"levels": "8"}, {"levels": "16"})
    )  # one patch per image, so that nothing is interpolated
    np.testing.assert_allclose(both, first * second, rtol=1e-5)


def test_a_map_is_smoothed_as_scipy_smooths_it(options, samples):
    sharp, smooth = (maps(made(options, samples, {"smoothing": sigma}), samples)[0] for sigma in ("0", "3"))
    np.testing.assert_allclose(smooth, gaussian_filter(sharp, 3), rtol=1e-4)  # up to the border, as the authors have it


def test_the_bank_has_the_share_or_the_number_of_patches_asked_for(options, samples):
    method = made(options, samples)
    assert method.about["bank_entries"] == 26  # 10 % of 4 images of 8 x 8 patches
    assert method.about["parameters"]["trained"] == 0
    saved = method.model.state_dict().values()
    assert method.about["model_bytes"] == sum(values.nbytes for values in saved) > method.about["bank_bytes"]
    assert made(options, samples, {"bank_size": "7", "coreset": "random"}).about["bank_entries"] == 7
    about = made(options, samples, {"bank_size": "7000", "combination": "product", "levels": "8,16"}).about
    assert about["bank_entries"] == [256, 256]
    channels = sum(
        build_patchcore(PatchCoreSettings(**{**TINY, "levels": (8, 16)}), pretrained=False).backbone.channels
    )
    assert about["bank_bytes"] == 256 * channels * 4
    assert about["all_settings"]["bank_size"] == 7000


def test_tiles_fill_the_bank_as_images_do(options, samples):
    method = made(options, samples, {"tiles": "1x2", "bank_share": "1"})
    assert method.about["bank_entries"] == 2 * 4 * 64
    assert maps(method, samples).shape == (4, 64, 120)


def test_a_finished_bank_is_not_filled_again_unless_something_else_made_it(options, samples, tmp_path, monkeypatch):
    first = maps(made(options, samples, folder=tmp_path), samples)
    with monkeypatch.context() as context:
        context.setattr(PatchCore, "_banks", None)
        assert (maps(made(options, samples, folder=tmp_path), samples) == first).all()
    for changes in ({"settings": {"pool": "1"}}, {"seed": 1}):
        with pytest.raises(TrainingError, match="--overwrite to train again"):
            made(options, samples, folder=tmp_path, **changes)
    with pytest.raises(TrainingError, match="training images"):
        made(options, samples[1:], folder=tmp_path)


def test_the_command_line_maps_and_exports_with_a_kept_bank(call, options, samples, tmp_path):
    method = made(options, samples, folder=tmp_path)
    checkpoint, picture = tmp_path / CHECKPOINT, samples[0].image_path
    outcome = call("predict", picture, "--checkpoint", checkpoint, "--out", tmp_path, "--device", "cpu")
    assert outcome.code == 0, outcome.err
    expected = maps(method, samples[:1])[0]
    np.testing.assert_allclose(tifffile.imread(tmp_path / "maps" / "0.tiff"), expected, atol=1e-5)
    pytest.importorskip("onnx", reason="export needs the extra `export`")
    runtime = pytest.importorskip("onnxruntime", reason="the comparison needs onnxruntime")
    outcome = call("export", "--checkpoint", checkpoint, "--out", tmp_path / "model.onnx")
    assert outcome.code == 0, outcome.err
    session = runtime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    image = np.asarray(Image.open(picture), np.float32).transpose(2, 0, 1)
    (found,) = session.run(None, {"images": np.stack([image] * 3)})
    np.testing.assert_allclose(found, np.stack([expected] * 3), rtol=1e-3, atol=1e-4)


def test_the_paper_preset_holds_the_papers_numbers_and_the_authors_configuration():
    paper = PRESETS["paper"]
    assert (paper.backbone, paper.image_size, paper.levels) == ("wide_resnet50_2.tv_in1k", 224, (8, 16))
    assert (paper.pool, paper.dimensions, paper.projection) == (3, 1024, 128)
    assert (paper.coreset, paper.bank_share, paper.smoothing) == ("greedy", 0.1, 4)
    model = build_patchcore(paper, pretrained=False)
    assert model.backbone.channels == (512, 1024)  # layers 2 and 3
    assert model.decoder.grid == (28, 28)
    (patches,) = model.decoder.patches(model.backbone(torch.zeros(1, 3, 224, 224)))
    assert patches.shape == (784, 1024)


def test_all_that_a_pass_makes_lies_on_the_models_device(monkeypatch):
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # meta tensors know none
    settings = PatchCoreSettings(backbone="test_efficientnet", image_size=64, dimensions=8)
    model = build_patchcore(settings, pretrained=False).to("meta")
    model.decoder.fill([torch.empty(10, 8, device="meta")])
    images = torch.empty(2, 3, 64, 64, dtype=torch.uint8, device="meta")
    assert model(images).is_meta  # torch refuses to mix it with tensors of the CPU, as it would CUDA's


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"levels": ""}, "levels is empty"),
        ({"levels": "1"}, "at strides .*, not at"),
        ({"pool": "2"}, "pool 2 has no middle"),
        ({"stride": "20"}, "stride 20 is neither a multiple nor a part of level 8"),
        ({"image_size": "68"}, "not a multiple of the coarsest stride"),
        ({"bank_share": "0"}, "setting bank_share = 0"),
        ({"coreset": "best"}, "'greedy' or 'random'"),
        ({"n_steps": "10"}, "no setting n_steps"),
    ],
)
def test_settings_that_cannot_be_are_refused_by_name(options, settings, said):
    with pytest.raises(InputError, match=said):
        make_method(replace(options, settings={**TINY, **settings}))


def test_options_that_mean_nothing_to_a_bank_are_refused(options):
    with pytest.raises(InputError, match="without --devices"):
        make_method(replace(options, n_devices=2))


def test_a_bank_beyond_the_memory_allowed_is_refused_before_any_image_is_read(options, samples):
    gone = [replace(sample, image_path=sample.image_path / "gone") for sample in samples]
    with pytest.raises(InputError, match=r"256 patches .* more than memory_gib 1e-05; .*patchcore\.memory_gib=1, or"):
        made(options, gone, {"memory_gib": "1e-5"})
    with pytest.raises(InputError, match="take a smaller bank_size"):
        made(options, gone, {"memory_gib": "1e-5", "coreset": "random"})
    with pytest.raises(InputError, match="needs training images and there are none"):
        made(options, [])
