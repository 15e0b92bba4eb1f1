"""Loading from a hub: a local server answers as the hub does, and keeps a list of what it was asked for."""

import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
import time

import pytest

from crosscheck.models import configs

SCRIPT = """
import sys
from crosscheck.models import build
from crosscheck.errors import CrosscheckError
try:
    name, folder = build.locate(sys.argv[1])
    print(name, type(build.build(build.configs.read(folder, name))).__name__)
except CrosscheckError as error:
    print("refused:", error)
"""


class Hub(http.server.BaseHTTPRequestHandler):
    asked: list[str] = []

    def answer(self, body):
        if self.path == "/":
            return self.send_error(404)
        _, _, name, _, _, *path = self.path.split("/")
        Hub.asked.append("/".join(path))
        file = configs.CATALOGUE / "sd21-base" / "/".join(path)
        headers = {}
        if name == "slow":
            time.sleep(8)  # longer than the client waits
            return None
        if name == "gated":
            status, content, headers = 403, b"", {"X-Error-Code": "GatedRepo", "X-Error-Message": "gated"}
        elif name == "absent":
            status, content, headers = 404, b"", {"X-Error-Code": "RepoNotFound"}
        elif name == "broken":
            status, content = 500, b""
        elif not file.is_file():
            status, content, headers = 404, b"", {"X-Error-Code": "EntryNotFound"}
        else:
            status, content = 200, file.read_bytes()
            headers = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": "0" * 40}
        self.send_response(status)
        for key, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        return self.wfile.write(content) if body else None

    def do_GET(self):
        self.answer(True)

    def do_HEAD(self):
        self.answer(False)

    def log_message(self, *args):
        pass


@pytest.fixture
def hub():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    Hub.asked = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def locate(model, endpoint, cache):
    environment = {k: v for k, v in os.environ.items() if k != "HF_HUB_OFFLINE"} | {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(cache),
        "HF_HUB_ETAG_TIMEOUT": "2",
        "HF_HUB_DOWNLOAD_TIMEOUT": "2",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, model], env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]


def test_only_json_files_are_ever_asked_for(hub, tmp_path):
    assert locate("stabilityai/stable-diffusion-2-1-base", hub, tmp_path) == (
        "stabilityai/stable-diffusion-2-1-base StableDiffusionPipeline"
    )
    index = json.loads((configs.CATALOGUE / "sd21-base/model_index.json").read_text())
    named = {name for name, value in index.items() if isinstance(value, list) and value[0]}
    assert {path.split("/")[0] for path in Hub.asked} == {"model_index.json", *named}
    assert all(path.endswith(".json") for path in Hub.asked)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gated", "it is gated; accept its terms"),
        ("absent", "there is no such model on the hub"),
        ("slow", "the hub can't be reached"),
        ("broken", "the hub answered with status 500; try again later"),
    ],
)
def test_refusals_are_one_clear_line(hub, tmp_path, name, message):
    answer = locate(f"org/{name}", hub, tmp_path)

    assert answer.startswith(f"refused: org/{name}: ")
    assert message in answer


def test_a_hub_out_of_reach_is_one_clear_line(tmp_path):
    answer = locate("org/name", "http://127.0.0.1:9", tmp_path)

    assert answer == (
        "refused: org/name: model_index.json: the hub can't be reached and nothing is cached; give a folder or a "
        "catalogue name"
    )
