"""The page "Predictions" in a real Airflow, whose users have different rights."""

import json
import os
import signal
import socket
import subprocess
import threading
import urllib.error
import urllib.request
from contextlib import suppress

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from local_stack.servers import ROOT
from tests.browser.refreshes import refresh
from tests.servers import INSTANCE, service
from tests.waiting import wait_for

BIN = ROOT / ".venvs" / "airflow" / "bin"
ENVIRONMENT = ROOT / "local_stack" / "services.env"
MODEL = "airflow_page"
USERS = {"ada": "admin", "vic": "viewer"}
OLD, NEW = b'{"probability":0.25}', b'{"probability":0.75}'


@pytest.fixture(scope="module")
def versions(store):
    store.model("customer", name=MODEL)
    gate = {"accepted": True, "reasons": []}
    refresh(store, MODEL, {"a": OLD}, metrics={"candidate": {"roc_auc": 0.8}}, gate=gate)
    metrics = {"candidate": {"roc_auc": 0.75}, "champion": {"roc_auc": 0.8}}
    refresh(store, MODEL, {"a": NEW}, metrics=metrics, gate=gate)


@pytest.fixture(scope="module")
def api(store, versions):
    with service(store.address) as url:
        yield url


@pytest.fixture(scope="module")
def airflow(store, api, tmp_path_factory):
    """The URL of an Airflow with two users, whose passwords are their names."""
    home = tmp_path_factory.mktemp("airflow")
    passwords = home / "passwords.json"
    passwords.write_text(json.dumps({name: name for name in USERS}))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    lines = (line.partition("=") for line in ENVIRONMENT.read_text().splitlines() if line[:1].isupper())
    variables = {
        **os.environ,
        **{name: value for name, _, value in lines},
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__API__BASE_URL": url,
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "False",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{name}:{role}" for name, role in USERS.items()),
        "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": "0",
        "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": "0",
        "AIRFLOW_CONN_PREDICTION_API": api,
        "BIGTABLE_EMULATOR_HOST": store.address,
        "FORESERVE_PROJECT": INSTANCE.project,
        "FORESERVE_BIGTABLE_INSTANCE": INSTANCE.instance,
    }
    log = home / "log"
    with log.open("wb") as output:
        started = subprocess.Popen(
            [BIN / "airflow", "standalone"], env=variables, stdout=output, stderr=output, start_new_session=True
        )
    try:
        wait_for(lambda: status(f"{url}/api/v2/version") == 200, seconds=120, describe=log.read_text)
        wait_for(lambda: knows_roll_back(url), seconds=120, describe=log.read_text)
        yield url
    finally:
        started.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            started.wait(30)
        with suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)


def status(url, **headers):
    """The HTTP status of a URL; 0 without an answer."""
    try:
        return urllib.request.urlopen(urllib.request.Request(url, headers=headers)).status
    except urllib.error.HTTPError as error:
        return error.code
    except urllib.error.URLError:
        return 0


def token(airflow, user):
    body = json.dumps({"username": user, "password": user}).encode()
    request = urllib.request.Request(f"{airflow}/auth/token", body, {"Content-Type": "application/json"})
    return json.load(urllib.request.urlopen(request))["access_token"]


def knows_roll_back(airflow):
    """Return True once the DAG processor has parsed the DAG that the page triggers."""
    return status(f"{airflow}/api/v2/dags/roll_back", Authorization=f"Bearer {token(airflow, 'ada')}") == 200


@pytest.fixture
def predictions(airflow, browser):
    """Signs a user in, and opens the page by Airflow's navigation; returns the frame of the page."""
    contexts = []

    def opened(user):
        contexts.append(browser.new_context())
        page = contexts[-1].new_page()
        page.goto(airflow)
        page.get_by_label("Username").fill(user)
        page.get_by_label("Password").fill(user)
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("link", name="Predictions").click()
        return page, page.frame_locator("iframe[title=Predictions]")

    yield opened
    for context in contexts:
        context.close()


@pytest.mark.parametrize("path", ["", "predictions.js", "v1/models", "page/page.css"])
def test_nothing_is_shown_without_a_login(airflow, path):
    assert status(f"{airflow}/foreserve/{path}") == 401


@pytest.mark.parametrize("path", ["page/docs.html", "page/..%2Fmetrics", "page/%2e%2e/v1/models", "metrics"])
def test_nothing_else_of_the_service_is_reachable(airflow, path):
    assert status(f"{airflow}/foreserve/{path}", Authorization=f"Bearer {token(airflow, 'vic')}") in (404, 422)


def test_a_viewer_sees_the_models_and_cannot_roll_back(predictions):
    page, frame = predictions("vic")
    card = frame.get_by_role("article", name=MODEL)
    card.get_by_text("Version history").click()
    expect(card.get_by_text("can be rolled back to")).to_be_visible()
    expect(card.get_by_role("button", name="Roll back to this version")).to_have_count(0)
    reply = page.request.post(
        page.url.split("/plugin")[0] + "/api/v2/dags/roll_back/dagRuns", data={"logical_date": None, "conf": {}}
    )
    assert reply.status == 403


def test_the_page_is_accessible_in_both_themes(predictions, airflow):
    page, _ = predictions("ada")
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.goto(f"{airflow}/foreserve/")
        page.get_by_text("Version history").first.click()
        page.get_by_role("button", name="Roll back to this version").click()
        violations = Axe().run(page)
        assert violations.violations_count == 0, violations.generate_report()


def test_an_admin_rolls_back_by_keyboard_while_lookups_are_answered(predictions, api, store):
    before = store.registry.get(MODEL)
    _, frame = predictions("ada")
    card = frame.get_by_role("article", name=MODEL)
    card.get_by_text("Version history").click()
    with lookups(f"{api}/v1/models/{MODEL}/predictions/a") as answers:
        card.get_by_role("button", name="Roll back to this version").press("Enter")
        dialog = frame.get_by_role("dialog", name=f"Roll {MODEL} back?")
        expect(dialog.get_by_role("row", name="roc_auc")).to_contain_text("0.75")
        frame.get_by_label("Reason").press("Enter")
        expect(dialog).to_be_visible()  # a reason is required
        frame.get_by_label("Reason").fill("the old one was better")
        frame.get_by_label("Reason").press("Enter")
        expect(frame.get_by_role("status").first).to_contain_text(f"{MODEL} was rolled back", timeout=60_000)
        wait_for(lambda: answers and answers[-1] == OLD)
    assert set(answers) == {NEW, OLD}
    assert answers == sorted(answers, key=[NEW, OLD].index)
    state = store.registry.get(MODEL)
    assert state.active == min(before.versions)
    recorded = json.dumps(state.versions[before.active].details)
    assert "the old one was better" in recorded
    assert '"ada"' in recorded
    card.get_by_role("button", name="Promote this version").click()
    frame.get_by_label("Reason").fill("it was right after all")
    frame.get_by_role("button", name="Promote", exact=True).click()
    expect(frame.get_by_role("status").first).to_contain_text(f"{MODEL} was promoted", timeout=60_000)
    assert store.registry.get(MODEL).active == before.active


def lookups(url):
    """Looks an entity up again and again while a `with` block lasts; yields the list of predictions."""
    return _Lookups(url)


class _Lookups(threading.Thread):
    def __init__(self, url):
        super().__init__()
        self.url, self.answers, self.stopped = url, [], threading.Event()

    def run(self):
        while not self.stopped.is_set():
            body = urllib.request.urlopen(self.url).read()
            self.answers.append(NEW if NEW in body else OLD if OLD in body else body)

    def __enter__(self):
        self.start()
        return self.answers

    def __exit__(self, *_):
        self.stopped.set()
        self.join()
