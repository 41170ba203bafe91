import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.test_documents import python_of


def test_a_trained_model_is_used_as_the_document_shows(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    trained = Path("runs/demo/training/uni_as/demo")
    trained.mkdir(parents=True)
    shutil.copy(checkpoint, trained / "checkpoint.pt")
    Path("photos").mkdir()
    Image.fromarray(np.zeros((40, 50, 3), np.uint8)).save("photos/a.jpg")
    names: dict[str, list[np.ndarray]] = {}
    exec(python_of("docs/uni_as.md"), names)
    assert [scores.shape for scores in names["maps"]] == [(40, 50)]
