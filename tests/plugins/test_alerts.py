import re

import pytest
from airflow.providers.smtp.notifications.smtp import SmtpNotifier
from pydantic import ValidationError

from foreserve.alerts import Alerts

SMTP = "airflow.providers.smtp.notifications.smtp.SmtpNotifier"


def test_a_notifier_is_made_as_configured():
    alerts = Alerts.model_validate({"on_failure": [{"notifier": SMTP, "arguments": {"to": "team@example.com"}}]})
    notifier = alerts.on_failure[0].build()
    assert (type(notifier), notifier.to) == (SmtpNotifier, "team@example.com")


@pytest.mark.parametrize(
    ("alerts", "message"),
    [
        ({"on_failure": [{"notifier": "airflow.nowhere.Notifier"}]}, "airflow.nowhere.Notifier is no notifier here"),
        ({"on_failure": [{"notifier": "Notifier"}]}, "Notifier is no notifier here"),
        ({"on_failure": [{"notifier": "datetime.timedelta"}]}, "datetime.timedelta is no notifier here"),
        ({"on_failure": [{"notifier": SMTP}]}, f"arguments do not fit {SMTP}: missing a required argument: 'to'"),
        ({"on_missed_deadline": [{"notifier": SMTP, "arguments": {"to": "x"}}]}, "needs deadline_minutes"),
        ({"deadline_minutes": 0}, "greater than 0"),
    ],
)
def test_what_cannot_alert_is_refused(alerts, message):
    with pytest.raises(ValidationError, match=re.escape(message)):
        Alerts.model_validate(alerts)


def test_a_deadline_counts_from_when_the_run_was_queued():
    mail = {"notifier": SMTP, "arguments": {"to": "team@example.com"}}
    dag, tasks = Alerts.model_validate({"on_missed_deadline": [mail], "deadline_minutes": 90}).deadline_arguments()
    (alert,) = dag["deadline"]
    assert tasks == {}
    assert alert.interval.total_seconds() == 5400
    assert alert.reference.reference_name == "DagRunQueuedAtDeadline"
    assert (alert.callback.path, alert.callback.kwargs) == (SMTP, mail["arguments"])


def test_without_a_deadline_there_is_nothing_to_miss():
    assert Alerts().deadline_arguments() == ({}, {})
