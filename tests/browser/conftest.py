"""A browser, and the service on a Bigtable emulator. The browser must report no error and use no other server."""

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
    # Chromium's sandbox does not work for root in containers.
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
FAILED = "Failed to load resource: "
"""The start of the browser's message for an answer that is an error, or that did not arrive."""

# The time in milliseconds. The page asks every five seconds, and the machine may be busy.
expect.set_options(timeout=20_000)


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
    """Opens a URL in a new browser context. At the end, checks that it used no other server and reported no error."""
    contexts, errors, origins, requested = [], [], set(), set()

    def opened(url, **options):
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        origins.add(urlsplit(url).netloc)
        page.on("request", lambda request: requested.add(urlsplit(request.url).netloc))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda m: m.type in {"error", "warning"} and errors.append(m.text))
        page.goto(url)
        return page

    yield opened
    for context in contexts:
        context.close()
    # Data URLs have an empty origin.
    assert requested - {""} == origins
    assert [error for error in errors if not error.startswith(FAILED)] == []


@pytest.fixture(scope="session")
def guarded(store, tmp_path_factory):
    """A service with one caller: its URL, and the caller's API key."""
    new_key = [SERVICE_PYTHON, "-m", "serving_api.create_key", "--name", "browser", "--metrics"]
    made = subprocess.run(new_key, cwd=ROOT, capture_output=True, text=True, check=True)
    callers = tmp_path_factory.mktemp("access") / "callers.json"
    callers.write_text(json.dumps({"callers": [json.loads(made.stdout)]}))
    with service(store.address, SERVING_AUTH="api_keys", SERVING_CALLERS_FILE=str(callers)) as url:
        yield url, made.stderr.split()[-1]
