# The one index of commands. `make demo` and `make test` need Rust and Go, and bring everything else.

# Build results live outside the clone, so that another clone need not build again.
export CARGO_TARGET_DIR ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/flipguard/target

# Programs that tests/tools has installed.
export PATH := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/flipguard/tools/bin:$(PATH)

.PHONY: help demo check rustdoc tools test conformance gitops two-api-servers monitoring soak bench baseline reviews binaries lint docs static fuzz deny up own release release-tools draft tables earlier

help: ## Say what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: own ## Play the blue-green story on a real control plane (KEEP=1 leaves it running)
	@echo "Building flipguard (about 3 min at first) ..."
	@cargo build --quiet --locked --bin flipguard --example demo
	@$(CARGO_TARGET_DIR)/debug/examples/demo $(CARGO_TARGET_DIR)/debug/flipguard

bench: own static $(if $(EARLIER),earlier) ## Measure what flipguard costs, side by side (about 30 min; PARTS=1,2 for some; EARLIER=COMMIT)
	@echo "Building flipguard and the bench for release (about 5 min at first) ..."
	@cargo build --release --locked -p flipguard -p bench --bin flipguard --bin bench
	@$(CARGO_TARGET_DIR)/release/bench run $(CARGO_TARGET_DIR)/release/flipguard $(CURDIR)/target/bench \
		--image dist/$(ARCH)/flipguard $(if $(PARTS),--parts $(PARTS)) \
		$(if $(EARLIER),--earlier $(EARLIER_DIR)/flipguard)

EARLIER_DIR = $(CARGO_TARGET_DIR)/earlier/$(EARLIER)

earlier: own ## Build the flipguard of an earlier commit, for part 8 of the bench (EARLIER=COMMIT)
	@echo "Building flipguard of $(EARLIER) (about 5 min at first) ..."
	@rm -rf $(EARLIER_DIR)/source && mkdir -p $(EARLIER_DIR)/source
	@git archive $(EARLIER) | tar -x -C $(EARLIER_DIR)/source
	@cargo clean --quiet --release --locked -p flipguard -p json-skip
	@cd $(EARLIER_DIR)/source && cargo build --quiet --release --locked -p flipguard --bin flipguard
	@cp $(CARGO_TARGET_DIR)/release/flipguard $(EARLIER_DIR)/flipguard && rm -rf $(EARLIER_DIR)/source
	@cargo clean --quiet --release --locked -p flipguard -p json-skip

baseline: own ## Write the baselines of the exact gates: allocations and instructions per decision
	UPDATE=1 cargo test --locked -p bench --test allocations --test instructions -- --nocapture

reviews: own ## Record the reviews that the bench and the gates use anew
	cargo run --locked -p bench --bin bench -- record

# The tests that need no control plane.
QUICK = --lib --test cases --test status --test properties --test report --test page --test architecture --test cli --test deploy --test fields --test fuzz_finds --test lists

check: lint rustdoc ## Check all that needs no control plane: format, lints, docs, unit, cases, properties, walls, command line
	cargo test --locked -p json-skip -p protobuf-json -p flipguard $(QUICK)
	cargo test --locked -p flipguard --features serde-json --lib --test cases --test properties

# The control plane's programs collect garbage less often: two processors are few, and memory is not.
test conformance: export GOGC = 400

test: lint rustdoc tools deny binaries ## Run all tests: format, lints, docs, dependencies, unit, cases, end-to-end, fuzzing
	@tests/all
	cargo test --locked -p json-skip -p flipguard --features serde-json --lib --test cases --test properties --test wire
	SECONDS_EACH=10 AT_ONCE=6 tests/fuzz/run

rustdoc: own ## Build the documentation of the code, with warnings denied
	RUSTDOCFLAGS='-D warnings' cargo doc --quiet --locked --workspace --no-deps --document-private-items

tools: ## Install the programs that some tests need (haproxy, valgrind, promtool, cargo-deny ...), where possible
	@tests/tools

monitoring: tools ## Test the alerts and the Grafana board, with promtool
	cargo test --locked --test deploy -- alerts board prometheus

conformance: own tools ## Run the end-to-end tests and races on other versions (KUBERNETES="1.30 1.33 1.36 1.37"; about 20 min each)
	tests/conformance

gitops: own binaries ## Run the tests with a real Argo CD and Flux (about 10 min at first)
	@tests/gitops

two-api-servers: own binaries ## Race with two API servers, and after a restored etcd (ROUNDS=240; about 5 min)
	API_SERVERS=2 ROUNDS=$(or $(ROUNDS),240) cargo test --locked --test races

soak: own binaries ## Roll, kill and restart all under load (TIMES=3), then race for longer (ROUNDS=2000); about 25 min
	cargo build --quiet --locked --bin flipguard --example soak
	$(CARGO_TARGET_DIR)/debug/examples/soak $(CARGO_TARGET_DIR)/debug/flipguard
	ROUNDS=$(or $(ROUNDS),2000) cargo test --locked --test races

binaries: own ## Build the control plane's binaries and Helm, once (about 10 min on 2 cores)
	@cargo run --quiet --locked -p controlplane -- build

lint: own ## Check format and lints
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings

TEMPLATES = deploy/helm/flipguard/templates
PART = $(CARGO_TARGET_DIR)/debug/flipguard manifests --namespace '{{ .Release.Namespace }}' --part

tables: ## Write crates/protobuf-json/src/tables.rs from the Go types of Kubernetes
	cd crates/protobuf-json/generate && go run . > ../src/tables.rs.new
	mv crates/protobuf-json/src/tables.rs.new crates/protobuf-json/src/tables.rs
	rustfmt --edition 2024 crates/protobuf-json/src/tables.rs

docs: ## Write what is generated: docs/rules.md, checks.md, rights.md, deploy/base/flipguard.yaml, some of the chart
	cargo build --quiet --locked --bin flipguard
	$(CARGO_TARGET_DIR)/debug/flipguard rules --output markdown > docs/rules.md
	$(CARGO_TARGET_DIR)/debug/flipguard audit --checks > docs/checks.md
	$(CARGO_TARGET_DIR)/debug/flipguard manifests --rights > docs/rights.md
	$(CARGO_TARGET_DIR)/debug/flipguard manifests > deploy/base/flipguard.yaml
	$(PART) rights > $(TEMPLATES)/rbac.yaml
	$(PART) requests > $(TEMPLATES)/requests.yaml
	$(PART) policies > $(TEMPLATES)/policies.yaml
	(echo '{{- if include "flipguard.addsLabels" . }}'; $(PART) labels; echo '{{- end }}') > $(TEMPLATES)/labels.yaml
	(echo '{{- if .Values.auditor.enabled }}'; $(PART) auditor-rights; echo '{{- end }}') > $(TEMPLATES)/auditor-rights.yaml
	$(CARGO_TARGET_DIR)/debug/flipguard manifests --part auditor > deploy/components/auditor/auditor.yaml
	cp deploy/monitoring/alerts.yaml deploy/monitoring/dashboard.json deploy/helm/flipguard/
	(cat deploy/monitoring/head.yaml; sed 's/^\(.\)/  \1/' deploy/monitoring/alerts.yaml) > deploy/monitoring/prometheusrule.yaml

# The architecture, as images call it. That of this machine, unless another one is given.
OWN_ARCH = $(if $(filter aarch64,$(shell uname -m)),arm64,amd64)
ARCH ?= $(OWN_ARCH)
MACHINE = $(if $(filter arm64,$(ARCH)),aarch64,x86_64)
CROSS = $(if $(filter $(OWN_ARCH),$(ARCH)),,CARGO_TARGET_$(if $(filter arm64,$(ARCH)),AARCH64,X86_64)_UNKNOWN_LINUX_GNU_LINKER=$(MACHINE)-linux-gnu-gcc)

static: own ## Build dist/ARCH/flipguard, which needs no C library: for the Dockerfile's BINARY=prebuilt (ARCH=arm64)
	@[ -z "$(CROSS)" ] || deploy/release/tools
	@command -v cargo-auditable >/dev/null || tests/tools
	@echo "Building what the image for $(ARCH) holds (about 5 min at first) ..."
	@$(CROSS) RUSTFLAGS='-C target-feature=+crt-static' cargo auditable build --quiet --release --locked --bin flipguard \
		--target $(MACHINE)-unknown-linux-gnu
	@mkdir -p dist/$(ARCH)
	cp $(CARGO_TARGET_DIR)/$(MACHINE)-unknown-linux-gnu/release/flipguard dist/$(ARCH)/flipguard

release-tools: tools ## Install what `make release` needs
	@deploy/release/tools

draft: ## Make a draft of a release on GitHub from dist/ (VERSION=0.1.0)
	gh release create "v$(VERSION)" --draft --verify-tag --title "flipguard $(VERSION)" --notes-file CHANGELOG.md $(wildcard dist/*.*) dist/SHA256SUMS

release: own ## Make every file of a release into dist/, without a network (VERSION=0.1.0; first: make release-tools binaries)
	@deploy/release/make $(VERSION)

fuzz: ## Fuzz the decoders for a minute each (SECONDS_EACH=60)
	tests/fuzz/run

deny: tools ## Check the dependencies of both lock files: licences, sources, bans; advisories if their database can be fetched
	@tests/deny

up: own ## Start a bare control plane and stay (Ctrl-C ends it)
	@cargo run --quiet --locked -p controlplane -- up

# Cargo tells fresh from stale by the times of files: what another clone has built last is not taken for ours.
own:
	@if [ -d $(CARGO_TARGET_DIR) ] && [ "$$(cat $(CARGO_TARGET_DIR)/clone 2>/dev/null)" != "$(CURDIR)" ]; then \
		cargo clean --quiet --locked -p flipguard -p json-skip -p protobuf-json -p controlplane -p model -p bench; fi
	@mkdir -p $(CARGO_TARGET_DIR) && echo "$(CURDIR)" > $(CARGO_TARGET_DIR)/clone
