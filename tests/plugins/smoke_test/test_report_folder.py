"""Report folders, on this machine and on a server with Cloud Storage's protocol."""

import json
import re

import pytest

from foreserve.smoke_test.report import ReportFolder
from tests.http_server import http_server


def test_a_report_is_a_file_that_a_browser_can_open(tmp_path):
    reports = ReportFolder(str(tmp_path / "reports"), url=None, gcp_conn_id="google_cloud_default")
    address = reports.write("churn/7/smoke test.html", "<p>é")
    assert address == f"{tmp_path.as_uri()}/reports/churn/7/smoke%20test.html"
    assert (tmp_path / "reports/churn/7/smoke test.html").read_text() == "<p>é"
    assert reports.write("churn/7/smoke test.html", "again") == address


def test_a_folder_may_be_served_somewhere(tmp_path):
    reports = ReportFolder(str(tmp_path), url="https://reports.example.com/", gcp_conn_id="google_cloud_default")
    assert reports.write("churn/7.html", "") == "https://reports.example.com/churn/7.html"


@pytest.fixture
def uploads(monkeypatch):
    """The path, the metadata and the content of each multipart upload to Cloud Storage."""
    received = []

    def answer(request):
        boundary = re.search('boundary="?([^";]+)', request.headers["Content-Type"])[1].encode()
        metadata, content = (part.split(b"\r\n\r\n", 1) for part in request.body.split(b"--" + boundary)[1:3])
        received.append((request.path, json.loads(metadata[1]), content))
        return {"name": "x", "bucket": "b"}

    google = {"conn_type": "google_cloud_platform", "extra": {"is_anonymous": True, "project": "demo"}}
    monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", json.dumps(google))
    with http_server(answer) as url:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", url)
        yield received


def test_a_report_in_cloud_storage_opens_as_a_page(uploads):
    reports = ReportFolder("gs://bucket/folder/", url=None, gcp_conn_id="google_cloud_default")
    address = reports.write("churn/7.html", "<p>é")
    assert address == "https://storage.cloud.google.com/bucket/folder/churn/7.html"
    ((path, metadata, content),) = uploads
    assert path.startswith("/upload/storage/v1/b/bucket/o?uploadType=multipart")
    assert metadata["name"] == "folder/churn/7.html"
    assert b"text/html" in content[0]
    assert content[1].rstrip(b"\r\n") == "<p>é".encode()
