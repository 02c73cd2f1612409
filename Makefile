# The doors for people; everything else is behind `cargo xtask`.
#   make up     installs what is missing, builds, starts a cluster, deploys the demo
#   make test   installs what is missing, runs every test
#   make down   stops the cluster and removes every trace of it
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

DATA_DIR ?= /var/lib/tiphys-demo
KUBECONFIG_FILE ?= $(CURDIR)/target/demo/kubeconfig
BINARY := target/x86_64-unknown-linux-gnu/release/tiphys

.PHONY: up down test setup build

setup:
	@scripts/setup

build: setup
	@cargo xtask dist

up: build
	@$(BINARY) demo up --data-dir "$(DATA_DIR)" --write-kubeconfig "$(KUBECONFIG_FILE)" --examples examples

down:
	@[ ! -x $(BINARY) ] || $(BINARY) demo down --data-dir "$(DATA_DIR)"

test: setup
	@cargo xtask ci
