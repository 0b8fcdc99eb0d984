"""A real Chromium, or a skip that says why there is none."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

NAMES = ("chromium-headless-shell", "chromium", "google-chrome", "google-chrome-stable")
TIMEOUT_MS = 20_000


# Not for the whole session: while it is open an event loop runs here, and coroutine tests need their own.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = os.environ.get("ZEDI_BROWSER") or next(filter(None, map(shutil.which, NAMES)), None)
    if not path:
        pytest.skip(
            "no Chromium on this machine: install chromium-headless-shell and a Japanese font, "
            "or name a browser with ZEDI_BROWSER"
        )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path,
            # The sandbox needs user namespaces, which containers refuse; only our own pages are opened.
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"],
        )
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def screenshots() -> Path:
    """Where pictures go, to be looked at."""
    folder = Path(__file__).parent / "screenshots"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture
def somebody(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Opens a window of its own for each person: nothing is shared, as on two machines."""
    contexts: list[BrowserContext] = []

    def open_window(locale: str = "ja-JP") -> Page:
        context = browser.new_context(
            locale=locale, viewport={"width": 1100, "height": 760}, color_scheme="light"
        )
        context.set_default_timeout(TIMEOUT_MS)
        contexts.append(context)
        return context.new_page()

    yield open_window
    for context in contexts:
        context.close()
