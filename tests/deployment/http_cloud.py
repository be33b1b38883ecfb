"""Google's HTTP APIs as far as a deployment calls them, as a proxy for HTTP on this machine.

Clients reach it by the variable http_proxy, and find the APIs at http:// addresses (the overrides of gcloud). So the
real gcloud runs against it, and so do the requests that the deployment itself sends.
"""

import base64
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, quote, unquote, urlsplit

MODELS = {"models": [{"model": "repeat_purchase"}]}
IDENTITY_TOKEN = ".".join(
    base64.urlsafe_b64encode(part).decode().rstrip("=") for part in (b'{"alg":"none"}', b'{"exp":4102444800}', b"-")
)
REPOSITORY = "projects/shop-predictions/locations/europe-west1/repositories/foreserve"


class HttpCloud:
    """The state of a project, and the server in front of it.

    Attributes:
        registry: returns the digests of images, by package and tag.
        packages: versions of the packages of the Airflow environment.
        objects: contents of the bucket, by name.
        service: the service on Cloud Run.
        failed: the value of the query for errors; None: few enough.
        slow: the value of the query for latency; None: fast enough.
        queries: all queries of metrics.
        projections: the parts of objects' metadata that were asked for.
        datasets: the datasets of BigQuery.
        rows: the file that was loaded last.
        service_status: the status of the service's answers.
        refusals: pairs of a pattern of "METHOD HOST/PATH" and the status of the refusal.
        requests: all requests as "METHOD HOST/PATH".
    """

    def __init__(self):
        self.failed = self.slow = None
        self.queries = []
        self.projections = set()
        self.service_status = 200
        self.content_type = "application/json"
        self.refusals = []
        self.requests = []
        self.registry = dict
        self.packages = {}
        self.datasets = set()
        self.load = self.rows = None
        self.objects = {}
        self.times = {}
        self.service = _service("us-docker.pkg.dev/cloudrun/container/hello")
        self.lock = threading.RLock()
        cloud = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                with cloud.lock:
                    status, answer, headers = cloud.answer(self.command, urlsplit(self.path), self.headers, body)
                content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(status)
                for name, value in {"content-type": cloud.content_type, **headers}.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

            do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = do_GET  # noqa: N815  the names are those of the base class

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def environment(self):
        """Return the variables by which clients reach this server."""
        overrides = {
            f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{api.upper()}": f"http://{api}.googleapis.com/"
            for api in ("artifactregistry", "bigquery", "composer", "monitoring", "run", "serviceusage", "storage")
        }
        return {"http_proxy": self.address, "no_proxy": "127.0.0.1", **overrides}

    def answer(self, method, url, headers, body):
        """Return status, body and headers of an answer."""
        request = f"{method} {url.hostname or 'bigquery.googleapis.com'}{unquote(url.path)}"  # only bq uses no proxy
        self.requests.append(request)
        for pattern, status in self.refusals:
            if re.search(pattern, request):
                return status, {"error": {"code": status, "message": f"refused: {request}"}}, {}
        for pattern, name in ROUTES.items():
            if found := re.fullmatch(pattern, request):
                return getattr(self, name)(*found.groups(), query=parse_qs(url.query), headers=headers, body=body)
        return 404, {"error": {"code": 404, "message": f"no such address: {request}"}}, {}

    def token(self, **_):
        tokens = {"access_token": "an-access-token", "id_token": IDENTITY_TOKEN}
        return 200, {**tokens, "expires_in": 3600, "token_type": "Bearer"}, {}

    def query_metrics(self, *, body, **_):
        self.queries.append(json.loads(body)["query"])
        value = self.slow if "histogram_quantile" in self.queries[-1] else self.failed
        series = [{"metric": {}, "value": [1764528000.1, str(value)]}] if value else []
        return 200, {"status": "success", "data": {"resultType": "vector", "result": series}}, {}

    def lookups(self, path, *, headers, **_):
        if headers["authorization"] != f"Bearer {IDENTITY_TOKEN}":
            return 403, b"<html>Your client does not have permission</html>", {"content-type": "text/html"}
        if self.service_status != 200:
            return self.service_status, {"title": "refused by the service"}, {}
        return (200, MODELS, {}) if path == "/v1/models" else (404, {"title": "no prediction"}, {})

    # Cloud Run, as the API of Knative that gcloud calls

    def read_service(self, **_):
        return 200, self.service, {}

    def replace_service(self, *, body, **_):
        """Make a revision if the template changed. The answer is not ready yet, so that gcloud waits."""
        before, service = self.service, json.loads(body)
        revision = before["status"]["latestCreatedRevisionName"]
        if service["spec"]["template"]["spec"] != before["spec"]["template"]["spec"]:
            revision = f"api-{int(revision[-5:]) + 1:05}"
        traffic = [
            {"revisionName": revision if target.get("latestRevision") else target["revisionName"]}
            | {key: value for key, value in target.items() if key in ("percent", "tag")}
            | ({"url": f"http://{target['tag']}---api.example"} if target.get("tag") else {})
            for target in service["spec"]["traffic"]
        ]
        service["metadata"]["generation"] = before["metadata"]["generation"] + 1
        service["metadata"].setdefault("annotations", {})["run.googleapis.com/operation-id"] = "one"
        service["status"] = before["status"] | {
            "observedGeneration": service["metadata"]["generation"],
            "latestCreatedRevisionName": revision,
            "latestReadyRevisionName": revision,
            "traffic": traffic,
        }
        self.service = service
        unknown = [{"type": "Ready", "status": "Unknown"}]
        return 200, service | {"status": service["status"] | {"conditions": unknown}}, {}

    def wait_for_operation(self, **_):
        kind = "type.googleapis.com/google.cloud.run.v1.Service"
        return 200, {"name": "one", "done": True, "response": {"@type": kind, **self.service}}, {}

    def enabled(self, **_):
        return 200, {"state": "ENABLED"}, {}

    def enable(self, **_):
        return 200, {"name": "operations/enable", "done": True, "response": {}}, {}

    # Artifact Registry

    def repository(self, **_):
        return 200, {"name": REPOSITORY, "format": "DOCKER"}, {}

    def list_images(self, **_):
        listed = [
            {"name": f"{REPOSITORY}/dockerImages/x", "uri": f"{package}@{digest}", "tags": [tag]}
            for package, tags in self.registry().items()
            for tag, digest in tags.items()
        ]
        return 200, {"dockerImages": listed}, {}

    # Composer

    def environment_of_airflow(self, **_):
        software = {"imageVersion": "composer-3-airflow-3.3.1-build.10"}
        config = {"softwareConfig": software, "airflowUri": "https://airflow.example"}
        return 200, {"name": "e", "state": "RUNNING", "config": config}, {}

    def execute(self, **_):
        return 200, {"executionId": "1", "pod": "p", "podNamespace": "n"}, {}

    def poll(self, **_):
        rows = ["Package Version", "------- -------", *(" ".join(row) for row in self.packages.items())]
        output = [{"lineNumber": number, "content": row} for number, row in enumerate(rows, 1)]
        return 200, {"output": output, "outputEnd": True, "exitInfo": {"exitCode": 0}}, {}

    # BigQuery

    def make_dataset(self, *, body, **_):
        self.datasets.add(json.loads(body)["datasetReference"]["datasetId"])
        return 200, json.loads(body), {}

    def read_dataset(self, name, **_):
        return (200, {"datasetReference": {"datasetId": name}}, {}) if name in self.datasets else _absent(name)

    def drop_dataset(self, name, **_):
        self.datasets.remove(name)
        return 204, b"", {}

    def start_load(self, *, body, **_):
        self.load = json.loads(body)
        return 200, {}, {"location": f"{self.address}/upload/rows"}

    def load_rows(self, *, body, **_):
        self.rows = body
        done = {"id": "p:EU.load", "jobReference": {"projectId": "p", "jobId": "load"}, "status": {"state": "DONE"}}
        return 200, self.load | done, {}

    # Cloud Storage

    def bucket(self, name, **_):
        return 200, {"kind": "storage#bucket", "name": name, "location": "EU", "storageClass": "STANDARD"}, {}

    def list_objects(self, _, *, query, **__):
        self.projections |= set(query.get("projection", []))
        prefix = query.get("prefix", [""])[0]
        items = [self.metadata(name) for name in sorted(self.objects) if name.startswith(prefix)]
        return 200, {"kind": "storage#objects", "items": items}, {}

    def object(self, _, name, *, query, **__):
        if name not in self.objects:
            return 404, {"error": {"code": 404, "message": f"No such object: {name}"}}, {}
        if query.get("alt") == ["media"]:
            return 200, self.objects[name], {"content-type": "application/octet-stream"}
        return 200, self.metadata(name), {}

    def layout(self, _, **__):
        return 200, {"kind": "storage#storageLayout", "hierarchicalNamespace": {"enabled": False}}, {}

    def managed_folders(self, _, **__):
        return 200, {"kind": "storage#managedFolders", "items": []}, {}

    def delete_bucket(self, _, **__):
        return 204, b"", {}

    def delete_object(self, _, name, **__):
        del self.objects[name]
        return 204, b"", {}

    def upload(self, _, *, query, body, **__):
        """Store an object whose metadata and content are the two parts of the body."""
        boundary = body.partition(b"\n")[0]
        metadata, content = (part.partition(b"\n\n")[2].removesuffix(b"\n") for part in body.split(boundary)[1:3])
        described = json.loads(metadata)
        name = described.get("name") or query["name"][0]
        self.objects[name] = content
        self.times[name] = described.get("metadata", {})
        return 200, self.metadata(name), {}

    def metadata(self, name):
        return _metadata(name, self.objects[name]) | {"metadata": self.times.get(name, {})}


def _absent(name):
    message = f"Not found: {name}"
    return 404, {"error": {"code": 404, "message": message, "errors": [{"reason": "notFound", "message": message}]}}, {}


def _service(image):
    """Return the service as Terraform leaves it."""
    containers = [{"image": "a-collector"}, {"image": image, "name": "api", "ports": [{"containerPort": 8080}]}]
    return {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": {"name": "api", "namespace": "1", "generation": 1, "resourceVersion": "r", "annotations": {}},
        "spec": {
            "template": {"metadata": {"annotations": {}}, "spec": {"containers": containers}},
            "traffic": [{"percent": 100, "latestRevision": True}],
        },
        "status": {
            "observedGeneration": 1,
            "conditions": [{"type": "Ready", "status": "True"}],
            "latestCreatedRevisionName": "api-00001",
            "latestReadyRevisionName": "api-00001",
            "traffic": [{"revisionName": "api-00001", "percent": 100, "latestRevision": True}],
            "url": "http://api.example",
        },
    }


def _metadata(name, content):
    return {
        "kind": "storage#object",
        "name": name,
        "bucket": "europe-west1-b",
        "size": str(len(content)),
        "generation": "1",
        "metageneration": "1",
        "storageClass": "STANDARD",
        "mediaLink": f"http://storage.googleapis.com/download/storage/v1/b/b/o/{quote(name, '')}?alt=media",
        "timeCreated": "2026-11-30T12:00:00.000Z",
        "updated": "2026-11-30T12:00:00.000Z",
        "md5Hash": base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode(),
    }


ROUTES = {
    r"POST oauth2\.example/token": "token",
    r"POST monitoring\.googleapis\.com/v1/projects/[^/]+/location/global/prometheus/api/v1/query": "query_metrics",
    r"GET (?:next---)?api\.example(/.*)": "lookups",
    r"GET .*run\.googleapis\.com/apis/serving.knative.dev/v1/namespaces/[^/]+/services/[^/]+": "read_service",
    r"PUT .*run\.googleapis\.com/apis/serving.knative.dev/v1/namespaces/[^/]+/services/[^/]+": "replace_service",
    r"POST .*run\.googleapis\.com/v1/projects/[^/]+/locations/[^/]+/operations/one:wait": "wait_for_operation",
    r"GET artifactregistry\.googleapis\.com/v1/projects/[^/]+/locations/[^/]+/repositories/foreserve": "repository",
    r"GET artifactregistry\.googleapis\.com/v1/.+/dockerImages": "list_images",
    r"GET composer\.googleapis\.com/v1/.+/environments/foreserve": "environment_of_airflow",
    r"POST composer\.googleapis\.com/v1/.+:executeAirflowCommand": "execute",
    r"POST composer\.googleapis\.com/v1/.+:pollAirflowCommand": "poll",
    r"GET serviceusage\.googleapis\.com/v1/projects/[^/]+/services/[^/]+": "enabled",
    r"POST serviceusage\.googleapis\.com/v1/projects/[^/]+/services:batchEnable": "enable",
    r"POST bigquery\.googleapis\.com/bigquery/v2/projects/[^/]+/datasets": "make_dataset",
    r"GET bigquery\.googleapis\.com/bigquery/v2/projects/[^/]+/datasets/([^/]+)": "read_dataset",
    r"DELETE bigquery\.googleapis\.com/bigquery/v2/projects/[^/]+/datasets/([^/]+)": "drop_dataset",
    r"POST bigquery\.googleapis\.com/upload/bigquery/v2/projects/[^/]+/jobs": "start_load",
    r"PUT bigquery\.googleapis\.com/upload/rows": "load_rows",
    r"GET storage\.googleapis\.com/storage/v1/b/([^/]+)": "bucket",
    r"GET storage\.googleapis\.com/storage/v1/b/([^/]+)/storageLayout": "layout",
    r"GET storage\.googleapis\.com/storage/v1/b/([^/]+)/managedFolders": "managed_folders",
    r"DELETE storage\.googleapis\.com/storage/v1/b/([^/]+)": "delete_bucket",
    r"GET storage\.googleapis\.com/storage/v1/b/([^/]+)/o": "list_objects",
    r"GET storage\.googleapis\.com/(?:download/)?storage/v1/b/([^/]+)/o/(.+)": "object",
    r"DELETE storage\.googleapis\.com/storage/v1/b/([^/]+)/o/(.+)": "delete_object",
    r"POST storage\.googleapis\.com/upload/storage/v1/b/([^/]+)/o": "upload",
}
