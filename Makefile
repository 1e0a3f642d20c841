# Every command a person needs. Each installs what it lacks first (Debian 12), then does its one job.
# Knobs: JOBS=n (parallel compilations), and those that scripts/run_tests.py --help lists.
SHELL := /bin/bash
JOBS ?= $(shell nproc)
FUZZ_SECONDS ?= 60
SEEDS ?= 1000
FIRST ?= 1
MODE ?= ha_standby
export JOBS

.DEFAULT_GOAL := help
.PHONY: help run cluster release test unit check dev tsan tiny fuzz sim drivers tck cluster-tests bench bench-binaries \
        package image clean packages packages-sanitizers packages-tests

help:
	@echo 'make run       build, then start a standalone server on 127.0.0.1 (Bolt 7687, HTTP 7474, data in ./data)'
	@echo 'make cluster   build, then start a local cluster: MODE=ha_standby, raft or multi_region, with WITNESS=1 a voice without data'
	@echo 'make test      build and run every test; the last line counts them'
	@echo 'make release   only build: build/release/nornicdb'
	@echo 'make bench     measure this machine, the server and the micro-benchmarks'
	@echo 'make package   a Debian package: build/package/nornicdb_….deb'
	@echo 'make image     a container image, nornicdb:latest (needs a docker engine; compiles in a container)'
	@echo 'make clean     remove build/ (data/ stays)'
	@echo
	@echo 'make unit      the room tests of the release build alone'
	@echo 'make check     include arrows and the like, no compiler needed'
	@echo 'make dev       room tests under AddressSanitizer and UndefinedBehaviorSanitizer'
	@echo 'make tsan      room tests under ThreadSanitizer'
	@echo 'make tiny      as dev, with all limits at their least'
	@echo 'make fuzz      each fuzzer for FUZZ_SECONDS=60'
	@echo 'make sim       the simulator: SEEDS=1000 histories of each mode from FIRST=1 on'
	@echo 'make drivers   the suites of the official Python, JavaScript, Go and Java drivers'
	@echo 'make tck       the openCypher scenarios (NORNICDB_TCK_DIR names their folder)'
	@echo 'make cluster-tests   all that starts real processes: kill -9, failover, partitions, a full disk, commands'

packages:
	@scripts/install-packages build
packages-sanitizers:
	@scripts/install-packages build sanitizers
packages-tests:
	@scripts/install-packages build sanitizers tests

release: packages
	@scripts/build release nornicdb

run: release
	@exec build/release/nornicdb serve

cluster: release
	@exec python3 scripts/cluster $(MODE) $(if $(WITNESS),--witness)

test: packages-tests
	@python3 scripts/run_tests.py

unit: packages
	@python3 scripts/run_tests.py --only check,release

check: packages
	@python3 scripts/check_includes.py

dev tsan tiny: packages-sanitizers
	@python3 scripts/run_tests.py --only $@

fuzz: packages-sanitizers
	@scripts/build fuzz fuzzers
	@python3 scripts/run_fuzzers.py --seconds $(FUZZ_SECONDS)

sim: packages
	@scripts/build release nornic_sim
	@python3 tests/sim/seeds.py --mode ha_standby --first $(FIRST) --count $(SEEDS)
	@python3 tests/sim/seeds.py --mode standalone --first $(FIRST) --count $(SEEDS)
	@python3 tests/sim/seeds.py --mode raft --first $(FIRST) --count $(SEEDS)
	@python3 tests/sim/seeds.py --mode multi_region --first $(FIRST) --count $(SEEDS)

drivers: packages-tests
	@python3 scripts/run_tests.py --only python,javascript,go,java

tck: packages-tests
	@python3 scripts/run_tests.py --only tck

cluster-tests: packages-tests
	@python3 scripts/run_tests.py --skip check,release,dev,sim,python,javascript,go,java,tck

bench: packages-tests
	@scripts/build bench nornicdb benchmarks
	@python3 bench/run.py --micro

package:
	@scripts/install-packages build package
	@scripts/build release nornicdb
	@cpack --config build/release/CPackConfig.cmake

image:
	@base=$$(compose/image/base) && docker build -f compose/Dockerfile --build-arg DEBIAN=$$base \
		--build-arg NORNIC_COMMIT=$$(git describe --always --dirty --abbrev=10 2>/dev/null) -t nornicdb:latest .

clean:
	rm -rf build
