# The commands of every day; each is a line or two that can be typed by hand as well.

STACK ?= dev
E3 = . scripts/activate &&
# What a command that failed cannot say: what a crash or a full disk has left, and what helps.
ADVISE = { e3 doctor --state >&2; exit 1; }

# `scripts/setup` has said which variables E3 overrides; what follows it does not say so again.
export E3_TOLD = 1
down: export E3_TOLD =

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*##/make \1\t/p' Makefile | expand -t 16

# Scripts read the outputs by `pulumi stack output`; a person sees what `e3 show` makes of them.
up:  ## set-up, then bring up STACK (default: dev) and show what came of it
	scripts/setup $(STACK)
	$(E3) { pulumi stack select --create $(STACK) && \
		pulumi up --stack $(STACK) --yes --skip-preview --suppress-outputs || $(ADVISE); } && \
		e3 show --stack $(STACK)

down:  ## destroy STACK and prove that nothing is left
	$(E3) if pulumi stack select $(STACK); then pulumi destroy --yes --skip-preview && \
		pulumi stack rm --yes --preserve-config --remove-backups || $(ADVISE); fi && \
		e3 verify-gone $(STACK)

test:  ## set-up, then every check and test
	scripts/setup --all
	scripts/test

long:  ## what `make test` leaves out of every matrix; 35 minutes
	scripts/setup --all
	scripts/test -m long

fuzz:  ## 10,000 made-up cases for each test that makes them up, where `make test` has 50
	scripts/setup --all
	$(E3) pytest -n 2 -m "hypothesis and unit" --hypothesis-profile=full

faults:  ## let every fault happen over two overlays, and print case, verdict and seconds
	scripts/setup --all
	$(E3) pytest -m faults

resilience:  ## let every event happen to every overlay, and print what came of it; 15 minutes
	scripts/setup --all
	$(E3) pytest -m resilience tests/resilience

check:  ## format, lint, types and layers; no tests
	scripts/setup
	scripts/check

bench:  ## set-up, then measure E3 itself; results go to bench/results
	scripts/setup --all --bench
	$(E3) python -m bench

scale:  ## set-up, then up to 300 hosts over four overlays, with sessions; docs/scale.md
	scripts/setup --all
	$(E3) python -m bench.scale

nat-matrix:  ## set-up, then how each overlay crosses each pair of NATs; a page goes to .e3/nat-matrix
	scripts/setup --all
	$(E3) python -m e3.evaluation.nat_report

setup:  ## what STACK needs
	scripts/setup $(STACK)

tools:  ## what every overlay needs
	scripts/setup --all

clean:  ## remove all that set-up made, except state (.e3): make down comes first
	rm -rf .venv .tools bench/results .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

.PHONY: help up down test long fuzz faults resilience check bench scale nat-matrix setup tools clean
