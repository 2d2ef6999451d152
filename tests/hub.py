"""A stand-in for the Hugging Face hub: what it takes to make a dataset, look at it, and commit files to it."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit


class Hub(ThreadingHTTPServer):
    """`datasets` has the files of each by name, `private` who is hidden; `large` files go through LFS.

    `refuses` is a status that each request gets instead; `keys` are the Authorization headers that came.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.datasets: dict[str, dict[str, bytes]] = {}
        self.private: dict[str, bool] = {}
        self.commits = 0
        self.large = False
        self.refuses: int | None = None
        self.keys: set[str] = set()
        self.stored: dict[str, bytes] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def serving() -> Iterator[Hub]:
    hub = Hub()
    thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        thread.join()
        hub.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        name = path.removeprefix("/api/datasets/").removesuffix("/revision/main")
        if self._may_go_on() and name in self.server.datasets:
            siblings = [{"rfilename": file} for file in self.server.datasets[name]]
            self._send({"id": name, "private": self.server.private[name], "sha": "0" * 40, "siblings": siblings})
        else:
            self._send({"error": "Repository not found"}, 404)

    def do_PUT(self) -> None:
        data = self._body()
        self.server.stored[hashlib.sha256(data).hexdigest()] = data
        self._send({})

    def do_POST(self) -> None:
        data, path = self._body(), urlsplit(self.path).path
        if path == "/api/validate-yaml":  # which the library asks without a token
            self._send({"warnings": [], "errors": []})
            return
        if not self._may_go_on():
            return
        if path == "/api/repos/create":
            self._create(json.loads(data))
        elif "/preupload/" in path:
            mode = "lfs" if self.server.large else "regular"
            files = [
                {"path": file["path"], "uploadMode": mode, "shouldIgnore": False} for file in json.loads(data)["files"]
            ]
            self._send({"files": files})
        elif path.endswith("/info/lfs/objects/batch"):
            objects = json.loads(data)["objects"]
            action = {"upload": {"href": f"{self.server.url}/lfs"}}
            self._send({"transfer": "basic", "objects": [{**one, "actions": action} for one in objects]})
        elif "/commit/" in path:
            self._commit(path.removeprefix("/api/datasets/").partition("/commit/")[0], data)
        else:
            self._send({"error": path}, 404)

    def _create(self, asked: dict[str, Any]) -> None:
        name = f"{asked['organization'] or 'me'}/{asked['name']}"
        exists = name in self.server.datasets
        if not exists:
            self.server.datasets[name] = {}
            self.server.private[name] = asked.get("visibility") == "private" or asked.get("private") is True
        self._send({"url": f"{self.server.url}/datasets/{name}"}, 409 if exists else 200)

    def _commit(self, name: str, data: bytes) -> None:
        files = self.server.datasets[name]
        for line in map(json.loads, data.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.server.stored[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        self.server.commits += 1
        url = f"{self.server.url}/datasets/{name}/commit/{'1' * 40}"
        self._send({"success": True, "commitOid": "1" * 40, "commitUrl": url, "hookOutput": ""})

    def _may_go_on(self) -> bool:
        self.server.keys.add(self.headers.get("Authorization", ""))
        if self.server.refuses is not None:
            self._send({"error": f"no, {self.headers.get('Authorization')}"}, self.server.refuses)
        return self.server.refuses is None

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            data = b""
            while size := int(self.rfile.readline(), 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return data
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _send(self, value: Any, status: int = 200) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
