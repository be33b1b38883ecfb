"""The page "Predictions" in Airflow 3.1 and later: models and their versions, with buttons for decisions about them.

The page gets its data and its design from the lookup service. So the web server of Composer needs only this package and
the Airflow connection of the service. A user sees the models whose DAGs the user may read. Decisions are runs of DAGs
(`dags/decisions.py`), which the page triggers by Airflow's API. So Airflow checks the user's rights, and records the
user.
"""

from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

import httpx
from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import Depends, FastAPI, HTTPException, Response
from fastapi import Path as PathParameter
from fastapi.responses import FileResponse

from foreserve.api_auth import ApiAuth, api_url, service_connection

_DECISIONS = ("roll_back", "abort_version", "release_run")
"""The DAGs that the page triggers."""

_FOLDER = Path(__file__).parent
_TIMEOUT_SECONDS = 5.0
_HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
}
_SHARED_FILE = r"^(api|charts|dom|models)\.js$|^page\.css$|^icon\.svg$"
"""The files of the service's page that this page uses."""

app = FastAPI(title="Foreserve", docs_url=None, redoc_url=None, openapi_url=None)


class _Service:
    """The lookup service, at an address and with credentials of a connection."""

    def __init__(self, url: str, key: str | None, audience: str | None) -> None:
        auth = ApiAuth(key, audience)
        self._client = httpx.Client(base_url=url, auth=auth, timeout=_TIMEOUT_SECONDS)

    def get(self, path: str) -> httpx.Response:
        """Get a path of the service.

        Raises:
            HTTPException: 502, if the service gives no answer, or an error.
        """
        try:
            response = self._client.get(path)
        except httpx.HTTPError as error:
            raise HTTPException(502, f"the lookup service cannot be reached: {type(error).__name__} {error}") from error
        if not response.is_success:
            raise HTTPException(502, f"the lookup service answers with HTTP {response.status_code} to {path}")
        return response


_client_of = lru_cache(maxsize=1)(_Service)


def _service() -> _Service:
    """The service of the connection as it is now. Its client is kept while the connection stays as it is."""
    connection = service_connection()
    return _client_of(api_url(connection), connection.password, connection.extra_dejson.get("id_token_audience"))


ServiceDep = Annotated[_Service, Depends(_service)]


@app.get("/")
def page(_: GetUserDep) -> Response:
    """The page."""
    return FileResponse(_FOLDER / "index.html", headers=_HEADERS)


@app.get("/predictions.js")
def script(_: GetUserDep) -> Response:
    """The script of the page."""
    return FileResponse(_FOLDER / "predictions.js", headers=_HEADERS)


@app.get("/page/{name}")
def shared_file(
    _: GetUserDep, service: ServiceDep, name: Annotated[str, PathParameter(pattern=_SHARED_FILE)]
) -> Response:
    """A file of the service's own page."""
    found = service.get(f"/page/{name}")
    return Response(found.content, media_type=found.headers["content-type"], headers=_HEADERS)


@app.get("/v1/models")
def models(user: GetUserDep, service: ServiceDep) -> dict[str, Any]:
    """The models whose DAGs the user may read, as the service describes them, and which DAGs the user may trigger."""
    readable = [model for model in service.get("/v1/models").json()["models"] if _may_read(user, model["model"])]
    return {"models": readable, "may": {dag: _may_trigger(user, dag) for dag in _DECISIONS}}


def _may_read(user: Any, model: str) -> bool:
    return get_auth_manager().is_authorized_dag(method="GET", details=DagDetails(id=f"refresh_{model}"), user=user)


def _may_trigger(user: Any, dag: str) -> bool:
    return get_auth_manager().is_authorized_dag(
        method="POST", access_entity=DagAccessEntity.RUN, details=DagDetails(id=dag), user=user
    )
