"""A real browser for tests: Debian's chromium, driven by Playwright.

Tests skip by name where there is none.
"""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cbt_ray.report import Page
from tests.needs import needs

if TYPE_CHECKING:
    from playwright.sync_api import Browser
    from playwright.sync_api import Page as Tab

PHONE, DESK = 390, 1280
"""Widths in pixels."""


@contextmanager
def browser() -> Iterator[Browser]:
    """Chromium without a window."""
    program = (
        shutil.which("chromium")
        or shutil.which("chromium-browser")
        or shutil.which("google-chrome")
    )
    needs("browser", program is not None and importlib.util.find_spec("playwright") is not None)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chrome = playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-gpu"]
        )
        yield chrome
        chrome.close()


def write(page: Page, folder: Path) -> Path:
    """Write a page and what lies beside it."""
    file = folder / "report.html"
    file.write_text(page.html, encoding="utf-8")
    for name, text in page.beside.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return file


@dataclass
class Visit:
    """One tab, and what went wrong or was asked for in it."""

    tab: Tab
    problems: list[str] = field(default_factory=list)
    """Console errors and warnings, exceptions."""
    requests: list[str] = field(default_factory=list)

    def of(self, selector: str) -> int:
        """How many elements a selector finds."""
        return self.tab.locator(selector).count()

    def text(self, selector: str) -> str:
        """The text of the one element that a selector finds."""
        return self.tab.locator(selector).inner_text()

    def pick(self, name: str, value: str) -> int:
        """Set a filter; how many sessions are listed then."""
        control = self.tab.locator(f".filters [name={name}]")
        if control.evaluate("node => node.tagName") == "SELECT":
            control.select_option(value)
        else:
            control.fill(value)
        return self.of(".list li")

    def heading(self) -> str:
        """Which session is open."""
        return self.tab.locator(".reader h3").inner_text()

    @property
    def hash(self) -> str:
        """The address behind the #."""
        return str(self.tab.evaluate("location.hash"))


@contextmanager
def visit(
    chrome: Browser, file: Path, width: int = DESK, address: str = "", **context: Any
) -> Iterator[Visit]:
    """Open a page from the disk."""
    place = chrome.new_context(viewport={"width": width, "height": 900}, **context)
    tab = place.new_page()
    visit_ = Visit(tab)
    tab.on(
        "console",
        lambda message: (
            visit_.problems.append(message.text) if message.type in ("error", "warning") else None
        ),
    )
    tab.on("pageerror", lambda error: visit_.problems.append(str(error)))
    tab.on("request", lambda request: visit_.requests.append(request.url))
    tab.goto(file.as_uri() + address)
    yield visit_
    place.close()


def violations(tab: Tab, *rules: str) -> list[str]:
    """What axe-core finds that is serious or critical, by these rules or all: rule, and where."""
    from axe_playwright_python.sync_playwright import Axe

    options: dict[str, Any] = {"resultTypes": ["violations"]}
    found = Axe().run(tab, options=options | ({"runOnly": rules} if rules else {})).response
    return [
        f"{one['id']}: {one['nodes'][0]['html'][:160]}"
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
    ]
