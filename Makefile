# Each command installs what it needs and the machine lacks (tools/install), Rust's toolchain apart.

TARGET := $(abspath $(or $(CARGO_TARGET_DIR),target))
PYTHON := .venv/bin/python
# How long `make fuzz` looks for trouble in each parser.
SECONDS := 60
# How many inputs `make torture` makes up for each property.
CASES := 20000
# How many steps it takes in the model check, in memory and in Redis each.
STEPS := 1000000
# How many requests it makes up from openapi.yaml.
EXAMPLES := 5000
# The folder of the public sets that routing is evaluated on (docs/routing.md).
DATA :=

.NOTPARALLEL: # cargo already uses every core
.PHONY: help check test test-rust test-clients screenshots bench bench-routing formats package fuzz torture

help:
	@echo "make check    format, lints, lengths, documentation, cargo features, circles of imports, dependencies and licences, template"
	@echo "make test     every test, the official client's and the release binaries' included"
	@echo "make bench    benchmarks: one table, and target/bench.json"
	@echo "make bench-routing  the figures of docs/routing.md; DATA=FOLDER names the public sets, without which some are left out"
	@echo "make formats  writes docs/formats.md anew: what each door says to each format of providers"
	@echo "make screenshots  draws every page of the dashboard into docs/dashboard"
	@echo "make package  the two Lambda zips and their sizes"
	@echo "make fuzz     fuzzes each parser that meets the outside, SECONDS=$(SECONDS) each (nightly)"
	@echo "make torture  the property tests with CASES=$(CASES) inputs each, the model check, every fault, and requests made up from openapi.yaml"

check:
	tools/install/system
	tools/install/python check
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --all-features --locked -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --workspace --all-features --no-deps --document-private-items --locked
	tools/check/lengths
	tools/check/features
	tools/check/circles
	tools/check/dependencies
	tools/check/template

test: test-rust test-clients

# The Lambda tests drive the binaries that are deployed, and the faults strike a gateway, so these are built in release first;
# with the simulated provider, that the deployed are without (see ADR 22).
test-rust:
	tools/install/system
	tools/install/dynamodb
	cargo build --release --locked -p gateway-function -p admin-function --bins \
		--features gateway-function/simulated,admin-function/simulated
	cargo build --release --locked -p ai-gateway # alone, as the fault tests build it, who find it built
	GATEWAY_BIN=$(TARGET)/release/gateway ADMIN_BIN=$(TARGET)/release/admin \
		cargo test --workspace --all-features --locked --no-fail-fast

test-clients:
	tools/install/system chromium
	tools/install/clients
	cargo build --locked -p ai-gateway -p upstream-double
	GATEWAY_BIN=$(TARGET)/debug/ai-gateway DOUBLE_BIN=$(TARGET)/debug/upstream-double PYTHONDONTWRITEBYTECODE=1 \
		$(PYTHON) -m pytest -q -p no:cacheprovider functions/local/tests/clients

screenshots:
	tools/install/system chromium
	tools/install/clients
	cargo build --locked -p ai-gateway -p upstream-double
	SCREENSHOTS=$(abspath docs/dashboard) GATEWAY_BIN=$(TARGET)/debug/ai-gateway DOUBLE_BIN=$(TARGET)/debug/upstream-double \
		PYTHONDONTWRITEBYTECODE=1 $(PYTHON) -m pytest -q -p no:cacheprovider functions/local/tests/clients -k browser

bench:
	tools/install/system nginx
	cargo build --release --locked -p ai-gateway -p upstream-double
	cargo build --release --locked -p gateway-function # alone, so with what is deployed
	cargo run --release --locked -p bench

bench-routing:
	tools/install/system
	tools/install/python routing
	cargo build --release --locked -p ai-gateway
	cargo build --release --locked -p routing-tools -p routing-simulator -p bench
	$(TARGET)/release/bench decision
	$(TARGET)/release/ai-gateway intents eval tools/routing/data/prompts_heldout.jsonl
	ROUTING_FEATURES=$(TARGET)/release/routing-features OWN_INTENTS=$(TARGET)/release/own-intents \
		DATA=$(DATA) $(PYTHON) tools/routing/evaluate.py
	$(TARGET)/release/routing-simulator

formats:
	tools/install/system
	WRITE_FORMATS=1 cargo test --locked -p gateway-core --all-features --test core formats::

package:
	tools/install/system
	tools/install/python package
	tools/package

fuzz:
	tools/install/fuzz
	tools/fuzz $(SECONDS)

torture:
	tools/install/system
	tools/install/dynamodb
	PROPTEST_CASES=$(CASES) cargo test --workspace --all-features --locked --lib
	MODEL_STEPS=$(STEPS) cargo test --release --locked -p gateway-core --all-features --test core model:: -- --nocapture
	cargo build --release --locked -p ai-gateway
	cargo run --release --locked -p faults
	tools/install/clients
	cargo build --locked -p ai-gateway -p upstream-double
	EXAMPLES=$(EXAMPLES) SEED=$$(date +%s) GATEWAY_BIN=$(TARGET)/debug/ai-gateway DOUBLE_BIN=$(TARGET)/debug/upstream-double \
		PYTHONDONTWRITEBYTECODE=1 $(PYTHON) -m pytest -q -p no:cacheprovider functions/local/tests/clients -k made_up
