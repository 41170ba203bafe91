"""Commands that look at a data set before it is used: data check and data stats."""

import json
from pathlib import Path
from typing import Annotated

import typer

from aseg_bench.cli.lists import AsJson
from aseg_bench.cli.options import (
    BitDepth,
    Categories,
    DataRoot,
    DatasetKey,
    ImageLevel,
    MaskRuleText,
    MaxPixels,
    NormalFolder,
    Quiet,
    names_in,
    reading_in,
)


def check_command(
    dataset: DatasetKey = "demo",
    data_root: DataRoot = None,
    categories: Categories = None,
    normal_folder: NormalFolder = "good",
    bit_depth: BitDepth = 16,
    image_level: ImageLevel = False,
    mask_rule: MaskRuleText = ">0",
    max_pixels: MaxPixels = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Read every file of a data set and say what is wrong or odd, a line per finding: exit code 1 if that is a problem.

    Looks at numbers of images, damaged files, copies across training and test, sizes, and masks.
    """
    from aseg_bench.datasets.inspection import PROBLEMS, inspect
    from aseg_bench.protocols.mask_rule import own_rule

    reading = reading_in(normal_folder, bit_depth, image_level, max_pixels)
    chosen, rule = names_in("--categories", categories), own_rule(mask_rule)
    found = inspect(dataset, data_root, chosen, reading, is_anomalous=rule, quiet=quiet)
    lines = [
        {
            "severity": "problem" if finding.kind in PROBLEMS else "note",
            "kind": finding.kind,
            "category": finding.case.category or None,
            "text": finding.text,
        }
        for finding in found.findings
    ]
    if as_json:
        counted = {"dataset": dataset, "images": found.n_images, "masks": found.n_masks}
        print(json.dumps(counted | {"unchecked": found.unchecked, "findings": lines}, indent=2, ensure_ascii=False))
    else:
        for line in lines:
            print(f"{line['severity']}: {': '.join(filter(None, (line['category'], line['text'])))}")
        if not quiet:
            n_images = ", ".join(f"{n:,} of {split}" for split, n in found.n_images.items())
            counts = ((len(found.problems), "problem"), (len(lines) - len(found.problems), "note"))
            print(f"checked: images ({n_images}) and {found.n_masks:,} masks, every file decoded")
            for text in found.unchecked:
                print(f"not checked: {text}")
            print(", ".join(f"{n} {what}{'' if n == 1 else 's'}" for n, what in counts))
    if found.problems:
        raise typer.Exit(1)


def stats_command(
    dataset: DatasetKey = "demo",
    data_root: DataRoot = None,
    categories: Categories = None,
    normal_folder: NormalFolder = "good",
    bit_depth: BitDepth = 16,
    image_level: ImageLevel = False,
    mask_rule: MaskRuleText = ">0",
    max_pixels: MaxPixels = None,
    out: Annotated[Path | None, typer.Option(help="Folder for tables, CSV and the figure.")] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Count the images of a data set, and measure its Anomaly Rate in each definition and the areas of its defects."""
    from aseg_bench.cli.printing import print_report
    from aseg_bench.reporting.data_stats import stats_report

    reading = reading_in(normal_folder, bit_depth, image_level, max_pixels)
    chosen = names_in("--categories", categories)
    made = stats_report(dataset, data_root, chosen, reading, mask_rule=mask_rule, out=out, quiet=quiet)
    if as_json:
        print(json.dumps(made.facts, indent=2, ensure_ascii=False))
    elif not quiet:
        print_report(made.tables, (), made.paths)
