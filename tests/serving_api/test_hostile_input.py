"""Requests that no honest client sends, over raw sockets: each gets one answer, which is no error of the service."""

import asyncio
import json
import sys
import unicodedata
from contextlib import suppress
from urllib.parse import quote

import pytest

from prediction_store.layout import MAX_ENTITY_ID_BYTES

pytestmark = pytest.mark.asyncio


def one_of_each_category():
    """A character of each category of Unicode, except surrogates, which UTF-8 does not encode."""
    found = {}
    for point in range(sys.maxunicode + 1):
        found.setdefault(unicodedata.category(chr(point)), chr(point))
    del found["Cs"]
    return sorted(found.values())


IDS = [
    ".",
    "..",
    "../../../etc/passwd",
    "a/b",
    "a%2Fb",
    "%",
    "\0",
    "\r\nX-Injected: 1",
    "a\u0301",
    "\u00e1",
    "\u0430",
    "\u202eabc",
    "\ufeff",
    "x" * MAX_ENTITY_ID_BYTES,
    *one_of_each_category(),
]


async def exchange(client, request):
    """Send bytes; return all that comes back until the service closes the connection or waits for more."""
    reader, writer = await asyncio.open_connection("127.0.0.1", client.base_url.port)
    answer = b""
    with suppress(TimeoutError, ConnectionError):
        async with asyncio.timeout(2):
            writer.write(request)
            while part := await reader.read(65_536):
                answer += part
    writer.close()
    return answer


async def test_every_id_is_looked_up_as_it_is(wire, serve):
    async with wire.listening() as port, serve(f"127.0.0.1:{port}") as client:
        for entity_id in IDS:
            target = quote(entity_id, safe=".")  # dots stay as they are, which clients remove
            request = f"GET /v1/models/m/predictions/{target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
            head, _, body = (await exchange(client, request.encode())).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 "), (entity_id, head)
            assert b"x-injected" not in head.lower()
            assert json.loads(body.partition(b',"version"')[0] + b"}")["entity_id"] == entity_id
            assert wire.reads[-1] == [entity_id.encode()]


GET = b"GET /v1/models/m HTTP/1.1\r\nHost: x\r\n"
POST = b"POST /v1/models/m/predictions:batchGet HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
BODY = b'{"entity_ids":["a"]}'
LAST = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
HIDDEN = b"GET /v1/nowhere HTTP/1.1\r\nHost: x\r\n\r\n"
SHAPES = {
    "a length and chunks": POST + b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    "chunks and a length": POST
    + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n5c\r\n"
    + HIDDEN
    + b"\r\n0\r\n\r\n",
    "two lengths": POST + b"Content-Length: 20\r\nContent-Length: 0\r\n\r\n" + BODY + HIDDEN,
    "a list of lengths": POST + b"Content-Length: 20, 0\r\n\r\n" + BODY,
    "a negative length": POST + b"Content-Length: -1\r\n\r\n" + BODY,
    "a length with a sign": POST + b"Content-Length: +20\r\n\r\n" + BODY,
    "a length in hex": POST + b"Content-Length: 0x14\r\n\r\n" + BODY,
    "a huge length": POST + b"Content-Length: 99999999999999999999999\r\n\r\n" + BODY,
    "an unknown coding": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    "chunked twice": POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "a coding after chunked": POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + HIDDEN,
    "a tab in the coding": POST + b"Transfer-Encoding:\tchunked\r\n\r\n0\r\n\r\n",
    "a space before the colon": POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    "a folded field": GET + b"X-A: 1\r\n Transfer-Encoding: chunked\r\n\r\n",
    "an invalid chunk": POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n" + BODY,
    "a huge chunk": POST + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n" + BODY,
    "line feeds only": GET.replace(b"\r\n", b"\n") + b"\n",
    "a bare carriage return": GET + b"X-A: 1\rX-B: 2\r\n\r\n",
    "a NUL in a field": GET + b"X-A: a\0b\r\n\r\n",
    "no host": b"GET /v1/models/m HTTP/1.1\r\n\r\n",
    "two hosts": GET + b"Host: y\r\n\r\n",
    "another host in the target": b"GET http://evil/v1/models/m HTTP/1.1\r\nHost: x\r\n\r\n",
    "an asterisk": b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
    "a tunnel": b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n",
    "HTTP/0.9": b"GET /v1/models/m\r\n\r\n",
    "HTTP/3.7": b"GET /v1/models/m HTTP/3.7\r\nHost: x\r\n\r\n",
    "HTTP/2 without asking": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "many fields": GET + b"".join(b"X-%d: 1\r\n" % n for n in range(500)) + b"\r\n",
    "a long field": GET + b"X-A: " + b"a" * 1_000_000 + b"\r\n\r\n",
    "a deadline of 400 digits": GET + b"X-Deadline-Ms: " + b"9" * 400 + b"\r\n\r\n",
    "no HTTP": bytes(range(256)),
}


@pytest.mark.parametrize("shape", SHAPES)
async def test_a_request_of_an_odd_shape_gets_no_error_and_hides_no_other(wire, serve, shape):
    async with wire.listening() as port, serve(f"127.0.0.1:{port}") as client:
        answers = await exchange(client, SHAPES[shape] + LAST)
        statuses = [line[9:12] for line in answers.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]
        assert all(status < b"500" for status in statuses)
        assert b"nowhere" not in answers
        assert b"Traceback" not in answers
        assert (await client.get("/healthz")).status_code == 200
