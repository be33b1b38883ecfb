"""An HTTP server that answers by a function: a stand-in for an API that tests cannot reach."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple


class Request(NamedTuple):
    """A request. The path has the query; names of headers may be in any case."""

    method: str
    path: str
    headers: Message
    body: bytes


@contextmanager
def http_server(answer: Callable[[Request], Any], host: str = "127.0.0.1") -> Iterator[str]:
    """Listen on a free port until the block ends; yield the URL.

    Args:
        answer: returns a document, or the status, the document and the headers of the answer. A document that is not
            `bytes` is sent as JSON. It is called in a thread of the connection.
        host: the name of this machine that the URL has.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            answered = answer(Request(self.command, self.path, self.headers, body))
            status, content, headers = answered if isinstance(answered, tuple) else (200, answered, {})
            if not isinstance(content, bytes):
                content = json.dumps(content).encode()
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_CONNECT = do_GET  # noqa: N815  http.server's names

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer((host, 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://{host}:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
