"""The browser of the tests of the page: Debian's Chromium, or Playwright's own.

python -m tests.support.browser     # installs one where there is none, or says in one line how to
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

INSTALLED = ("chromium", "chromium-browser", "google-chrome")
PACKAGES = ("chromium", "fonts-dejavu-core", "libatomic1")  # the last for Playwright's own program
MISSING = (
    "no browser that Playwright can drive, so the tests of the page are skipped: "
    "apt-get update && apt-get install chromium libatomic1"
)


def find() -> str | None:
    """Where a browser lies that Playwright can drive."""
    if not _runs(sys.executable, "-m", "playwright", "--version"):
        return None  # its own program lacks a library
    found = next(filter(None, map(shutil.which, INSTALLED)), None)
    if found is not None:
        return found
    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
    return own if Path(own).is_file() else None


def is_required() -> bool:
    """CI sets it: a run that skips the page there would pass for one that has tested it."""
    return os.environ.get("KALLOS_TESTS_REQUIRE_BROWSER") == "1"


def install() -> None:
    """By apt where it may, else by Playwright's own installer. Neither is certain to work."""
    if shutil.which("apt-get") and os.geteuid() == 0:
        _runs("apt-get", "update", "-qq")
        if _runs("apt-get", "install", "-y", "-qq", "--no-install-recommends", *PACKAGES):
            return
    if _runs(sys.executable, "-m", "playwright", "install", "chromium") and not _starts():
        # Its libraries are missing, and only root may install those.
        _runs(sys.executable, "-m", "playwright", "uninstall")


def _runs(*command: str) -> bool:
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    return subprocess.run(command, env=environment, check=False, capture_output=True).returncode == 0


def _starts() -> bool:
    browser = find()
    return browser is not None and _runs(browser, "--headless", "--no-sandbox", "--dump-dom", "about:blank")


def main() -> int:
    if find() is None:
        sys.stderr.write("installing a browser for the tests of the page\n")
        install()
    if find() is not None:
        return 0
    sys.stderr.write(MISSING + "\n")
    return int(is_required())


if __name__ == "__main__":
    sys.exit(main())
