"""The command line: one command, one function; the work is done in the rooms.

A command imports its rooms when it runs, so that ``--help`` and ``--version`` wait for none of them.
"""

import errno
import sys
import warnings
from collections.abc import Callable
from concurrent.futures import BrokenExecutor
from importlib.metadata import version
from typing import Annotated

import typer
from rich.console import Console

from aseg_bench.cli.data import check_command, stats_command
from aseg_bench.cli.doctor import doctor_command
from aseg_bench.cli.lists import (
    backbones_command,
    datasets_command,
    methods_command,
    metrics_command,
    protocols_command,
    readers_command,
    thresholds_command,
)
from aseg_bench.cli.results import compare_command, published_command, report_command
from aseg_bench.cli.running import ablate_command, run_command
from aseg_bench.cli.scoring import audit_command, eval_command, merge_command
from aseg_bench.cli.sharing import leaderboard_command, pack_command, submit_command
from aseg_bench.cli.standing import gate_command, status_command, verify_command
from aseg_bench.cli.stopping import stoppable
from aseg_bench.cli.trained import export_command, predict_command
from aseg_bench.errors import AsegBenchError, how_to_install

COMMANDS: dict[Callable[..., None], str] = {
    run_command: "run --methods uni_as,uniad --dataset mvtec_ad --data-root ~/mvtec",
    eval_command: "eval dump/ --name patchcore --dataset mvtec_ad --data-root ~/mvtec",
    merge_command: "merge shards/ --out runs/eval",
    audit_command: "audit result_eval_temp/ --protocols exact,uniad,ader",
    report_command: "report runs/seed0 runs/seed1 --out runs/report",
    compare_command: "compare runs/demo --methods uni_as,uniad",
    pack_command: "pack runs/demo",
    leaderboard_command: "leaderboard runs --out site",
    submit_command: "submit mvtec_ad_2 runs/ad_2 --out submission",
    status_command: "status runs/demo",
    verify_command: "verify runs/demo",
    gate_command: "gate runs/demo --min mean:pixel_ap=0.4 --against runs/base --tolerance 0.01",
    published_command: "published --method uniad --dataset mvtec --metric pixel_ap",
    ablate_command: "ablate levels --dataset mvtec_ad --data-root ~/mvtec",
    predict_command: "predict photos/ --checkpoint checkpoint.pt --out maps",
    export_command: "export --checkpoint checkpoint.pt --out model.onnx",
    methods_command: "methods --show uni_as",
    metrics_command: "metrics",
    thresholds_command: "thresholds",
    backbones_command: "backbones",
    datasets_command: "datasets",
    readers_command: "readers",
    protocols_command: "protocols",
    check_command: "data check --dataset mvtec_ad --data-root ~/mvtec",
    stats_command: "data stats --dataset mvtec_ad --data-root ~/mvtec --out stats",
    doctor_command: "doctor --data-root ~/mvtec",
}
"""Functions of the commands, each with an example of its use."""
_GROUPS = {"data": "Look at a data set before it is used."}
"""First words of the commands that have two."""


def name_of(line: str) -> tuple[str, str]:
    """The group of a command line, empty for most, and the name of its command."""
    first, *others = line.split()
    return (first, others[0]) if first in _GROUPS else ("", first)


app = typer.Typer(
    name="aseg-bench",
    help="Benchmarks image anomaly segmentation: exact pixel metrics, live models, and the tables a paper prints.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="markdown",
)
_places = {"": app} | {name: typer.Typer(help=text, no_args_is_help=True) for name, text in _GROUPS.items()}
for _name in _GROUPS:
    app.add_typer(_places[_name], name=_name)
for _command, _example in COMMANDS.items():
    _group, _name = name_of(_example)
    _places[_group].command(_name, epilog=f"Example: `aseg-bench {_example}`")(stoppable(_command))

_IN_THE_WAY = {errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENOENT, errno.ENOTEMPTY, errno.ENAMETOOLONG}
_FULL_OR_FORBIDDEN = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO}
_TOO_MANY = {errno.EMFILE, errno.ENFILE}  # open files


def main() -> None:
    """Run the command line; a user's error is one line and exit code 2."""
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            warnings.filterwarnings("ignore", "Image size .* exceeds limit")  # Pillow's, at half of its limit
            app()
    except AsegBenchError as error:
        Console(stderr=True, soft_wrap=True, highlight=False).print("[red]error:[/red]", end=" ")
        print(error, file=sys.stderr)
        sys.exit(2)
    except ModuleNotFoundError as error:
        if error.name is None:  # not an import's
            raise
        print(f"error: this needs the package {error.name}: {how_to_install(error.name)}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        if error.errno not in _FULL_OR_FORBIDDEN | _IN_THE_WAY | _TOO_MANY | {errno.ENOMEM}:  # not a bug of ours
            raise
        mend = "; raise the limit with `ulimit -n` and run again" if error.errno in _TOO_MANY else ""
        print(f"error: {error}{mend}", file=sys.stderr)
        sys.exit(2)
    except (MemoryError, BrokenExecutor) as error:  # the latter: the system has ended a process that helps
        print(f"error: out of memory ({' '.join(str(error).split()) or type(error).__name__})", file=sys.stderr)
        sys.exit(2)


def _show_warning(message: Warning | str, *place: object, **stream: object) -> None:
    print(f"warning: {message}", file=sys.stderr)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"aseg-bench {version('aseg-bench')}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    del version
