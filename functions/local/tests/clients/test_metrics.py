"""`/metrics` is read by the parser that Prometheus' own Python library has, and says what was done."""

import urllib.error
import urllib.request

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

PATIENCE_S = 60


def scraped(gateway, token):
    """The families of one scrape, by name."""
    request = urllib.request.Request(f"{gateway.root}/metrics", headers={"authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
        assert answer.headers["content-type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
        return {family.name: family for family in text_string_to_metric_families(answer.read().decode())}


def test_a_viewer_scrapes_what_a_parser_reads(gateway):
    tenant = gateway.tenant()
    message = {"role": "user", "content": "hi"}
    tenant.client().chat.completions.create(model="double/ok", messages=[message])
    tenant.settled()
    viewer = gateway.admin("admins", {"name": "prometheus", "role": "viewer"})["token"]
    families = scraped(gateway, viewer)
    mine = [sample for sample in families["gateway_tenant_requests"].samples if sample.labels["tenant"] == tenant.id]
    assert [(sample.name, sample.value) for sample in mine] == [("gateway_tenant_requests_total", 1)]
    assert families["gateway_model_breaker"].type == "stateset"
    assert {family.type for family in families.values()} == {"counter", "gauge", "summary", "stateset"}
    assert all(family.documentation and family.samples for family in families.values())
    with pytest.raises(urllib.error.HTTPError, match="401"):
        scraped(gateway, tenant.key)
