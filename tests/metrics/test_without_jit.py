import os
import subprocess
import sys

LAWS = "tests/metrics/test_laws.py"
CHOSEN = (
    "tests/metrics/test_sweep.py",
    f"{LAWS}::test_the_number_of_threads_changes_no_bit",
    f"{LAWS}::test_splitting_and_merging_changes_no_bit",
    "tests/metrics/test_region.py::test_aupro_equals_mvtecs_evaluation",
)


def test_the_kernels_run_as_plain_python():
    """Without the compiler a read out of bounds raises, and so does an overflow."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-k", "not memory", *CHOSEN],
        env=os.environ | {"NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
