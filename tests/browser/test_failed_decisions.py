"""The page "Predictions" on answers of an Airflow that fails at a decision."""

from collections import Counter

import pytest
from playwright.sync_api import expect

from tests.repository import ROOT

ORIGIN = "http://airflow.example"
DAG = "/api/v2/dags/roll_back/dagRuns"
RUN = {"dag_run_id": "manual__1", "state": "queued"}
DAYS = ["2026-11-22T05:00:00+00:00", "2026-11-23T05:00:00+00:00", None]


def version(number):
    served = [{"since": DAYS[number - 1], "until": DAYS[number]}]
    return {
        "version": number,
        "created_at": DAYS[number - 1],
        "status": "promoted",
        "served": served,
        "details": {},
        "receipt": None,
    }


MODEL = {
    "model": "churn",
    "entity_type": "customer",
    "active_version": 2,
    "rollback_targets": [1],
    "forward_targets": [],
    "versions": [version(2), version(1)],
    "run_lease": None,
    "age_seconds": 60,
    "max_age_seconds": 3600,
}
MODELS = {"models": [MODEL], "may": {"roll_back": True}}


@pytest.fixture
def opened(browser):
    """Opens the page on answers by path: JSON, or the HTTP status of an error. A list has an answer for each call."""
    contexts = []

    def open_page(answers):
        calls = Counter()

        def answer(route):
            path = route.request.url.removeprefix(ORIGIN)
            folder, _, name = path.rpartition("/")
            files = {"/foreserve": "plugins/foreserve/page", "/foreserve/page": "serving_api/page"}
            if path not in answers and folder in files:
                return route.fulfill(path=ROOT / files[folder] / (name or "index.html"))
            found = answers[path]
            calls[path] += 1
            given = found[min(calls[path], len(found)) - 1] if isinstance(found, list) else found
            if isinstance(given, int):
                return route.fulfill(status=given, body="no")
            return route.fulfill(json=given)

        contexts.append(browser.new_context())
        page = contexts[-1].new_page()
        page.route(f"{ORIGIN}/**", answer)
        page.goto(f"{ORIGIN}/foreserve/")
        return page

    yield open_page
    for context in contexts:
        context.close()


def roll_back(page):
    """Rolls the model back by the page; returns the text about the outcome."""
    page.get_by_text("Version history").click()
    page.get_by_role("button", name="Roll back to this version").click()
    page.get_by_label("Reason").fill("odd")
    page.get_by_role("button", name="Roll back", exact=True).click()
    return page.locator("#outcome")


@pytest.mark.parametrize(
    ("failed", "outcome"),
    [
        ("roll_back", "churn was not rolled back: it is too late. Run manual__1"),
        ("confirm", "churn was rolled back, but the service does not confirm it: it is too late. Run manual__1"),
    ],
)
def test_a_failed_run_says_whether_readers_were_rolled_back(opened, failed, outcome):
    tasks = [{"task_id": "choose", "state": "success"}, {"task_id": failed, "state": "failed"}]
    page = opened(
        {
            "/foreserve/v1/models": MODELS,
            DAG: RUN,
            f"{DAG}/manual__1": {**RUN, "state": "failed"},
            f"{DAG}/manual__1/taskInstances": {"task_instances": tasks},
            f"{DAG}/manual__1/taskInstances/{failed}/xcomEntries/failure": {"value": "it is too late"},
        }
    )
    expect(roll_back(page)).to_contain_text(outcome)


def test_the_outcome_of_a_run_that_airflow_does_not_tell_is_not_known(opened):
    page = opened({"/foreserve/v1/models": MODELS, DAG: RUN, f"{DAG}/manual__1": 502})
    expect(roll_back(page)).to_contain_text("It is not known whether churn was rolled back, by run manual__1 of")


def test_a_run_that_airflow_refuses_has_no_outcome(opened):
    expect(roll_back(opened({"/foreserve/v1/models": MODELS, DAG: 403}))).to_contain_text("churn was not rolled back.")


def test_the_page_goes_on_after_an_answer_that_it_does_not_understand(opened):
    page = opened({"/foreserve/v1/models": [{"models": None}, MODELS]})
    expect(page.get_by_role("article", name="churn")).to_be_visible()
