"""Pages in Chromium, cut off from every network."""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--hide-scrollbars", "--disable-dev-shm-usage", "--host-resolver-rules=MAP * ~NOTFOUND",
)  # fmt: skip
STATES = "return [...document.querySelectorAll('.chart')].map(c => c.dataset.state || '')"
HARMLESS = "because spec has discrete height"  # the status matrix fits its width only


@dataclass
class Browser:
    """A page in Chromium."""

    driver: Any

    def open(self, page: Path, width: int = 1400, theme: str = "light") -> float:
        """Open a page at a width; the seconds until all of its charts are drawn."""
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        scheme = {"name": "prefers-color-scheme", "value": theme}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        started = time.perf_counter()
        self.driver.get(page.as_uri())
        opened = time.perf_counter() - started
        self.wait(lambda: all(state == "drawn" for state in self.run(STATES)), "charts")
        return opened

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def wait(self, condition: Any, what: str, seconds: float = 60.0) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"{what}: {self.run(STATES)}"
            time.sleep(0.05)

    def change(self, figure: str, label: str, value: str | None) -> None:
        """Choose in a menu, move a slider, or click a checkbox (no value), as a user would."""
        found = self.run(
            """
            const label = [...document.querySelectorAll(`#${arguments[0]} .inputs label`)]
              .find(l => l.textContent.trim().startsWith(arguments[1]));
            const input = label.control;
            if (arguments[2] === null) { input.click(); return input.type; }
            if (input.tagName === 'SELECT') {
              input.selectedIndex = [...input.options].findIndex(o => o.text === arguments[2]);
            } else input.value = arguments[2];
            for (const kind of ['input', 'change'])
              input.dispatchEvent(new Event(kind, {bubbles: true}));
            return input.type;
            """,
            figure,
            label,
            value,
        )
        assert found
        time.sleep(0.3)

    def complaints(self) -> list[str]:
        found = [entry["message"] for entry in self.driver.get_log("browser")]
        return [message for message in found if HARMLESS not in message]


@contextmanager
def chromium(profile: Path) -> Iterator[Browser]:
    """A browser with a profile of its own; skips, or fails if there has to be one."""
    program, driver = (shutil.which(name) for name in ("chromium", "chromedriver"))
    if not (program and driver):
        if os.environ.get("MEANFIELD_NEED_BROWSER") == "1":
            pytest.fail("there is no chromium or chromedriver, and MEANFIELD_NEED_BROWSER is 1")
        pytest.skip("no chromium and chromedriver here")
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    options = Options()
    options.binary_location = program
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    opened = webdriver.Chrome(options=options, service=Service(driver))
    try:
        yield Browser(opened)
    finally:
        opened.quit()
