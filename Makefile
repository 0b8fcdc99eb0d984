# `make up` runs the platform on this machine; `make test` tests it. Both install what is missing.

.DEFAULT_GOAL := help
ZEDI := .venv/bin/zedi
WEB_SOURCES := $(shell find web -path web/node_modules -prune -o -type f -print 2>/dev/null)

.PHONY: help install up test check bench format lock clean

help: ## Show this help
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.venv/.installed: pyproject.toml requirements.lock scripts/install scripts/uv.sh
	@scripts/install

src/zedi/web/index.html: $(WEB_SOURCES) scripts/web | .venv/.installed
	@scripts/web

install: .venv/.installed ## Prepare .venv with the zedi command in it

up: install src/zedi/web/index.html ## Run the whole platform here, until Ctrl-C
	@exec $(ZEDI) up

test: install src/zedi/web/index.html ## Run every test (installs a browser where it may); ARGS goes to pytest
	@scripts/test $(ARGS)

check: install src/zedi/web/index.html ## The gate: format, lint, types, tests that need no server
	@scripts/check

bench: install ## Measure beside Hocuspocus (QUICK=1: the fan-out alone, a minute)
	@exec .venv/bin/python -m bench $(if $(QUICK),--quick)

format: install ## Put the code into its one format
	@.venv/bin/ruff format src tests bench && .venv/bin/ruff check --fix --quiet src tests bench

lock: ## Write the lock files anew
	@scripts/lock

clean: ## Remove what was installed and built (the data in .zedi/ stays)
	rm -rf .venv .boot web/node_modules tests/realtime/node/node_modules bench/peer/node_modules build src/zedi/web
