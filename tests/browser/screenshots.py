"""Makes the pictures in the documents: `make screenshots`. Pytest collects this module only by its name."""

import base64
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from playwright.sync_api import expect

from local_stack.servers import ROOT
from prediction_store.lifecycle import now_ms
from tests.browser.airflow_server import airflow
from tests.browser.refreshes import SMOKE_TEST, refresh
from tests.servers import service

MODEL = "repeat_purchase"
LARGEST = 100_000  # bytes of a picture
DAY = 86_400_000
HELD_OUT = {"roc_auc": 0.8177, "log_loss": 0.3981, "accuracy": 0.8302}


def _at(milliseconds):
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="seconds")


@pytest.fixture(scope="module")
def versions(store):
    """Five weekly versions, of which the last is active and the one before has live metrics."""
    store.model("customer", name=MODEL, max_age_hours=216)
    start = now_ms() - 30 * DAY
    numbers = [start + week * 7 * DAY for week in range(5)]
    for week, number in enumerate(numbers):
        promotion = {
            "previous": numbers[week - 1] if week else None,
            "by": "scheduled",
            "run_id": "r",
            "at": _at(number),
        }
        refresh(
            store,
            MODEL,
            {f"{entity:05}": b'{"probability":0.5}' for entity in range(90 + week)},
            metrics={"candidate": HELD_OUT, "champion": {name: value - 0.004 for name, value in HELD_OUT.items()}},
            gate={"accepted": True, "reasons": []},
            unchanged=23_000,
            now=number,
            description="The probability that a customer buys again in the next 13 weeks.",
            promotion=promotion,
            measures={"psi_probability": 0.02 + 0.015 * week, "predictions": 23_000},
            smoke_test=SMOKE_TEST | {"p50_ms": 2.1 + week / 9, "p95_ms": 3.9 + week / 4, "p99_ms": 6.5 + week / 2},
        )
    live = {
        "at": _at(numbers[4]),
        "outcomes": 22_871,
        "first_observed_at": _at(numbers[2]),
        "last_observed_at": _at(numbers[3]),
        "metrics": {name: value - 0.013 for name, value in HELD_OUT.items()},
        "held_out": HELD_OUT,
        "calibration": [
            {"predicted": 0.05 + 0.1 * n, "observed": 0.03 + 0.1 * n + 0.02 * (n % 3), "outcomes": 2287}
            for n in range(10)
        ],
        "breaches": [],
    }
    store.registry.update(MODEL, lambda state: state.note(numbers[3], live=live))
    served = tuple((number, number) for number in numbers)
    store.registry.update(MODEL, lambda state: replace(state, served=served))


@pytest.fixture
def capture(browser):
    """Opens a page of this size, and returns it with a function that writes what it shows as a picture in docs/."""
    contexts = []

    def opened(width, height):
        contexts.append(browser.new_context(viewport={"width": width, "height": height}))
        page = contexts[-1].new_page()
        session = contexts[-1].new_cdp_session(page)

        def write(name):
            # Playwright itself writes PNG and JPEG, which are larger.
            taken = session.send("Page.captureScreenshot", {"format": "webp", "quality": 70})
            picture = base64.b64decode(taken["data"])
            assert len(picture) < LARGEST, f"{name} has {len(picture)} bytes"
            (ROOT / "docs" / name).write_bytes(picture)

        return page, write

    yield opened
    for context in contexts:
        context.close()


def test_the_page_of_the_service(store, versions, capture):
    with service(store.address) as url:
        page, write = capture(1100, 1250)
        page.goto(url)
        expect(page.get_by_text("Live quality")).to_be_visible()
        page.get_by_role("article", name=MODEL).scroll_into_view_if_needed()
        page.evaluate("scrollTo(0, document.querySelector('#models').offsetTop - 8)")
        write("service-page.webp")


def test_the_page_in_airflow(store, versions, capture, tmp_path):
    with service(store.address) as api, airflow("simple", store.address, api, tmp_path) as server:
        page, write = capture(1200, 800)
        frame = server.sign_in(page, "ada")
        card = frame.get_by_role("article", name=MODEL)
        card.get_by_text("Version history").click()
        card.get_by_role("button", name="Roll back to this version").first.click()
        frame.get_by_label("Reason").fill("prices were wrong from Monday on")
        write("airflow-page.webp")
