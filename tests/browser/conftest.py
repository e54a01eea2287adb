"""A real Chromium without a window, and the pages that it opens."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from office import NOW, Office, many
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.select import Select

from kt_escalation.reporting.html.page import page
from kt_escalation.reporting.overview import report

_SWITCHES = (
    *("--headless", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *(
        "--disable-component-update",
        "--disable-sync",
        "--hide-scrollbars",
        "--window-size=1200,900",
        "--force-prefers-reduced-motion",
    ),
)


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    options = ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for switch in (*_SWITCHES, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(switch)
    if os.getuid() == 0:
        # Chromium's sandbox refuses to run as root.
        options.add_argument("--no-sandbox")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = Chrome(options, Service("/usr/bin/chromedriver"))
    yield driver
    driver.quit()


@dataclass
class Tab:
    """A page that is open, and what a person does with it."""

    driver: Chrome
    path: Path

    def open(self, fragment: str = "", **media: str) -> None:
        """Load the page anew, with the user's settings such as ``prefers_color_scheme``."""
        features = [{"name": name.replace("_", "-"), "value": value} for name, value in media.items()]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": features})
        self.driver.get("about:blank")
        self.logs()
        self.driver.get(f"{self.path.as_uri()}{fragment}")

    def logs(self) -> tuple[list[str], list[str]]:
        """What the console was told and which addresses were asked for since this was last called."""
        said = [entry["message"] for entry in self.driver.get_log("browser")]
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        asked = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
        return said, [url for url in asked if url != "about:blank"]

    def find(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def run(self, script: str, *args: Any) -> Any:
        return self.driver.execute_script(script, *args)

    def texts(self, selector: str) -> list[str]:
        """The text of each such element, all at once."""
        found: list[str] = self.run(
            "return [...document.querySelectorAll(arguments[0])].map((it) => it.textContent)", selector
        )
        return found

    def search(self, words: str) -> None:
        box = self.find("#search")
        box.send_keys(Keys.CONTROL, "a")
        box.send_keys(Keys.BACKSPACE, words)

    def choose(self, box: str, option: str) -> None:
        Select(self.find(f"#{box}")).select_by_visible_text(option)

    @property
    def found(self) -> str:
        return self.find("#found").text

    def picture(self, path: Path, width: int, height: int, top: int = 0) -> None:
        """Write what stands in a part of the page, of the window's width or more."""
        clip = {"x": 0, "y": top, "width": width, "height": height, "scale": 1}
        asked = {"captureBeyondViewport": True, "clip": clip}
        path.write_bytes(
            base64.b64decode(self.driver.execute_cdp_cmd("Page.captureScreenshot", asked)["data"])
        )


@pytest.fixture(scope="session")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The page of an office at work, of one with hostile texts, and one of ten thousand escalations."""
    folder = tmp_path_factory.mktemp("pages")
    busy, hostile = Office(folder / "busy.git"), Office(folder / "hostile.git")
    busy.work(420)
    hostile.hostility()
    # In the pictures of the docs it is the store of a host.
    at_work = replace(report(busy.save(), now=NOW), store="https://git.example.com/review.git")
    reports = {"busy": at_work, "hostile": report(hostile.save(), now=NOW), "large": many(at_work, 10_000)}
    made = {}
    for name, found in reports.items():
        made[name] = folder / f"{name}.html"
        made[name].write_bytes(page(found).data)
    return made


@pytest.fixture(params=["busy"])
def tab(chromium: Chrome, pages: dict[str, Path], request: pytest.FixtureRequest) -> Iterator[Tab]:
    """A page that is open: it asks for nothing but itself, and its console stays empty, whatever is done."""
    made = Tab(chromium, pages[request.param])
    made.open()
    yield made
    said, asked = made.logs()
    assert said == []
    assert {url.partition("#")[0] for url in asked} == {made.path.as_uri()}
