"""A server that answers chats and hands out files, and that tells everybody what it was told, its key included."""

import base64
import html
import itertools
import json
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ANSWER = "I am sorry to hear that. Please ask a doctor or a pharmacist."


class Echoing(ThreadingHTTPServer):
    """`fails` is the status that chats get instead of an answer; `files` are handed out by path.

    `answer` is what each chat's answer begins with, `said` what each error begins with; with `repeats` an
    answer goes on with what an error says.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.fails: int | None = None
        self.told: set[str] = set()
        self.count = itertools.count()
        self.answer = ANSWER
        self.said = ""
        self.repeats = False

    def handle_error(self, *_: object) -> None:
        """Say nothing of clients that have seen enough."""

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Echoing
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = urllib.parse.urlsplit(self.path).path
        if path in self.server.files:
            self._send(200, self.server.files[path])
        elif path.endswith("/models"):
            self._send(200, json.dumps({"data": [{"id": "m", "max_model_len": 4096}]}).encode())
        else:
            self._send(404, self._echo())

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.told.add(self.headers.get("Authorization", ""))
        if self.server.fails is not None:
            self._send(self.server.fails, self._echo())
        else:
            answer = _answer(body, f"{self.server.answer} {next(self.server.count)}")
            if self.server.repeats:
                answer["choices"][0]["message"]["content"] += self._echo().decode()
            self._send(200, json.dumps(answer).encode())

    def _echo(self) -> bytes:
        """Return an error that repeats the request's address and header in every way there is."""
        header = self.headers.get("Authorization", "")
        key = header.partition(" ")[2]
        if header.startswith("Basic "):
            key = base64.b64decode(key).decode()
        said = [self.server.said, header, key, key.partition(":")[2], f"http://{self.server.host}{self.path}"]
        said += [urllib.parse.quote(key, safe=""), html.escape(key), base64.b64encode(key.encode()).decode()]
        return json.dumps({"error": {"message": " ".join(said), "headers": dict(self.headers)}}).encode()

    def _send(self, status: int, data: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _answer(body: dict[str, Any], content: str) -> dict[str, Any]:
    choice: dict[str, Any] = {
        "message": {"role": "assistant", "content": content},
        "finish_reason": "stop",
    }
    if body.get("logprobs"):
        top = [{"token": token, "logprob": -0.7, "bytes": list(token.encode())} for token in ("A", "B", "Yes", "No")]
        choice |= {"finish_reason": "length", "logprobs": {"content": [{**top[0], "top_logprobs": top}]}}
    return {"choices": [choice], "usage": {"prompt_tokens": 5, "completion_tokens": 3}}


@contextmanager
def echoing() -> Iterator[Echoing]:
    """Serve while the block runs."""
    server = Echoing()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
