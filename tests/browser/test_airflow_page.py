"""The page "Predictions" in a real Airflow, whose users have different rights."""

import http.client
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from prediction_store.lifecycle import Status, now_ms
from tests.browser.airflow_server import DECISIONS, airflow
from tests.browser.refreshes import refresh
from tests.servers import service
from tests.waiting import wait_for

MODEL = "airflow_page"
OLD, NEW = b'{"probability":0.25}', b'{"probability":0.75}'
A_RUN = 300_000
"""The longest time of a run of three tasks on a busy machine, in milliseconds."""

RUN = "http://airflow.example/dags/refresh_m/runs/r"


@pytest.fixture(scope="module")
def versions(store):
    store.model("customer", name=MODEL)
    gate = {"accepted": True, "reasons": []}
    first = refresh(store, MODEL, {"a": OLD}, metrics={"candidate": {"roc_auc": 0.8}}, gate=gate, unchanged=9)
    metrics = {"candidate": {"roc_auc": 0.75}, "champion": {"roc_auc": 0.8}}
    promotion = {"previous": first, "by": "scheduled", "run_id": "r", "at": "2026-11-23T05:00:00+00:00"}
    refresh(store, MODEL, {"a": NEW}, metrics=metrics, gate=gate, unchanged=9, promotion=promotion)


@pytest.fixture(scope="module")
def api(store, versions):
    with service(store.address) as url:
        yield url


@pytest.fixture(scope="module", params=["simple", "fab"])
def server(request, store, api, tmp_path_factory):
    with airflow(request.param, store.address, api, tmp_path_factory.mktemp("airflow")) as server:
        yield server


@pytest.fixture
def predictions(server, browser):
    """Signs a user in; returns the browser's page, and the frame of the page Predictions in it."""
    contexts = []

    def opened(user):
        contexts.append(browser.new_context())
        page = contexts[-1].new_page()
        return page, server.sign_in(page, user)

    yield opened
    for context in contexts:
        context.close()


@pytest.mark.parametrize("path", ["", "predictions.js", "v1/models", "page/page.css"])
def test_nothing_is_shown_without_a_login(server, path):
    assert server.call(f"/foreserve/{path}")[0] == 401


@pytest.mark.parametrize("path", ["page/docs.html", "page/..%2Fmetrics", "page/%2e%2e/v1/models", "metrics"])
def test_nothing_else_of_the_service_is_reachable(server, path):
    assert server.call(f"/foreserve/{path}", "vic")[0] in (404, 422)


def test_a_viewer_sees_the_models_and_cannot_act(server, predictions):
    page, frame = predictions("vic")
    card = frame.get_by_role("article", name=MODEL)
    card.get_by_text("Version history").click()
    expect(card.get_by_text("can be rolled back to")).to_be_visible()
    expect(card.get_by_role("button")).to_have_count(0)
    for dag in DECISIONS:
        reply = page.request.post(f"{server.url}/api/v2/dags/{dag}/dagRuns", data={"logical_date": None, "conf": {}})
        assert reply.status == 403


def test_an_op_may_act_and_a_guest_sees_no_model(server):
    _, seen = server.call("/foreserve/v1/models", "oprah")
    assert seen["may"] == dict.fromkeys(DECISIONS, True)
    assert MODEL in [model["model"] for model in seen["models"]]
    if server.manager == "fab":
        assert server.call("/foreserve/v1/models", "gus")[1] == {"models": [], "may": dict.fromkeys(DECISIONS, False)}


def test_a_page_of_another_site_cannot_act_with_the_session_of_a_user(server, predictions):
    page, _ = predictions("ada")
    before = server.runs("roll_back")
    conf = json.dumps({"logical_date": None, "conf": {"model": MODEL}})
    # Another host name is another site, whatever the address.
    other = page.context.new_page()
    other.goto(f"{server.url.replace('127.0.0.1', 'localhost')}/api/v2/version")
    post = """async ([url, body]) => {
        const kinds = ["application/json", "text/plain"];
        const options = {method: "POST", body, credentials: "include"};
        const post = (kind) => fetch(url, {...options, headers: {"Content-Type": kind}});
        return Promise.all(kinds.map((kind) => post(kind).then((answer) => answer.status, () => "blocked")));
    }"""
    answers = other.evaluate(post, [f"{server.url}/api/v2/dags/roll_back/dagRuns", conf])
    assert answers == ["blocked", "blocked"]
    assert server.runs("roll_back") == before


def test_the_page_is_accessible_in_both_themes(predictions, server):
    page, _ = predictions("ada")
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.goto(f"{server.url}/foreserve/")
        page.get_by_text("Version history").first.click()
        page.get_by_text("The same data as a table").first.click()
        page.get_by_role("article", name=MODEL).get_by_role("button", name="Roll back to this version").click()
        violations = Axe().run(page)
        assert violations.violations_count == 0, violations.generate_report()


def test_answers_switch_without_an_error_while_a_version_is_rolled_back_and_promoted(predictions, api, store):
    before = store.registry.get(MODEL)
    _, frame = predictions("ada")
    card = frame.get_by_role("article", name=MODEL)
    card.get_by_text("Version history").click()
    with load(api, f"/v1/models/{MODEL}/predictions/a") as clients:
        card.get_by_role("button", name="Roll back to this version").press("Enter")
        dialog = frame.get_by_role("dialog", name=f"Roll {MODEL} back?")
        expect(dialog.get_by_role("row", name="roc_auc")).to_contain_text("0.75")
        expect(dialog).to_contain_text("They have had the present ones for")
        expect(dialog).to_contain_text("They had the others for")
        expect(dialog).to_contain_text("Predictions that differ: at most 1 of 10.")
        frame.get_by_label("Reason").press("Enter")
        expect(dialog).to_be_visible()  # a reason is required
        frame.get_by_label("Reason").fill("the old one was better")
        frame.get_by_label("Reason").press("Enter")
        expect(frame.get_by_role("status").first).to_contain_text(f"{MODEL} was rolled back", timeout=A_RUN)
        wait_for(lambda: all(answers[-1] == (200, OLD) for answers in clients))
        state = store.registry.get(MODEL)
        assert state.active == min(before.versions)
        recorded = json.dumps(state.versions[before.active].details)
        assert "the old one was better" in recorded
        assert '"ada"' in recorded
        card.get_by_role("button", name="Promote this version").click()
        frame.get_by_label("Reason").fill("it was right after all")
        frame.get_by_role("button", name="Promote", exact=True).click()
        expect(frame.get_by_role("status").first).to_contain_text(f"{MODEL} was promoted", timeout=A_RUN)
        wait_for(lambda: all(answers[-1] == (200, NEW) for answers in clients))
    assert store.registry.get(MODEL).active == before.active
    for answers in clients:
        changes = [answer for answer, previous in zip(answers, [None, *answers], strict=False) if answer != previous]
        assert changes == [(200, NEW), (200, OLD), (200, NEW)]


def test_a_stuck_version_is_released_and_aborted(predictions, store, server):
    model = store.model("customer", name=f"stuck_{server.manager}")
    version = store.registry.update(model, lambda state: state.open(now_ms(), RUN)).latest
    _, frame = predictions("ada")
    card = frame.get_by_role("article", name=model)
    card.get_by_text("Version history").click()
    card.get_by_role("button", name="Release its run").click()
    dialog = frame.get_by_role("dialog", name=f"Release the run of {model}?")
    expect(dialog).to_contain_text(f"The run lease of {RUN} ends")
    frame.get_by_label("Reason").fill("its Airflow is lost")
    frame.get_by_role("button", name="Release", exact=True).click()
    expect(frame.get_by_role("status").first).to_contain_text(f"{model} was released", timeout=A_RUN)
    record = store.registry.get(model).versions[version]
    assert (record.details["released"]["by"], record.details["released"]["why"]) == ("ada", "its Airflow is lost")
    expect(card.get_by_role("button", name="Release its run")).to_have_count(0)
    card.get_by_role("button", name="Abort this version").click()
    expect(frame.get_by_role("dialog")).to_contain_text("(open) ends. Readers keep none.")
    frame.get_by_label("Reason").fill("it is stuck")
    store.registry.update(model, lambda state: state.begin_export(version))  # somebody else was faster
    frame.get_by_role("button", name="Abort", exact=True).click()
    lost = f"{model} was not freed of the version: {model}: lost a race: meanwhile version {version} is exporting"
    expect(frame.get_by_role("status").first).to_contain_text(lost, timeout=A_RUN)
    assert store.registry.get(model).versions[version].status is Status.EXPORTING
    card.get_by_role("button", name="Abort this version").click()
    frame.get_by_label("Reason").fill("it is stuck")
    frame.get_by_role("button", name="Abort", exact=True).click()
    expect(card.get_by_text("aborted by ada: it is stuck")).to_be_visible(timeout=A_RUN)
    assert store.registry.get(model).versions[version].status is Status.ABORTED


def test_a_changed_connection_is_taken_up(server, api):
    try:
        server.connect("http://127.0.0.1:1")
        assert server.call("/foreserve/v1/models", "vic")[0] == 502
    finally:
        server.connect(api)
    assert server.call("/foreserve/v1/models", "vic")[0] == 200


@contextmanager
def load(url, path, clients=4):
    """Look up by several clients, one lookup after the other, while a `with` block lasts.

    Yields:
        a list for each client, of pairs of status and prediction, or of an error in place of the status.
    """
    stopped, answers = threading.Event(), [[] for _ in range(clients)]

    def look_up(mine):
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
        while not stopped.is_set():
            try:
                connection.request("GET", path)
                answer = connection.getresponse()
                body = answer.read()
                mine.append((answer.status, next((known for known in (OLD, NEW) if known in body), body)))
            except (OSError, http.client.HTTPException) as error:
                mine.append((repr(error), b""))
            stopped.wait(0.005)

    with ThreadPoolExecutor(clients) as pool:
        for mine in answers:
            pool.submit(look_up, mine)
        wait_for(lambda: all(answers))
        try:
            yield answers
        finally:
            stopped.set()
