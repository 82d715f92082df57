# Every target sets up what it needs by itself on a machine with Python 3.11 or newer and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
OUTPUT ?= demo-output
BUNDLE := dist/alfa-inspector-$(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)

.PHONY: help venv install uninstall bundle trial demo test examples peers lint style format clean
.DEFAULT_GOAL := help

help:  ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-10s %s\n", $$1, $$2}'

$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: $(PYTHON) is older than 3.11; say which to use: make PYTHON=python3.12 ..." >&2; exit 2; }
	@$(PYTHON) -m venv $(VENV) || \
	  { echo "error: no venv module for $(PYTHON); on Debian and Ubuntu: apt install python3-venv" >&2; exit 2; }

# Stamps, so that a second call installs nothing and a changed dependency list installs again.
# Python compiles what it imports; pip would compile 13,000 files, most of which nothing ever imports.
PIP_INSTALL := $(BIN)/pip install --quiet --no-compile
$(VENV)/.installed: $(BIN)/pip pyproject.toml constraints.txt
	$(PIP_INSTALL) --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP_INSTALL) --constraint constraints.txt --editable '.[dev]'
# The second implementation of PRO. By itself: it asks for opencv-python, which overwrites the headless one.
	$(PIP_INSTALL) --no-deps adeval==1.1.0
	@touch $@

venv: $(VENV)/.installed  ## the product into ./.venv, to try it and to work on it

install:  ## as root: program into /opt, user, units, first config (docs/install.md)
	PYTHON=$(PYTHON) systemd/install.sh install

uninstall:  ## as root: all of it away again, but for config and data
	PYTHON=$(PYTHON) systemd/install.sh uninstall

bundle: $(BIN)/pip  ## one archive for a box without network: wheels, weights, installer, in ./dist
	rm -rf $(BUNDLE)
	mkdir -p $(BUNDLE)/wheels
	$(BIN)/pip wheel --quiet --constraint constraints.txt --wheel-dir $(BUNDLE)/wheels .
	$(BIN)/python -c 'import sys, platform; print("%d.%d" % sys.version_info[:2], platform.machine())' > $(BUNDLE)/wheels/PYTHON
	cp -r systemd prompts docs config.toml README.md LICENSE NOTICE $(BUNDLE)
# Wheels are compressed already.
	tar --create --file $(BUNDLE).tar --directory dist $(notdir $(BUNDLE))
	rm -rf $(BUNDLE)
	@echo "$(BUNDLE).tar: copy it over, unpack it, sudo systemd/install.sh"

trial: $(VENV)/.installed  ## as root: install and break it in a booted Debian (systemd-container, debootstrap)
	tests/nspawn/trial.sh

demo: $(VENV)/.installed  ## a synthetic line from camera to PLC, pictures in ./demo-output
	$(BIN)/edge-demo --output $(OUTPUT)

test: style examples  ## lint, types and all tests
# Most tests wait for processes and sockets: four at a time keep two cores busy, with mypy beside them. What it
# says comes after what they say.
	@mkdir -p build
	@nice -n 5 $(BIN)/mypy >build/mypy.log 2>&1 & types=$$!; \
	$(BIN)/pytest --numprocesses 4 --dist worksteal; tests=$$?; \
	wait $$types; types=$$?; \
	cat build/mypy.log; exit $$((tests | types))

# The subscriber in Node.js; its test says that it is skipped where there is no npm or no network.
examples:
	@npm ci --prefix examples --silent --no-audit --no-fund 2>/dev/null || echo "examples: no npm or no network"

peers:  ## the npm package that the PLC's driver is also tested on; needs node (the other peer: libmodbus-dev)
	npm ci --prefix tests/peers --omit=optional --no-audit --no-fund

lint: style  ## ruff and mypy strict
	$(BIN)/mypy

style: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.installed-dev  ## ruff's formatter and its safe fixes
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## remove the environment and what demo, tests and bundle wrote
	rm -rf $(VENV) $(OUTPUT) build dist
