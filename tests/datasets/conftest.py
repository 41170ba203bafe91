import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def write_image():
    def write(path, size=(4, 6), value=100):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full(size, value, np.uint8)).save(path)
        return path

    return write


@pytest.fixture
def layout(tmp_path, write_image):
    """A set of two categories in the MVTec-AD layout."""
    root = tmp_path / "set"
    for category in ("nut", "bolt"):
        for stem in ("001", "000"):
            write_image(root / category / "train" / "good" / f"{stem}.png")
            write_image(root / category / "test" / "good" / f"{stem}.png")
            write_image(root / category / "test" / "scratch" / f"{stem}.png")
            write_image(root / category / "ground_truth" / "scratch" / f"{stem}_mask.png", value=255)
    return root
