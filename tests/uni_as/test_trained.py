import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

import uni_as
from aseg_bench.errors import InputError, TrainingError
from aseg_bench.training.tiles import Tiling
from aseg_bench.training.trained import TrainedModel
from uni_as.trained import UniAS

from .conftest import tiny


@pytest.fixture
def trained(checkpoint):
    return UniAS.from_checkpoint(checkpoint, device="cpu")


@pytest.fixture
def pictures(tmp_path):
    """A folder of three pictures of several sizes and depths."""
    folder, random = tmp_path / "pictures", np.random.default_rng(0)
    for place, shape in (("a.png", (64, 64, 3)), ("deep/b.jpg", (50, 80, 3)), ("deep/c.png", (30, 20))):
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 255, shape, dtype=np.uint8)).save(folder / place)
    (folder / "notes.txt").write_text("no picture")
    return folder


def test_a_checkpoint_gives_back_the_model_with_its_backbone(model, trained):
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    with torch.inference_mode():
        expected = model(torch.from_numpy(image).permute(2, 0, 1)[None])[0]
    np.testing.assert_allclose(trained.predict([image])[0], expected.numpy(), atol=1e-6)
    assert uni_as.UniAS is UniAS


def test_maps_have_the_size_of_their_images_whatever_they_come_in(trained):
    random = np.random.default_rng(0)
    images = [random.integers(0, 255, (*size, 3), dtype=np.uint8) for size in ((64, 64), (40, 90))]
    maps = trained.predict(images)
    assert [scores.shape for scores in maps] == [(64, 64), (40, 90)]
    assert all(scores.dtype == np.float32 and scores.min() >= 0 for scores in maps)
    (alone,) = trained.predict(images[1:])
    np.testing.assert_allclose(alone, maps[1], atol=1e-6)
    together = trained.predict(np.stack([images[0], images[0]]))
    np.testing.assert_allclose(together[1], maps[0], atol=1e-6)
    assert trained.predict([]) == []


def test_the_maps_of_the_levels_multiply_to_the_map(trained):
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    (levels,) = trained.level_maps([image])
    assert levels.shape == (4, 64, 64)
    np.testing.assert_allclose(levels.prod(0), trained.predict([image])[0], atol=1e-6)


def test_tiles_are_mapped_alone_and_joined_to_one_map_in_the_size_of_the_picture(trained):
    tiled = TrainedModel(trained.model, Tiling(64, 64, rows=2), torch.device("cpu"))
    picture = np.random.default_rng(0).integers(0, 255, (120, 64, 3), dtype=np.uint8)
    (scores,), (levels,) = tiled.predict([picture]), tiled.level_maps([picture])
    upper, lower = trained.predict([picture[:64], picture[56:]])
    np.testing.assert_allclose(scores[:56], upper[:56], atol=1e-6)
    np.testing.assert_allclose(scores[64:], lower[8:], atol=1e-6)
    share = (np.arange(8)[:, None] + 0.5) / 8
    np.testing.assert_allclose(scores[56:64], (1 - share) * upper[56:] + share * lower[:8], atol=1e-6)
    np.testing.assert_allclose(levels[:, :56], trained.level_maps([picture[:64]])[0][:, :56], atol=1e-6)
    assert [scores.shape for scores in tiled.predict([picture[:50]])] == [(50, 64)]


@pytest.mark.parametrize("changes", [{}, {"multi_level": False}, {"sample_aware": False}])
def test_all_that_a_pass_makes_lies_on_the_models_device(changes):
    model = tiny(**changes).to("meta").train()  # torch refuses to mix it with tensors of the CPU, as it would CUDA's
    images = torch.empty(2, 3, 64, 64, dtype=torch.uint8, device="meta")
    assert all(loss.is_meta for loss in model.losses(model.backbone(images)).values())
    assert model.eval()(images).is_meta


@pytest.mark.parametrize("image", [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 3)), np.zeros((0, 8, 3), np.uint8)])
def test_what_is_no_picture_is_refused_by_its_place(trained, image):
    with pytest.raises(InputError, match="image 1 has the shape"):
        trained.predict([np.zeros((8, 8, 3), np.uint8), image])


def test_checkpoints_of_other_methods_and_versions_are_refused(checkpoint, tmp_path):
    def changed(place, name, value):
        content = torch.load(checkpoint, weights_only=True)
        content[place][name] = value
        torch.save(content, tmp_path / "changed.pt")
        return tmp_path / "changed.pt"

    with pytest.raises(TrainingError, match="holds uniad, not uni_as"):
        UniAS.from_checkpoint(changed("conditions", "method", "uniad"))
    with pytest.raises(InputError, match="no method mine"):
        TrainedModel.from_checkpoint(changed("conditions", "method", "mine"))
    with pytest.raises(InputError, match="OmniAL cannot be loaded"):
        TrainedModel.from_checkpoint(changed("conditions", "method", "omnial"))
    with pytest.raises(TrainingError, match="of another version of uni_as"):
        UniAS.from_checkpoint(changed("settings", "local", "swin"))
    with pytest.raises(TrainingError, match="there is no checkpoint"):
        UniAS.from_checkpoint(tmp_path / "none.pt")


def test_predict_writes_maps_overlays_and_levels_of_any_folder(call, checkpoint, pictures, trained, tmp_path):
    out = tmp_path / "[b]" / "out[/x]"
    outcome = call("predict", pictures, "--checkpoint", checkpoint, "--out", out, "--levels", "--device", "cpu")
    assert outcome.code == 0, outcome.err
    assert outcome.out.endswith(f"maps and overlays of 3 pictures: {out}\n")
    names = {"a", "deep/b", "deep/c"}
    for folder, ending in (
        ("maps", "tiff"),
        ("overlays", "png"),
        *((f"level_{level}", "tiff") for level in range(1, 5)),
    ):
        found = {str(path.relative_to(out / folder).with_suffix("")) for path in (out / folder).rglob(f"*.{ending}")}
        assert found == names
    scores = tifffile.imread(out / "maps" / "deep" / "c.tiff")
    assert scores.shape == (30, 20)
    levels = [tifffile.imread(out / f"level_{level}" / "a.tiff") for level in range(1, 5)]
    np.testing.assert_allclose(np.prod(levels, axis=0), tifffile.imread(out / "maps" / "a.tiff"), atol=1e-6)
    assert np.asarray(Image.open(out / "overlays" / "deep" / "b.png")).shape == (50, 80, 3)


def test_predict_names_what_is_missing(call, checkpoint, tmp_path):
    (tmp_path / "empty").mkdir()
    words = ("--checkpoint", checkpoint, "--out", tmp_path / "out", "--device", "cpu")
    assert "no picture in" in call("predict", tmp_path / "empty", *words).error
    assert "there is no file or folder" in call("predict", tmp_path / "gone", *words).error
    assert "there is no checkpoint" in call("predict", tmp_path, "--checkpoint", "x.pt", "--out", tmp_path).error
