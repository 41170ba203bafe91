"""A headless Chromium that touches no network: the system's browser, driven by playwright."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def why_not() -> str:
    """Why no browser can be driven on this machine; empty where one can."""
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        return "the page is driven with playwright; pip install it"
    return "" if _path() else "no chromium on this machine; install the system's package chromium"


@contextmanager
def chromium() -> Iterator[Any]:
    """The browser of playwright's ``sync_api``, closed at the end."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=_path(), args=list(FLAGS))
        yield browser
        browser.close()


def _path() -> str | None:
    return next((path for name in NAMES if (path := shutil.which(name))), None)
