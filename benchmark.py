"""Writes all that is in reports/: speed of metric core, models and reports; memory, scale; intervals; the demo run."""

import shutil
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help=__doc__, no_args_is_help=True, pretty_exceptions_enable=False)


@app.callback()
def main() -> None:
    """Write all that is in reports/."""


@app.command()
def speed(
    out: Annotated[Path, typer.Option(help="Folder of the report.")] = Path("reports"),
    quick: Annotated[bool, typer.Option("--quick", help="Small maps, to try this program; no bar will hold.")] = False,
) -> None:
    """Race the metric core against its peers; write speed.md, .csv, .json and .png."""
    from benchmarks.speed import FULL, QUICK, race
    from benchmarks.speed_report import write_report

    warnings.simplefilter("ignore")  # the peers warn on every update
    write_report(out, race(QUICK if quick else FULL))
    print(f"wrote {out}/speed.md, .csv, .json and .png")


@app.command()
def models(
    out: Annotated[Path, typer.Option(help="Folder of the report.")] = Path("reports"),
    quick: Annotated[bool, typer.Option("--quick", help="One batch size, to try this program.")] = False,
) -> None:
    """Measure how fast UniAS trains and maps, and its memory, at batch 1, 8 and 32; write models.md and .json."""
    from benchmarks.models import write_report

    write_report(out, quick)
    print(f"wrote {out}/models.md and .json")


@app.command()
def report(
    out: Annotated[Path, typer.Option(help="Folder of the report.")] = Path("reports"),
    quick: Annotated[bool, typer.Option("--quick", help="A handful of images, to try this program.")] = False,
) -> None:
    """Measure `aseg-bench report` and `compare` on 1,725 images of five methods; write report.md and .json."""
    from benchmarks.report import write_report

    with tempfile.TemporaryDirectory() as work:
        write_report(out, Path(work), quick)
    print(f"wrote {out}/report.md and .json")


@app.command()
def memory(
    out: Annotated[Path, typer.Option(help="Folder of the report.")] = Path("reports"),
    quick: Annotated[bool, typer.Option("--quick", help="A handful of small maps, to try this program.")] = False,
) -> None:
    """Measure the peak memory of `aseg-bench eval` and `run` on 10 and on 150 large maps; write memory.md and .json."""
    from benchmarks.memory import write_report

    with tempfile.TemporaryDirectory() as work:
        write_report(out, Path(work), quick)
    print(f"wrote {out}/memory.md and .json")


@app.command()
def scale(
    out: Annotated[Path, typer.Option(help="Folder of the report.")] = Path("reports"),
    only: Annotated[
        list[str] | None, typer.Option(help="Measure this alone, of those that scale.md names; may be repeated.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A handful of maps, to try this program.")] = False,
) -> None:
    """Measure time, memory and traffic of up to 151,050 maps, and bounds of a million; write scale.md and .json."""
    from benchmarks.scale_report import FULL, QUICK, write_report

    names = QUICK if quick else FULL
    if unknown := [name for name in only or () if name not in names]:
        raise typer.BadParameter(f"there is no {unknown[0]}; take {', '.join(names)}", param_hint="--only")
    write_report(out, only or (), quick)
    print(f"wrote {out}/scale.md and .json")


@app.command()
def coverage(
    out: Annotated[Path, typer.Option(help="Folder of the report.")] = Path("reports"),
    quick: Annotated[bool, typer.Option("--quick", help="Few cases, to try this program.")] = False,
) -> None:
    """Simulate how often the intervals and tests of `aseg-bench compare` are right; write coverage.md."""
    from benchmarks.coverage import N_CASES, write_report

    write_report(out, 10 if quick else N_CASES)
    print(f"wrote {out}/coverage.md")


@app.command()
def claims(
    data_root: Annotated[
        list[Path] | None, typer.Option(help="Folder of categories as MVTec-AD has them; may be repeated. None: demo.")
    ] = None,
    out: Annotated[Path, typer.Option(help="The file to write.")] = Path("docs/claims.md"),
    work: Annotated[Path, typer.Option(help="Keeps runs; finished ones are not done again.")] = Path("runs/claims"),
    ablations: Annotated[bool, typer.Option(help="Tables 4 and 5 too, which take half of the time.")] = True,
    quick: Annotated[bool, typer.Option("--quick", help="Two steps of training, to try this program.")] = False,
) -> None:
    """Test the claims of the source paper on your categories, UniAS against nearest neighbours among them."""
    from benchmarks.claims import write_report

    write_report(out, work, data_root or [], ablations=ablations, quick=quick)
    print(f"wrote {out}")


@app.command()
def live(
    data_root: Annotated[
        list[Path] | None, typer.Option(help="Folder of categories as MVTec-AD has them; may be repeated. None: demo.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the report.")] = Path("reports/live"),
    work: Annotated[Path, typer.Option(help="Keeps runs; finished methods are not done again.")] = Path("runs/live"),
    preset: Annotated[str, typer.Option(help="Settings of all methods.")] = "quick",
    max_minutes: Annotated[float | None, typer.Option(help="Stop each training after this time.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Two methods, tiny images, to try this program.")] = False,
) -> None:
    """Train and score all live methods with their learning curves, and models of anomalib where it is installed."""
    from benchmarks.live import run_live

    run, drawn = run_live(work, data_root or [], preset, max_minutes, quick)
    _keep(run, out, "scores.csv", "run.json")
    weights = shutil.ignore_patterns("*.pt", "*.ckpt")
    shutil.copytree(run / "training", out / "training", ignore=weights, dirs_exist_ok=True)
    _aseg_bench("report", out)  # without maps: the page has no gallery
    if drawn:
        shutil.copy(drawn / "report" / "tables.md", out / "drawn_networks.md")


@app.command()
def paper(out: Annotated[Path, typer.Option(help="Folder of the report.")] = Path("reports")) -> None:
    """Print the source paper's tables with recomputed means, and draw the inflation of published numbers."""
    with tempfile.TemporaryDirectory() as work:
        _aseg_bench("report", "--paper", "--format", "md", "--out", work, "--quiet")
        _keep(
            Path(work),
            out / "paper",
            "tables.md",
            "figures/inflation_published_mvtec_ad.png",
            "figures/inflation_published_visa.png",
            "figures/inflation_published_summary.csv",
        )


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder of the report.")] = Path("reports"),
    run: Annotated[Path, typer.Option(help="Folder of the run; a finished one is not done again.")] = Path("runs/demo"),
) -> None:
    """Run what `make demo` runs on the embedded data set; keep scores, tables and a figure."""
    methods = ("--methods", "uni_as,uniad,patchcore", "--preset", "quick")
    _aseg_bench("run", *methods, "--dataset", "demo", "--out", run)
    report = ("report/tables.md", "report/tables.tex", "report/figures/inflation_demo.png")
    _keep(run, out / "demo", "scores.csv", "run.json", *report)


def _aseg_bench(*arguments: object) -> None:
    subprocess.run([Path(sys.executable).with_name("aseg-bench"), *map(str, arguments)], check=True)


def _keep(folder: Path, out: Path, *names: str) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for name in names:
        shutil.copy(folder / name, out)
    print(f"wrote {out}")


if __name__ == "__main__":
    app()
