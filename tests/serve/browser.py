"""Nothing in, a headless Chromium out, and what its person would do: find, wait, press keys, look at the log."""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
LACKING = [
    name
    for name, there in (("chromium", CHROMIUM), ("chromium-driver", DRIVER), ("pip's selenium", find_spec("selenium")))
    if not there
]
FLAGS = (
    "--headless=new", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking", "--no-first-run",
    "--disable-component-update", "--no-proxy-server", "--hide-scrollbars",
)  # fmt: skip


@dataclass
class Browser:
    """A browser on a server's page; `driver` is selenium's."""

    driver: Any
    address: str
    downloads: Path

    def open(self, path: str = "/") -> None:
        self.driver.get(self.address + path)

    def all(self, css: str) -> list[Any]:
        found: list[Any] = self.driver.find_elements("css selector", css)
        return found

    def one(self, css: str) -> Any:
        return self.driver.find_element("css selector", css)

    def run(self, script: str, *values: Any) -> Any:
        return self.driver.execute_script(script, *values)

    def text(self, css: str) -> str:
        return str(self.run("return document.querySelector(arguments[0])?.textContent ?? ''", css))

    def wait(self, what: Callable[[], Any], seconds: float = 150) -> Any:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if found := what():
                return found
            time.sleep(0.05)
        raise AssertionError(f"not within {seconds} s: {self.text('main')[:2000]}")

    def press(self, *keys: str) -> None:
        """Press keys where the focus is."""
        self.driver.switch_to.active_element.send_keys(*keys)

    def choose_files(self, *paths: Path) -> None:
        self.wait(lambda: self.one("#file").is_enabled())
        self.one("#file").send_keys("\n".join(map(str, paths)))

    def drop(self, name: str, text: str) -> None:
        """Drop a file of text on the page."""
        self.run(
            "const held = new DataTransfer(); held.items.add(new File([arguments[1]], arguments[0]));"
            "document.body.dispatchEvent(new DragEvent('drop', {dataTransfer: held, bubbles: true, cancelable: true}))",
            name,
            text,
        )

    def touch(self, *steps: list[tuple[float, float]]) -> None:
        """Put fingers down, move them step by step, and lift them."""
        kinds = ["touchStart", *["touchMove"] * (len(steps) - 1)]
        for kind, fingers in [*zip(kinds, steps, strict=True), ("touchEnd", [])]:
            points = [{"x": x, "y": y, "id": finger} for finger, (x, y) in enumerate(fingers)]
            self.driver.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    def rest(self, width: int, height: int) -> None:
        """Give the page another size, in CSS pixels."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def complaints(self) -> list[str]:
        """Return the console's errors and warnings since the last call."""
        return [line["message"] for line in self.driver.get_log("browser") if line["level"] in ("SEVERE", "WARNING")]

    def hosts(self) -> set[str]:
        """Return where requests went since the last call (blob: and data: go nowhere)."""
        events = [json.loads(line["message"])["message"] for line in self.driver.get_log("performance")]
        asked = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
        return {urlsplit(url).netloc for url in asked if urlsplit(url).scheme not in ("blob", "data", "chrome")}

    def unnamed(self) -> list[Any]:
        """Return what can be worked but has no name for a screen reader."""
        nodes = self.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
        works = ("button", "link", "checkbox", "radio", "textbox", "searchbox", "slider", "combobox", "listbox")
        shown = [node for node in nodes if not node.get("ignored") and node["role"]["value"] in works]
        return [node["role"]["value"] for node in shown if not node.get("name", {}).get("value", "").strip()]


@contextmanager
def browsing(address: str, downloads: Path) -> Iterator[Browser]:
    """Open Chromium for a server; files that it downloads lie in a folder."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM or ""
    for flag in (*FLAGS, *(["--no-sandbox"] if os.geteuid() == 0 else [])):
        options.add_argument(flag)
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    downloads.mkdir(parents=True, exist_ok=True)
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    try:
        yield Browser(driver, address, downloads)
    finally:
        driver.quit()
