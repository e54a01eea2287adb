# Each target sets up .venv by itself, and again only when pyproject.toml has changed.
PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.ready
# kt and its libraries alone, which is all that the demo needs.
KT := $(VENV)/.kt
BROWSER := $(VENV)/.browser
# Others' SDKs bring some 200 packages: they have a folder of their own.
ADAPTERS := .venv-adapters
RUN := $(VENV)/bin
# Tests wait as long as they work, for servers, locks and terminals: two for each core.
PYTEST := $(RUN)/python -m pytest -n $(shell expr 2 \* $$(getconf _NPROCESSORS_ONLN)) --dist worksteal
# Packages of Debian's that some tests run, each with a file that tells that it is there.
SERVERS := lighttpd=/usr/sbin/lighttpd openssh-server=/usr/sbin/sshd openssl=/usr/bin/openssl \
	gitolite3=/usr/bin/gitolite
NGINX := nginx=/usr/sbin/nginx
SHELLS := bash=/bin/bash fish=/usr/bin/fish zsh=/usr/bin/zsh
CHROMIUM := chromium=/usr/bin/chromium chromium-driver=/usr/bin/chromedriver \
	fonts-dejavu-core=/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf

.PHONY: help demo docs test test-fast coverage test-adapters test-browser test-servers test-shells packages screenshots recordings api-page lint soak soak-adapters bench bench-growth profile clean

help:
	@echo "make demo         show an escalation's whole life on a throw-away store, in some seconds"
	@echo "make docs         build docs/ into build/docs; a broken link fails"
	@echo "make test         run the tests"
	@echo "make test-fast    run those of model, rules and codec, in under a minute"
	@echo "make coverage     run the tests, and list the lines and branches that they do not reach"
	@echo "make test-adapters those of LiteLLM, LangGraph, OpenAI Agents, MCP and nginx, which it installs"
	@echo "make test-servers those over lighttpd, sshd and gitolite, which it installs where it may"
	@echo "make test-browser those of the report and the desk in a real Chromium, which it installs where it may"
	@echo "make test-shells  those of completion in bash, zsh and fish, which it installs where it may"
	@echo "make screenshots  make the pictures of the report and the desk in docs/img, with the same browser"
	@echo "make recordings   make the pictures of a terminal in docs/img"
	@echo "make api-page     make docs/api.md from the docstrings"
	@echo "make lint         style, types and import rules"
	@echo "make soak         the long campaigns: races, kills and properties at full count"
	@echo "make soak-adapters LiteLLM's proxy killed again and again, and while it holds hundreds"
	@echo "make bench        what kt costs, against what git and Python cost (a quarter of an hour; see docs/performance.md)"
	@echo "make clean        remove what the others have made"

$(KT): pyproject.toml
	@echo "Setting up $(VENV) with kt and the libraries that it needs, without those for tests and docs"
	@$(PYTHON) -m venv $(VENV)
	@$(RUN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $(KT)

$(READY): pyproject.toml
	@echo "Setting up $(VENV) with kt and all that its tests, checks and docs need"
	@$(PYTHON) -m venv $(VENV)
	@$(RUN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,docs]'
	@touch $(KT) $(READY)

# Beside other targets, which may run at the same time, it uses what they set up: two would write into one folder.
demo: $(if $(filter-out demo,$(MAKECMDGOALS)),$(READY),$(KT))
	@PATH="$(CURDIR)/$(RUN):$$PATH" ./demo.sh

# -n and -W: what a page refers to is there, or the build fails; -E: also where it once was. Nothing may be loaded from elsewhere.
docs: $(READY)
	$(RUN)/sphinx-build -q -E -n -W --keep-going docs build/docs
	@! grep -rEn '<(script|img|iframe)[^>]* src="(https?:)?//|<link[^>]* href="(https?:)?//|url\((https?:)?//' build/docs --include='*.html' --include='*.css'

test: $(READY)
	$(PYTEST)

# Under a minute: nothing here needs git, a remote or a process.
test-fast: $(READY)
	$(RUN)/python -m pytest -q -m fast $(shell grep -l "mark.fast" tests/test_*.py)

# Processes that the tests start, forks and hooks count too. TESTS=tests/test_query.py measures some files alone.
coverage: $(READY)
	$(RUN)/coverage erase
	$(RUN)/coverage run -m $(subst $(RUN)/python -m ,,$(PYTEST)) $(TESTS)
	$(RUN)/coverage combine --quiet
	$(RUN)/coverage report

test-servers: $(READY)
	@tests/install $@ $(SERVERS)
	$(PYTEST) tests/servers

$(ADAPTERS)/.ready: pyproject.toml
	@echo "Setting up $(ADAPTERS) with the SDKs of the adapters"
	@$(PYTHON) -m venv $(ADAPTERS)
	@$(ADAPTERS)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[adapters]'
	@touch $@

test-adapters: $(ADAPTERS)/.ready
	@tests/install $@ $(NGINX)
	$(ADAPTERS)/bin/python -m pytest -n 2 --dist loadfile tests/adapters

test-shells: $(READY)
	@tests/install $@ $(SHELLS)
	$(RUN)/python -m pytest tests/shells

$(BROWSER): $(READY)
	$(RUN)/python -m pip install --quiet --disable-pip-version-check --editable '.[browser]'
	@touch $@

test-browser: $(BROWSER)
	@tests/install $@ $(CHROMIUM)
	$(RUN)/python -m pytest tests/browser

# What the tests of .ci/run install, at once.
packages:
	@tests/install $@ $(SERVERS) $(SHELLS)

screenshots: $(BROWSER)
	@tests/install $@ $(CHROMIUM)
	SCREENSHOTS=docs/img $(RUN)/python -m pytest tests/browser -k picture

recordings: $(READY)
	UPDATE_GOLDEN=1 $(RUN)/python -m pytest tests/test_recordings.py

api-page: $(READY)
	UPDATE_GOLDEN=1 $(RUN)/python -m pytest tests/test_public_api.py -k page

lint: $(READY)
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	$(RUN)/mypy
	$(RUN)/lint-imports --no-cache

# Properties are tried with twenty times as many examples as in the tests.
soak: $(BROWSER)
	EXAMPLES=soak $(RUN)/python -m pytest -n auto --dist worksteal -m 'soak or hypothesis'
	@tests/install $@ $(CHROMIUM)
	$(RUN)/python -m pytest -m soak tests/browser

soak-adapters: $(ADAPTERS)/.ready
	$(ADAPTERS)/bin/python -m pytest -m soak tests/adapters

bench: $(READY)
	$(RUN)/python -m bench

bench-growth: $(READY)
	$(RUN)/python -m bench growth

profile: $(READY)
	$(RUN)/python -m bench.profile

clean:
	rm -rf $(VENV) $(ADAPTERS) bench/.stores build dist *.egg-info .hypothesis .mypy_cache .ruff_cache .import_linter_cache .coverage .coverage.*
