"""``aseg-bench``, also as ``python -m aseg_bench``: Ctrl-C is one line even while the command line is being loaded."""

import sys


def main() -> None:
    """Load the command line and run it."""
    try:
        from aseg_bench.cli import main as command_line

        command_line()
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
