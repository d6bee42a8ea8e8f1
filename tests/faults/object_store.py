"""An S3 server on this machine, and a proxy before it that fails as networks and services do."""

from __future__ import annotations

import http.client
import logging
import random
import re
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.request import Request, urlopen

import s3fs
from moto.server import ThreadedMotoServer

CODES = {403: "AccessDenied", 404: "NoSuchKey", 500: "InternalError", 503: "SlowDown"}
HOP = ("transfer-encoding", "content-length", "connection", "server", "date")
"""Headers that are not passed on."""


@dataclass
class Fault:
    """A fault of some requests.

    Attributes:
        what: a code of HTTP; ``reset`` closes the connection, ``lost`` only after the request was carried out.
        share: share of the requests that fail, in [0, 1].
        methods: of the requests.
        path: regular expression that their path holds.
    """

    what: int | str
    share: float = 1.0
    methods: tuple[str, ...] = ("GET", "HEAD", "PUT", "POST", "DELETE")
    path: str = ""


@dataclass
class ObjectStore:
    """The server.

    Attributes:
        port: its port.
        proxy: port of the proxy.
        faults: what the proxy does.
        failed: number of requests that failed, by fault.
        dice: decides which.
        answers: method, path and bytes of the answer of every request that came through the proxy.
    """

    port: int
    proxy: int = 0
    faults: list[Fault] = field(default_factory=list)
    failed: Counter[int | str] = field(default_factory=Counter)
    dice: random.Random = field(default_factory=lambda: random.Random(0))
    answers: list[tuple[str, str, int]] = field(default_factory=list)

    def fault(self, method: str, path: str) -> int | str | None:
        """The fault of a request; None if there is none."""
        for fault in self.faults:
            if method in fault.methods and re.search(fault.path, path) and self.dice.random() < fault.share:
                self.failed[fault.what] += 1
                return fault.what
        return None

    def environment(self, proxy: bool = True) -> dict[str, str]:
        """Variables with which a process finds the server."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.proxy if proxy else self.port}",
            "AWS_ACCESS_KEY_ID": "a",
            "AWS_SECRET_ACCESS_KEY": "b",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            # Its own attempts, beside those of s3fs and of this program, take minutes where nothing answers.
            "AWS_MAX_ATTEMPTS": "2",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }

    def files(self) -> s3fs.S3FileSystem:
        """The server's files, without faults."""
        url = f"http://127.0.0.1:{self.port}"
        found = s3fs.S3FileSystem(key="a", secret="b", endpoint_url=url, use_listings_cache=False)
        found.invalidate_cache()
        return found

    def download(self, path: str, to: Path) -> Path:
        """Copy the files below a path into a folder."""
        files = self.files()
        for each in files.find(path):
            target = to / each.removeprefix(f"{path}/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(files.cat_file(each))
        return to

    def upload(self, folder: Path, path: str) -> None:
        """Copy the files of a folder below a path."""
        files = self.files()
        for each in sorted(folder.rglob("*")):
            if each.is_file():
                files.pipe_file(f"{path}/{each.relative_to(folder)}", each.read_bytes())


@contextmanager
def object_store() -> Iterator[ObjectStore]:
    """A server with the bucket ``bucket``, and its proxy."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    store = ObjectStore(moto.get_host_and_port()[1])
    proxy = ThreadingHTTPServer(("127.0.0.1", 0), _handler(store))
    proxy.daemon_threads = True
    store.proxy = proxy.server_address[1]
    thread = threading.Thread(target=proxy.serve_forever)
    thread.start()
    try:
        # All servers of a process have one memory.
        urlopen(Request(f"http://127.0.0.1:{store.port}/moto-api/reset", method="POST")).close()
        store.files().mkdir("bucket")
        yield store
    finally:
        proxy.shutdown()
        thread.join()
        proxy.server_close()
        moto.stop()


def _handler(store: ObjectStore) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def answer(self) -> None:
            body = self._body()
            fault = store.fault(self.command, self.path)
            if isinstance(fault, int):
                error = f'<?xml version="1.0"?><Error><Code>{CODES[fault]}</Code><Message>injected</Message></Error>'
                self._send(fault, [], error.encode())
                return
            if fault == "reset":
                self._hang_up()
                return
            status, headers, content = self._forward(body)
            if fault == "lost":
                self._hang_up()
            else:
                self._send(status, headers, content)

        do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = answer  # noqa: N815

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = b""
            while size := int(self.rfile.readline().partition(b";")[0], 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body

        def _forward(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
            connection = http.client.HTTPConnection("127.0.0.1", store.port, timeout=60)
            headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP}
            connection.request(self.command, self.path, body=body, headers=headers)
            response = connection.getresponse()
            content = response.read()
            kept = [(name, value) for name, value in response.getheaders() if name.lower() not in HOP]
            length = response.getheader("Content-Length") if self.command == "HEAD" else None
            return response.status, [*kept, ("Content-Length", length or str(len(content)))], content

        def _send(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
            self.send_response(status)
            for name, value in headers or [("Content-Length", str(len(content)))]:
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)
                store.answers.append((self.command, self.path, len(content)))

        def _hang_up(self) -> None:
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True

    return Handler
