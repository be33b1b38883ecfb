"""Pages for people. They load nothing from other servers, as their Content-Security-Policy enforces."""

from pathlib import Path

from fastapi import APIRouter, Request, Response
from starlette.staticfiles import StaticFiles

router = APIRouter(include_in_schema=False)

_FILES = StaticFiles(directory=Path(__file__).parents[2] / "page", packages=[("fastapi_offline", "static")])

_HEADERS = {
    # The browser asks for changes each time, so that a page and its scripts are of the same release.
    "Cache-Control": "no-cache",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        # Swagger UI's icons are data URLs.
        "img-src 'self' data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@router.get("/")
async def page(request: Request) -> Response:
    """The page with the models, a form to look predictions up, and the latency of lookups."""
    return await file(request, "index.html")


@router.get("/docs")
async def docs(request: Request) -> Response:
    """The OpenAPI document in Swagger UI."""
    return await file(request, "docs.html")


@router.get("/page/{name}")
async def file(request: Request, name: str) -> Response:
    """A file of the pages: of the folder `page`, or Swagger UI's of the package `fastapi_offline`."""
    response = await _FILES.get_response(name, request.scope)
    response.headers.update(_HEADERS)
    return response
