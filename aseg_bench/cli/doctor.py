"""The command that looks at the installation."""

import json
from pathlib import Path
from typing import Annotated

import typer

from aseg_bench.cli.lists import AsJson


def doctor_command(
    data_root: Annotated[list[Path] | None, typer.Option(help="Where a data set is to lie; may be repeated.")] = None,
    as_json: AsJson = False,
) -> None:
    """Say what of the installation works, what is missing and how to mend it: exit code 1 if what all need is broken.

    Looks at packages, device, weights of backbones, cache folders, data roots, disk, memory and threads.
    """
    from aseg_bench.runs.doctor import examine

    checks = list(examine([root.expanduser() for root in data_root or ()]))
    if as_json:
        print(json.dumps([check._asdict() for check in checks], indent=2, ensure_ascii=False))
    else:
        width = max(len(check.name) for check in checks)
        for check in checks:
            mend = f"; {check.mend}" if check.mend else ""
            print(f"{check.state:<7}  {check.name:<{width}}  {check.detail}{mend}")
    if any(check.is_needed and check.state != "ok" for check in checks):
        raise typer.Exit(1)
