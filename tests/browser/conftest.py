"""The service as a process, on a real Bigtable, and a real browser that must not complain or look elsewhere."""

import json
import shutil
import subprocess
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect, sync_playwright

from local_stack.servers import ROOT
from tests.servers import SERVICE_PYTHON, service
from tests.store import store

__all__ = ["store"]

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",  # root, in containers
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
FAILED = "Failed to load resource: "  # what the browser says of every answer that is an error, or never came

expect.set_options(timeout=20_000)  # milliseconds: the page asks every five seconds, on a machine that may be busy


@pytest.fixture(scope="session")
def browser():
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    assert path, f"none of {', '.join(BROWSERS)} is installed"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser):
    """Opens a URL in a browser context of its own, which at the end must have asked no one else and found no error."""
    contexts, complaints, origins, asked = [], [], set(), set()

    def opened(url, **options):
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        origins.add(urlsplit(url).netloc)
        page.on("request", lambda request: asked.add(urlsplit(request.url).netloc))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda m: m.type in {"error", "warning"} and complaints.append(m.text))
        page.goto(url)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert asked - {""} == origins  # "": data URLs
    assert [complaint for complaint in complaints if not complaint.startswith(FAILED)] == []


@pytest.fixture(scope="session")
def guarded(store, tmp_path_factory):
    """A service that lets one caller in: its URL, and the caller's key."""
    new_key = [SERVICE_PYTHON, "-m", "serving_api.create_key", "--name", "browser", "--metrics"]
    made = subprocess.run(new_key, cwd=ROOT, capture_output=True, text=True, check=True)
    callers = tmp_path_factory.mktemp("access") / "callers.json"
    callers.write_text(json.dumps({"callers": [json.loads(made.stdout)]}))
    with service(store.address, SERVING_AUTH="api_keys", SERVING_CALLERS_FILE=str(callers)) as url:
        yield url, made.stderr.split()[-1]
