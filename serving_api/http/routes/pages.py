"""The pages for people. All that they load comes from here, which their Content-Security-Policy enforces."""

from pathlib import Path

from fastapi import APIRouter, Request, Response
from starlette.staticfiles import StaticFiles

router = APIRouter(include_in_schema=False)

_FILES = StaticFiles(directory=Path(__file__).parents[2] / "page", packages=[("fastapi_offline", "static")])

_HEADERS = {
    "Cache-Control": "no-cache",  # ask whether it has changed, so that a page and its scripts are of one release
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self' data:; "  # Swagger UI's icons
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@router.get("/")
async def page(request: Request) -> Response:
    """A page to look at the models, to look predictions up, and to see how fast that is."""
    return await file(request, "index.html")


@router.get("/docs")
async def docs(request: Request) -> Response:
    """The API, in Swagger UI."""
    return await file(request, "docs.html")


@router.get("/page/{name}")
async def file(request: Request, name: str) -> Response:
    """A file of the pages: ours, or Swagger UI's out of the package `fastapi_offline`."""
    response = await _FILES.get_response(name, request.scope)
    response.headers.update(_HEADERS)
    return response
