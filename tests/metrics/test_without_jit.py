import os
import subprocess
import sys

FILES = ("tests/metrics/test_sweep.py", "tests/metrics/test_pixel.py", "tests/metrics/test_laws.py")
CHOSEN = "not memory and not oracle and not alone and not turning and not image_twice"


def test_the_kernels_run_as_plain_python():
    """Without the compiler a read out of bounds raises, and so does an overflow."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *FILES, "-k", CHOSEN],
        env=os.environ | {"NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
