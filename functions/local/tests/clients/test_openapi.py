"""What `/openapi.yaml` says of the admin plane is what the plane answers."""

import os
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

PATIENCE_S = 60
# How many requests are made up, over all operations.
EXAMPLES, SEED = int(os.environ.get("EXAMPLES", "500")), os.environ.get("SEED", "1")
# Left out: which values are taken, for not every rule is in the description; and whether a request without the token is
# refused, for the token is sent with each.
UNCHECKED = "positive_data_acceptance,negative_data_rejection,ignored_auth"


@pytest.fixture(scope="module")
def description(gateway):
    """The document, as it is served."""
    with urllib.request.urlopen(f"{gateway.root}/openapi.yaml", timeout=PATIENCE_S) as answer:
        assert answer.headers["content-type"] == "application/yaml"
        return yaml.safe_load(answer)


@pytest.fixture(scope="module")
def fits(description):
    """Checks a value against the schema of this name."""
    document = Resource.from_contents(description, default_specification=DRAFT202012)
    registry = Registry().with_resource("urn:both", document)

    def checked(name, value):
        schema = {"$ref": f"urn:both#/components/schemas/{name}"}
        Draft202012Validator(schema, registry=registry).validate(value)

    return checked


def test_every_schema_is_one_and_its_example_fits(description, fits):
    schemas = description["components"]["schemas"]
    for name, schema in schemas.items():
        Draft202012Validator.check_schema(schema)
        if "example" in schema:
            fits(name, schema["example"])
    assert sum("example" in schema for schema in schemas.values()) > 12


def test_every_operation_has_a_name_of_its_own_and_its_paths_parameters(description):
    names = []
    for path, operations in description["paths"].items():
        shared = operations.get("parameters", [])
        for method, operation in operations.items():
            if method == "parameters":
                continue
            names.append(operation["operationId"])
            refs = [parameter.get("$ref", "").rpartition("/")[2] for parameter in shared]
            named = {description["components"]["parameters"][ref]["name"] for ref in refs if ref}
            named |= {parameter["name"] for parameter in shared if "name" in parameter}
            assert named == {part[1:-1] for part in path.split("/") if part.startswith("{")}, path
            assert "default" in operation["responses"], path
    assert len(names) == len(set(names)) > 30


def test_answers_are_as_they_are_described(gateway, fits):
    tenant = gateway.tenant(daily_requests=None)
    fits("Tenant", gateway.admin(f"tenants/{tenant.id}"))
    fits("MadeKey", gateway.admin(f"tenants/{tenant.id}/keys", {"name": "one"}))
    for key in gateway.admin(f"tenants/{tenant.id}/keys")["data"]:
        fits("Key", key)
    fits("MadeAdmin", gateway.admin("admins", {"name": "Ann", "role": "viewer"}))
    for admin in gateway.admin("admins")["data"]:
        fits("Admin", admin)
    fits("Me", gateway.admin("me"))
    for entry in gateway.admin("audit")["data"]:
        fits("AuditEntry", entry)
        assert entry.get("from") == "127.0.0.1" or entry["who"] == "the first start"
    fits("Usage", gateway.admin("usage"))
    for path in ("tenants", "models", "receipts", "admins", "audit"):
        fits("Page", gateway.admin(path))


def test_nothing_made_up_from_the_description_is_answered_otherwise_or_breaks_it(start, description, tmp_path):
    """No server error, and no answer of another status, type, header or shape than is described (schemathesis)."""
    gateway = start("[tenant_defaults.limits]\n" + "".join(f'{limit} = "none"\n' for limit in (
        "requests_per_minute", "tokens_per_minute", "concurrency", "daily_requests", "daily_tokens", "daily_cost_usd")))
    tenant = gateway.tenant()
    key = gateway.admin(f"tenants/{tenant.id}/keys")["data"][0]["id"]
    admin = gateway.admin("admins", {"name": "Ann", "role": "viewer"})["id"]
    operations = sum(len(set(path) - {"parameters"}) for path in description["paths"].values())
    made_up = 0
    for plane, secret in (("data", tenant.key), ("admin", gateway.admin_token)):
        done = subprocess.run(
            [Path(sys.executable).parent / "st", "run", f"{gateway.root}/openapi.yaml", "--include-tag", plane,
             "--header", f"authorization: Bearer {secret}", "--phases", "examples,coverage,fuzzing",
             "--max-examples", str(-(-EXAMPLES // operations)), "--exclude-checks", UNCHECKED, "--no-color",
             "--continue-on-failure", "--seed", SEED],
            capture_output=True, text=True, cwd=tmp_path, timeout=60 * PATIENCE_S,
            env={**os.environ, "SCHEMATHESIS_HOOKS": "schemathesis_hooks", "PYTHONPATH": str(Path(__file__).parent),
                 "THERE": f"tenant={tenant.id} key={key} admin={admin}"})
        assert done.returncode == 0, done.stdout + done.stderr
        made_up += int(re.search(r"(\d+) generated", done.stdout)[1])
    assert made_up >= EXAMPLES
