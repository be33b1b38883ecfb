"""The pages for people, as the service sends them. tests/browser tests them in a browser."""

import re

import pytest

pytestmark = pytest.mark.asyncio


@pytest.mark.parametrize("path", ["/", "/docs"])
async def test_a_page_and_its_files_come_from_the_service(wire, serve, path):
    async with wire.listening() as port, serve(f"127.0.0.1:{port}") as client:
        page = await client.get(path)
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        loaded = re.findall(r'(?:href|src)="([^"#]+)"', page.text)
        assert loaded
        for link in loaded:
            answer = await client.get(f"/{link}")
            assert answer.status_code == 200, link
            if link.startswith("page/"):
                assert answer.headers["x-content-type-options"] == "nosniff"
                assert (
                    "default-src 'none'; script-src 'self'; style-src 'self';"
                    in page.headers["content-security-policy"]
                )


async def test_a_file_is_sent_again_only_when_it_has_changed(wire, serve):
    async with wire.listening() as port, serve(f"127.0.0.1:{port}") as client:
        first = await client.get("/page/page.js")
        again = await client.get("/page/page.js", headers={"If-None-Match": first.headers["etag"]})
    assert first.headers["content-type"].split(";")[0] in {"text/javascript", "application/javascript"}
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("path", ["/page/nothing.js", "/page/..%2Fweb.py", "/page/"])
async def test_other_files_are_not_sent(wire, serve, path):
    async with wire.listening() as port, serve(f"127.0.0.1:{port}") as client:
        answer = await client.get(path)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
