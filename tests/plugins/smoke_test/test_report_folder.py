"""Report folders, on this machine and on a server with Cloud Storage's protocol."""

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from foreserve.smoke_test.report import ReportFolder


def test_a_report_is_a_file_that_a_browser_can_open(tmp_path):
    reports = ReportFolder(str(tmp_path / "reports"), url=None, gcp_conn_id="google_cloud_default")
    address = reports.write("churn/7/smoke test.html", "<p>é")
    assert address == f"{tmp_path.as_uri()}/reports/churn/7/smoke%20test.html"
    assert (tmp_path / "reports/churn/7/smoke test.html").read_text() == "<p>é"
    assert reports.write("churn/7/smoke test.html", "again") == address


def test_a_folder_may_be_served_somewhere(tmp_path):
    reports = ReportFolder(str(tmp_path), url="https://reports.example.com/", gcp_conn_id="google_cloud_default")
    assert reports.write("churn/7.html", "") == "https://reports.example.com/churn/7.html"


class CloudStorage(BaseHTTPRequestHandler):
    """Accepts multipart uploads."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        boundary = re.search('boundary="?([^";]+)', self.headers["Content-Type"])[1].encode()
        metadata, content = (part.split(b"\r\n\r\n", 1) for part in body.split(b"--" + boundary)[1:3])
        self.server.uploads.append((self.path, json.loads(metadata[1]), content))
        answer = json.dumps({"name": "x", "bucket": "b"}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


@pytest.fixture
def cloud_storage(monkeypatch):
    with ThreadingHTTPServer(("127.0.0.1", 0), CloudStorage) as server:
        server.uploads = []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        google = {"conn_type": "google_cloud_platform", "extra": {"is_anonymous": True, "project": "demo"}}
        monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", json.dumps(google))
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{server.server_address[1]}")
        yield server.uploads
        server.shutdown()


def test_a_report_in_cloud_storage_opens_as_a_page(cloud_storage):
    reports = ReportFolder("gs://bucket/folder/", url=None, gcp_conn_id="google_cloud_default")
    address = reports.write("churn/7.html", "<p>é")
    assert address == "https://storage.cloud.google.com/bucket/folder/churn/7.html"
    ((path, metadata, content),) = cloud_storage
    assert path.startswith("/upload/storage/v1/b/bucket/o?uploadType=multipart")
    assert metadata["name"] == "folder/churn/7.html"
    assert b"text/html" in content[0]
    assert content[1].rstrip(b"\r\n") == "<p>é".encode()
