"""What `/openapi.yaml` says of the admin plane is what the plane answers."""

import urllib.request

import pytest
import yaml
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

PATIENCE_S = 60


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
