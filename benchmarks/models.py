"""How fast UniAS trains and maps, and what memory it takes: each measured in its own process."""

import json
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path

from tabulate import tabulate

from aseg_bench.files import written_whole

BATCHES = (1, 8, 32)
PRESETS = ("cpu", "paper")
WORKS = {
    "map": "images to maps",
    "train": "one training step on kept features",
    "train_images": "one training step with the backbone, as under augmentation",
}
_SECONDS = 10.0
_TITLES = ("preset", "work", "batch", "images per second", "peak memory of the process (MB)")


def measure(preset: str, work: str, batch: int, seconds: float = _SECONDS) -> tuple[float, float]:
    """Images per second and the peak of the process in bytes, on this machine's CPU."""
    import torch

    from aseg_bench.training.settings import OFFLINE_BACKBONE
    from uni_as import build_uni_as
    from uni_as.settings import PRESETS as NUMBERS

    torch.manual_seed(0)
    model = build_uni_as(preset, OFFLINE_BACKBONE)
    images = torch.randint(0, 255, (batch, 3, *NUMBERS[preset].size), dtype=torch.uint8)
    features = model.backbone(images)
    optimiser = torch.optim.AdamW(model.decoder.parameters(), fused=True)

    def map_images() -> None:
        with torch.inference_mode():
            model(images)

    def step(with_backbone: bool) -> None:
        optimiser.zero_grad()
        torch.stack(list(model.losses(model.backbone(images) if with_backbone else features).values())).sum().backward()  # type: ignore[no-untyped-call]
        optimiser.step()

    run: Callable[[], None] = {"map": map_images, "train": lambda: step(False), "train_images": lambda: step(True)}[
        work
    ]
    model.train(work != "map")
    run()
    count, started = 0, time.perf_counter()
    while count < 2 or time.perf_counter() - started < seconds:
        run()
        count += 1
    elapsed = time.perf_counter() - started
    return count * batch / elapsed, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0


def write_report(out: Path, quick: bool = False) -> None:
    """Measure everything, one process each, and write ``models.md`` and ``models.json``."""
    rows = []
    for preset, work, batch in product(PRESETS[:1] if quick else PRESETS, WORKS, BATCHES[:1] if quick else BATCHES):
        command = [sys.executable, "-m", "benchmarks.models", preset, work, str(batch), str(0.1 if quick else _SECONDS)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        speed, peak = json.loads(done.stdout)
        rows.append((preset, work, batch, round(speed, 1), round(peak / 1e6)))
        print(*rows[-1])
    import torch

    machine = f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    text = [
        "# UniAS: speed and memory\n",
        "Written by `make speed`.",
        f"224 x 224 images, EfficientNet-Lite0, single precision, {machine}. `paper` has C' = 256 and FFN 2048, `cpu` "
        "has 128 and 512.\n",
        *(f"- `{work}`: {meaning}" for work, meaning in WORKS.items()),
        "",
        tabulate(rows, headers=_TITLES, tablefmt="pipe"),
        "",
    ]
    with written_whole(out / "models.md") as temporary:
        temporary.write_text("\n".join(text), encoding="utf-8")
    with written_whole(out / "models.json") as temporary:
        content = {"machine": machine, "rows": [dict(zip(_TITLES, row, strict=True)) for row in rows]}
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))))
