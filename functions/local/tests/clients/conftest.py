"""Real gateways, each a process of its own in a folder of its own, in front of the simulated provider and the double.

    cargo build -p ai-gateway -p upstream-double
    tools/install/clients
    .venv/bin/python -m pytest functions/local/tests/clients -q

The binaries are those that `GATEWAY_BIN` and `DOUBLE_BIN` name, else the newer of those in `target/debug` and
`target/release`.
"""

import copy
import itertools
import json
import os
import queue
import re
import subprocess
import threading
import time
import urllib.request
from pathlib import Path

import anthropic
import openai
import pytest

ROOT = Path(__file__).resolve().parents[4]
PATIENCE_S = 60  # What is taken for a hang.
NUMBERS = itertools.count(1)

MODELS = [
    "ok", "tools", "unicode", "cut", "cut-clean", "reset-mid", "malformed", "error-event", "sse-comments", "sse-crlf",
    "sse-nospace", "sse-multiline", "one-byte", "split-utf8", "echo", "no-usage", "cached-3", "reasoning-5", "status-500",
    "status-401", "429-after-1", "context-overflow", "content-filter", "hedge", "json", "slow-3", "continue", "extra",
    "refusal", "tools-once", "tools-once+reasoning-5", "drip-20+length", "cut-38", "goes-on", "goes-on-anew",
]

# In which formats a model is called, and what it can do then.
FORMATS = {
    "double": """provider = "double"
api = "chat"
capabilities = ["tools", "json_schema", "vision", "documents", "reasoning", "logprobs"]""",
    "response": """provider = "double"
api = "responses"
capabilities = ["tools", "json_schema", "vision", "documents", "logprobs"]""",
    "claude": """provider = "claude"
capabilities = ["tools", "json_schema", "vision", "prefill"]""",
    "gemini": """provider = "gemini"
capabilities = ["tools", "json_schema", "vision"]""",
}

# What is served in Anthropic's format alone.
MESSAGES = ["status-529", "status-529+reasoning-5", "insufficient-quota", "cached-2+written-1+say:one"]


def described(name):
    """The catalog's entry of a model; who does not think in the double does not here either."""
    where, model = name.split("/")
    fields = FORMATS[where]
    if where != "double" and "reasoning" in model:
        fields = fields.replace('"vision"', '"vision", "reasoning"')
    return f'[models."{name}"]\nid = "{model}"\nusd_per_million = {{ input = 1, output = 2 }}\n{fields}\n'

# What makes vectors, and what each is known to take.
VECTORS = {
    "ok": "base64 = true\ntoken_input = true", "vectors-floats": "", "vectors-backwards": "", "vectors-bare": "",
    "vectors-too-few": "", "vectors-strict-format": "", "status-401": "", "429-after-1": "", "insufficient-quota": "",
}


def binary(variable, name):
    """The path of one of this workspace's programs."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    built = [path for path in (target / "debug" / name, target / "release" / name) if path.exists()]
    given = os.environ.get(variable) or max(built, key=lambda path: path.stat().st_mtime, default=None)
    assert given, f"build it first: cargo build -p ai-gateway -p upstream-double (or name it in {variable})"
    return str(given)


class Process:
    """A child of which the beginning of its output is read, and which is killed at the end."""

    def __init__(self, command, last_line, environment=None, folder=None):
        self.child = subprocess.Popen(
            command, env=environment, cwd=folder, text=True, encoding="utf-8",
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.lines = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        self.output = ""
        while not re.search(last_line, self.output, re.MULTILINE):
            line = self.lines.get(timeout=PATIENCE_S)
            assert line is not None, f"no start:\n{self.output}"
            self.output += line

    def _read(self):
        for line in self.child.stdout:
            self.lines.put(line)
        self.lines.put(None)

    def end(self):
        self.child.kill()
        self.child.communicate()


class Gateway:
    """A running gateway, as a client of one tenant sees it."""

    def __init__(self, process):
        self.base_url = re.search(r"base URL\s+(\S+)", process.output)[1]
        self.key = re.search(r"API key\s+(\S+)", process.output)[1]
        self.admin_token = re.search(r"admin token\s+(\S+)", process.output)[1]

    @property
    def root(self):
        """The address without the version, as what is built on Anthropic's SDK wants it."""
        return self.base_url.removesuffix("/v1")

    def admin(self, path, body=None):
        """What the admin's side answers to a body that is posted, or to a question."""
        request = urllib.request.Request(
            f"{self.root}/admin/{path}", None if body is None else json.dumps(body).encode(),
            {"authorization": f"Bearer {self.admin_token}", "content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return json.load(answer)

    def tenant(self, settings=None, **limits):
        """The same gateway, as a new tenant with these settings and limits sees it."""
        other = copy.copy(self)
        other.id = f"tenant-{next(NUMBERS)}"
        self.admin("tenants", {"id": other.id, "limits": limits, **(settings or {})})
        other.key = self.admin(f"tenants/{other.id}/keys", {"name": "its"})["key"]
        return other

    def settled(self):
        """The receipt of this tenant's only request, as soon as it is written; nothing is held for it any more."""
        late = time.monotonic() + PATIENCE_S
        while not (receipts := self.admin(f"receipts?tenant={self.id}")["data"]):
            assert time.monotonic() < late, "no receipt"
        [receipt] = receipts
        usage = self.admin(f"tenants/{self.id}/usage")
        assert usage["tokens"]["held"] == 0, usage
        return receipt

    def client(self, kind=openai.OpenAI, **options):
        """A client that is told nothing but what every user tells it."""
        return kind(**{"base_url": self.base_url, "api_key": self.key, "timeout": PATIENCE_S, "max_retries": 0, **options})

    def anthropic(self, kind=anthropic.Anthropic, **options):
        """Anthropic's client, which adds the version of the API to the address itself."""
        return self.client(kind, **{"base_url": self.root, **options})

    def receipt(self, request_id):
        """What one request did."""
        request = urllib.request.Request(
            f"{self.base_url}/receipts/{request_id}", headers={"authorization": f"Bearer {self.key}"})
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return json.load(answer)


@pytest.fixture(scope="session")
def double():
    """The base URL of a provider that misbehaves as its models' names say."""
    process = Process([binary("DOUBLE_BIN", "upstream-double")], r"^http://")
    yield process.output.strip()
    process.end()


@pytest.fixture(scope="session")
def start(double, tmp_path_factory):
    """Starts gateways; `more` is added to their configuration."""
    processes = []

    def started(more=""):
        folder = tmp_path_factory.mktemp("gateway")
        models = "".join(described(name) for name in (
            *(f"{where}/{model}" for where in FORMATS for model in MODELS), *(f"claude/{model}" for model in MESSAGES)))
        models += "".join(
            f'[models."vectors/{model}"]\nprovider = "double"\nid = "{model}"\napi = "embeddings"\ndimensions = 8\n'
            f'usd_per_million = {{ input = 1, output = 0 }}\n{able}\n' for model, able in VECTORS.items())
        (folder / "gateway.toml").write_text(
            f'[providers.double]\nkind = "openai"\nbase_url = "{double}"\napi_key = "env:DOUBLE_API_KEY"\n'
            f'[providers.claude]\nkind = "anthropic"\nbase_url = "{double}"\napi_key = "env:DOUBLE_API_KEY"\n'
            f'[providers.gemini]\nkind = "gemini"\nbase_url = "{double}beta"\napi_key = "env:DOUBLE_API_KEY"\n'
            f'[tiers]\ncheap = ["sim/cheap"]\nreasoning = ["sim/reasoning"]\n{more}\n{models}')
        environment = {
            "PATH": os.environ.get("PATH", ""), "GATEWAY_ADDR": "127.0.0.1:0", "GATEWAY_CONFIG": "gateway.toml",
            "DOUBLE_API_KEY": "sk-of-the-operator"}
        process = Process([binary("GATEWAY_BIN", "ai-gateway")], r"^curl ", environment, folder)
        processes.append(process)
        return Gateway(process)

    yield started
    for process in processes:
        process.end()


# Of a tenant that has no limits and remembers no answers.
FREE = "[tenant_defaults.cache]\nenabled = false\n[tenant_defaults.limits]\n" + "".join(
    f'{limit} = "none"\n' for limit in ("requests_per_minute", "tokens_per_minute", "concurrency", "daily_requests",
                                       "daily_tokens", "daily_cost_usd"))


@pytest.fixture(scope="session")
def gateway(start):
    """A gateway whose tenant has no limits and remembers no answers."""
    return start(FREE)


@pytest.fixture
def client(gateway):
    return gateway.client()


@pytest.fixture
def naps(monkeypatch):
    """How long clients would have slept before their retries; they do not sleep."""
    slept = []
    monkeypatch.setattr("time.sleep", slept.append)
    return slept
