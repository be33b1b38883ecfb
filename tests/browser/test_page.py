"""The page at `/` in a browser."""

import re
import urllib.error
import urllib.request

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.browser.refreshes import refresh, roll_back
from tests.servers import bigtable_server, service
from tests.store import Store

PHONE = {"viewport": {"width": 320, "height": 640}}
DARK = {"color_scheme": "dark"}
NOWHERE = "127.0.0.1:1"

CHAMPION = {"roc_auc": 0.815, "log_loss": 0.4021}
CANDIDATE = {"roc_auc": 0.8177, "log_loss": 0.3981}
ACCEPTED = {"accepted": True, "reasons": []}
PAYLOAD = b'{"probability":0.480,"big":12345678901234567890.123,"tags":[],"buys":{"again":false}}'
LONG_ID = "customer/" + "9" * 300


@pytest.fixture(scope="module")
def model(store):
    name = store.model("customer", name="repeat_purchase")
    refresh(store, name, {"00001": PAYLOAD, "00002": b"1"}, metrics={"candidate": CHAMPION}, gate=ACCEPTED)
    metrics = {"candidate": CANDIDATE, "champion": CHAMPION}
    changed = {"00003": PAYLOAD, LONG_ID: PAYLOAD, "00002": None}
    refresh(store, name, changed, metrics=metrics, gate=ACCEPTED, unchanged=1234)
    return name


@pytest.fixture(scope="module")
def url(store, model):
    with service(store.address) as url:
        yield url


def lookup(page, model, entity):
    page.get_by_label("Model", exact=True).select_option(model)
    page.get_by_label("Entity id").fill(entity)
    page.get_by_role("button", name="Look up").click()


def outcome(page):
    return page.get_by_role("status", name="Outcome of the lookup")


def answer(page):
    return page.get_by_role("region", name="Answer")


def fact(scope, term):
    """The description of a term."""
    return scope.locator("dl > div", has=scope.page.get_by_text(term, exact=True)).locator("dd")


def test_a_model_shows_its_active_version_quality_changes_and_smoke_test(url, open_page, model):
    card = open_page(url).get_by_role("article", name=model)
    expect(fact(card, "Age")).to_have_text(re.compile(r"^\d+ (s|min)"))
    expect(card.get_by_role("row", name="roc_auc")).to_have_text(re.compile(r"0\.8177.*0\.815.*\+0\.0027"))
    expect(card.get_by_role("row", name="log_loss")).to_have_text(re.compile(r"0\.3981.*0\.4021.*-0\.004"))
    expect(card.get_by_text("Accepted", exact=True)).to_be_visible()
    expect(card.get_by_role("paragraph").filter(has_text=re.compile("^1,236$"))).to_be_visible()
    for term, number in {"Written": "2", "Unchanged": "1,234", "Removed": "1", "p99": "6.48 ms"}.items():
        expect(fact(card, term)).to_have_text(number)
    expect(card.get_by_text("Objective: p99 at most 100 ms")).to_be_visible()


def test_the_history_has_every_version_and_its_status(url, open_page, model):
    page = open_page(url)
    page.get_by_role("article", name=model).get_by_text("Version history (2)").click()
    rows = page.get_by_role("table").filter(has_text="Smoke test p99").get_by_role("row")
    expect(rows.nth(1)).to_contain_text("active")
    expect(rows.nth(2)).to_contain_text("promoted can be rolled back to")


def test_the_history_says_who_left_a_version_and_why_and_links_to_its_run(store, url, open_page):
    name = store.model()
    refresh(store, name, {"a": b"1"})
    left = refresh(store, name, {"a": b"2"}, run="http://airflow.example/dags/refresh_m/runs/r")
    failed = store.export(name, {"a": b"3"})
    store.registry.update(name, lambda s: s.abort(failed, s.active, reason="p99 is 900 ms", now=1, task="smoke_test"))
    roll_back(store, name, "wrong prices")
    page = open_page(url)
    card = page.get_by_role("article", name=name)
    card.get_by_text("Version history (3)").click()
    rows = card.get_by_role("table", name="").filter(has_text="Smoke test p99").get_by_role("row")
    expect(rows.nth(1)).to_contain_text(str(failed))
    expect(rows.nth(1)).to_contain_text("aborted by smoke_test: p99 is 900 ms")
    expect(rows.nth(2)).to_contain_text(f"{left}")
    expect(rows.nth(2)).to_contain_text("rolled back by Ann: wrong prices")
    link = rows.nth(2).get_by_role("link", name=f"Run of {left}")
    expect(link).to_have_attribute("href", "http://airflow.example/dags/refresh_m/runs/r")
    expect(rows.nth(3).get_by_role("link")).to_have_count(0)


def test_the_versions_of_a_model_are_compared_in_charts_and_tables(store, url, open_page):
    name = store.model(max_age_hours=48)
    for psi in (0.02, 0.11):
        version = refresh(store, name, {"a": b"1"}, measures={"psi_probability": psi})
    live = {
        "outcomes": 1234,
        "first_observed_at": "2026-11-01T00:00:00+00:00",
        "last_observed_at": "2026-11-09T00:00:00+00:00",
        "metrics": {"roc_auc": 0.7, "log_loss": None},
        "held_out": {"roc_auc": 0.8},
        "calibration": [
            {"predicted": 0.05, "observed": 0.1, "outcomes": 1000},
            {"predicted": 0.9, "observed": 0.6, "outcomes": 234},
        ],
        "breaches": ["roc_auc is 0.7, below the minimum 0.75"],
    }
    store.registry.update(name, lambda state: state.note(version, live=live))
    page = open_page(url)
    card = page.get_by_role("article", name=name)
    expect(card.get_by_text("Parted")).to_be_visible()
    expect(card.get_by_text("roc_auc is 0.7, below the minimum 0.75")).to_be_visible()
    expect(card.get_by_role("row", name="roc_auc")).to_have_text(re.compile(r"0\.7.*0\.8.*-0\.1"))
    expect(card.get_by_role("row", name="log_loss")).to_have_text(re.compile("^log_loss.{3}$"))
    expect(card.get_by_text("1,234 outcomes of")).to_contain_text("from 2026-11-01 to 2026-11-09")
    expect(card.get_by_text("of at most 2 d")).to_be_visible()
    for label in (
        "Age when replaced over 1 versions; newest: age 0 s, objective 2 d",
        "Drift (population stability index) over 2 versions; newest: probability 0.11",
        "Smoke test latency over 2 versions; newest: p50 2.10 ms, p95 3.90 ms, p99 6.48 ms, objective 100.0 ms",
        "Calibration in 2 bins; predicted and observed differ by at most 0.3",
    ):
        expect(card.get_by_role("img", name=label, exact=True)).to_be_visible()
    for summary in card.get_by_text("The same data as a table").all():
        summary.focus()
        page.keyboard.press("Enter")
    expect(card.get_by_role("region", name="Calibration as a table").get_by_role("row")).to_have_count(3)
    expect(card.get_by_role("region", name="Drift (population stability index) as a table")).to_contain_text("0.02")
    results = Axe().run(page)
    assert results.violations_count == 0, results.generate_report()


def test_a_model_shows_its_description_and_an_id_to_try(store, url, open_page):
    name = store.model()
    refresh(store, name, {"customer/7": PAYLOAD}, description="Who buys again in 13 weeks?", example="customer/7")
    page = open_page(url)
    card = page.get_by_role("article", name=name)
    expect(card.get_by_text("Who buys again in 13 weeks?")).to_be_visible()
    card.get_by_role("button", name="Try customer/7").click()
    expect(outcome(page)).to_contain_text("Found")
    expect(page.get_by_label("Model", exact=True)).to_have_value(name)


def test_a_new_version_appears_by_itself_and_open_details_stay_open(store, url, open_page):
    name = store.model()
    refresh(
        store, name, {"a": b"1"}, metrics={"candidate": CANDIDATE}, gate={"accepted": False, "reasons": ["too low"]}
    )
    page = open_page(url)
    card = page.get_by_role("article", name=name)
    expect(card.get_by_text("by the quality gate: too low.")).to_be_visible()
    card.get_by_text("Version history (1)").click()
    overridden = {"accepted": True, "reasons": ["roc_auc is low"]}
    refresh(store, name, {"a": b"2"}, metrics={"candidate": CANDIDATE}, gate=overridden)
    expect(card.get_by_text("although roc_auc is low.")).to_be_visible()
    version = refresh(store, name, {"a": b"3"})
    expect(fact(card, "Number")).to_have_text(str(version))
    expect(card.get_by_text("the BigQuery model of an earlier version was used again")).to_be_visible()
    expect(card.get_by_role("table").get_by_text("can be rolled back to")).to_have_count(2)


def test_a_lookup_shows_the_answer_unchanged_and_its_timing(url, open_page, model):
    page = open_page(url)
    lookup(page, model, "00003")
    expect(outcome(page)).to_contain_text("Found")
    expect(answer(page)).to_contain_text(
        re.compile(r'^    "big": 12345678901234567890\.123,\n    "tags": \[\],$', re.MULTILINE)
    )
    expect(fact(page.locator("body"), "Measured in this browser")).to_have_text(re.compile(r"^\d+\.\d+ ms$"))
    for term in ("Time in the service", "of which Bigtable"):
        expect(fact(page.locator("body"), term)).to_have_text(re.compile(r"^\d+\.\d+ ms$"))
    page.get_by_label("Unformatted").check()
    with urllib.request.urlopen(f"{url}/v1/models/{model}/predictions/00003") as response:
        assert answer(page).text_content() == response.read().decode()


def test_a_lookup_needs_no_mouse(url, open_page, model):
    page = open_page(url)
    expect(page.get_by_role("button", name="Look up")).to_be_enabled()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the lookup")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_label("Entity id")).to_be_focused()
    page.keyboard.press("Shift+Tab")
    page.keyboard.type(model)
    page.keyboard.press("Tab")
    page.keyboard.type("00003")
    page.keyboard.press("Enter")
    expect(outcome(page)).to_contain_text("Found")
    # The button and the choice of view come next.
    for _ in range(2):
        page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")
    expect(page.get_by_label("Unformatted")).to_be_checked()
    page.keyboard.press("Tab")
    expect(answer(page)).to_be_focused()


@pytest.mark.parametrize("entity", ["00002", "never seen", "a/../b?c#d%"])
def test_an_unknown_id_is_not_shown_as_an_error(url, open_page, model, entity):
    page = open_page(url)
    lookup(page, model, entity)
    expect(outcome(page)).to_contain_text("No prediction.")
    expect(outcome(page).locator(".bad")).to_have_count(0)
    expect(answer(page)).to_contain_text('"status": 404')


def test_an_id_that_browsers_remove_from_paths_is_explained(url, open_page, model):
    page = open_page(url)
    lookup(page, model, "..")
    expect(outcome(page)).to_contain_text("use batchGet")


def test_a_service_without_models_says_so(open_page):
    with bigtable_server() as address:
        Store(address).close()
        with service(address) as url:
            page = open_page(url)
            expect(page.get_by_text("There are no models yet")).to_be_visible()
            expect(page.get_by_role("button", name="Look up")).to_be_disabled()


def test_a_registry_that_has_not_been_read_is_reported(open_page):
    with service(NOWHERE) as url:
        page = open_page(url)
        expect(page.get_by_text("The registry has not been read yet, so the models are not known")).to_be_visible()
        expect(page.get_by_text("Not ready")).to_be_visible()


def test_bigtable_stops_and_starts_again(open_page):
    with bigtable_server() as address:
        store = Store(address)
        name = store.model()
        refresh(store, name, {"a": b"1"})
        store.close()
        stack = service(address)
        url = stack.__enter__()
        page = open_page(url)
        lookup(page, name, "a")
        expect(outcome(page)).to_contain_text("Found")
    lookup(page, name, "a")
    expect(outcome(page)).to_contain_text(re.compile("Store unavailable|Deadline exceeded"))
    expect(page.get_by_text("Not ready")).to_be_visible()
    with bigtable_server(int(address.rsplit(":", 1)[1])):
        store = Store(address)
        store.model(name=name)
        refresh(store, name, {"a": b"2"})
        store.close()
        expect(page.get_by_text("Ready", exact=True)).to_be_visible()
        lookup(page, name, "a")
        expect(outcome(page)).to_contain_text("Found")
    stack.__exit__(None, None, None)


def test_a_service_that_stopped_is_reported(store, model, open_page):
    with service(store.address) as url:
        page = open_page(url)
        expect(page.get_by_role("button", name="Look up")).to_be_enabled()
    page.get_by_label("Entity id").fill("00003")
    page.get_by_role("button", name="Look up").click()
    expect(outcome(page)).to_contain_text("it cannot be reached")


def test_a_key_is_asked_for_when_one_is_needed_and_kept_in_the_tab(guarded, open_page, model):
    url, right_key = guarded
    page = open_page(url)
    key = page.get_by_label("API key")
    expect(key).to_be_focused()
    expect(page.get_by_text("The models cannot be listed. This needs an API key")).to_be_visible()
    assert Axe().run(page).violations_count == 0
    page.keyboard.type("wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_text("The key was not accepted")).to_be_visible()
    page.get_by_label("API key").fill(right_key)
    page.get_by_role("button", name="Use this key").click()
    expect(page.get_by_role("article", name=model)).to_be_visible()
    lookup(page, model, "00003")
    expect(outcome(page)).to_contain_text("Found")
    page.reload()
    expect(page.get_by_role("article", name=model)).to_be_visible()
    expect(key).to_be_hidden()
    expect(open_page(url).get_by_label("API key")).to_be_visible()


def test_no_key_is_asked_for_when_none_is_needed(url, open_page, model):
    page = open_page(url)
    expect(page.get_by_role("article", name=model)).to_be_visible()
    expect(page.get_by_label("API key")).to_be_hidden()


def traffic(url, model, lookups):
    for _ in range(lookups):
        urllib.request.urlopen(f"{url}/v1/models/{model}/predictions/00003").close()


def test_the_chart_shows_traffic(store, model, open_page):
    with service(store.address) as url:
        page = open_page(url)
        chart = page.get_by_role("img", name="Latency and rate of lookups in the last five minutes")
        expect(chart).to_have_accessible_description("No lookups in the last minute.")
        expect(chart.locator("path.p99")).to_have_attribute("d", "")
        traffic(url, model, 200)
        expect(page.get_by_text("200 lookups in the last minute, 0 failed.")).to_be_visible()
        expect(chart).to_have_accessible_description(re.compile(r"p50 [\d.]+ ms, p95 [\d.]+ ms, p99 [\d.]+ ms"))
        for percentile in ("p50", "p95", "p99"):
            expect(chart.locator(f"path.{percentile}")).to_have_attribute("d", re.compile("M"))
        page.get_by_text("The same data as a table").first.click()
        expect(page.get_by_role("row", name=re.compile("^0.1"))).to_contain_text("ms")


def test_the_chart_can_be_paused(store, model, open_page):
    with service(store.address) as url:
        page = open_page(url)
        expect(page.get_by_text("No lookups in the last minute.").first).to_be_attached()
        page.get_by_role("button", name="Pause").click()
        expect(page.get_by_role("button", name="Pause", pressed=True)).to_be_visible()
        readings = []
        page.on("request", lambda request: request.url.endswith("/metrics") and readings.append(request))
        with page.expect_response("**/v1/models"):
            # The models are still read every five seconds. The metrics would be read every two.
            pass
        assert readings == []


@pytest.mark.parametrize("options", [{}, DARK, PHONE, PHONE | DARK], ids=["desktop", "dark", "phone", "dark phone"])
def test_the_page_is_accessible(url, open_page, model, options):
    page = open_page(url, reduced_motion="reduce", **options)
    lookup(page, model, LONG_ID)
    expect(outcome(page)).to_contain_text("Found")
    for details in page.get_by_role("article", name=model).locator("summary").all():
        details.click()
    page.get_by_text("The same data as a table").first.click()
    results = Axe().run(page)
    assert results.violations_count == 0, results.generate_report()
    lookup(page, model, "never seen")
    expect(outcome(page)).to_contain_text("No prediction.")
    results = Axe().run(page)
    assert results.violations_count == 0, results.generate_report()


def test_a_phone_scrolls_in_one_direction_only(url, open_page, model):
    page = open_page(url, **PHONE)
    lookup(page, model, LONG_ID)
    expect(outcome(page)).to_contain_text("Found")
    for details in page.locator("summary").all():
        details.click()
    assert page.evaluate("document.documentElement.scrollWidth") == 320


def test_the_api_documentation_needs_nothing_from_elsewhere(url, open_page):
    page = open_page(f"{url}/docs")
    expect(page.get_by_text("/v1/models/{model}/predictions:batchGet")).to_be_visible()
    page.get_by_text("/healthz").click()
    page.get_by_role("button", name="Try it out").click()
    page.get_by_role("button", name="Execute").click()
    expect(page.get_by_text('"status": "alive"').last).to_be_visible()


def test_a_missing_file_is_answered_with_404(url):
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{url}/page/nothing.js")
