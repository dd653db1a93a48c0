# Everything that is done with this repository, by people and by CI, has a name here. "make" lists the names.
#
# On a Debian or Ubuntu machine with Go and make, "make test" and "make demo" install what else they need, say
# so, and need root for it: they run as root or call sudo. Whatever is there already is left as it is.

SHELL        := /bin/bash
GO           ?= go
VERSION      := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
GOLANGCI     := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
BACKEND      ?= auto
# A number of runs. With a time, Go 1.26 may take the end of it for a failure (go.dev/issue/75804).
FUZZTIME     ?= 10000x
NETWORKS     ?= overlay routed
TESTFLAGS    ?=
BENCH        ?= .

# iptables and ip live in sbin, which is not in everybody's PATH.
export PATH  := $(PATH):/usr/local/sbin:/usr/sbin:/sbin

# As root: nothing. Else sudo, with the PATH (for go), but with root's home, so that root's build cache does
# not end up among the user's files.
SUDO         := $(if $(filter 0,$(shell id -u)),,sudo env HOME=/root PATH="$(PATH)" CI="$(CI)" GOPROXY="$(GOPROXY)")

# Tests that send packets through the kernel are in these packages; the others need nothing but Go.
KERNEL       := ./proxier/iptables/... ./proxier/ipvsmode ./proxier/nfacct ./proxier/conntrack ./proxier/generation/... ./proxier/sysctl ./test/netns/... ./test/status ./test/demo/... ./test/bench ./test/bench/bed ./test/life ./deploy/image ./test/container
UNIT          = $$($(GO) list ./... | grep -vxF -f <($(GO) list $(KERNEL)))

# $(call need,PROBE,PACKAGES): if the command PROBE does not succeed, install the Debian packages.
APT          := $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=120
define need
{ $(1); } >/dev/null 2>&1 || { \
  command -v apt-get >/dev/null || { echo "make: please install what Debian calls $(2), and try again" >&2; exit 1; }; \
  echo "make: installing $(2) with apt-get"; \
  $(APT) install -y --no-install-recommends $(2) >/dev/null 2>&1 || \
    { $(APT) update && $(APT) install -y --no-install-recommends $(2); } >/dev/null; }
endef

# The end-to-end tests are a module of their own, so that the requirements of a whole control plane are not the product's.
E2E          := test/e2e
# These know neither network nor backend: once is enough, some with the first and some with the last of NETWORKS.
ONCE_FIRST   := ^Test(AnAPIServer|AfterACompaction)
ONCE_LAST    := ^Test(ANodeThat|ANodeReboots)
# This one has a cluster to itself, which ends with it: to delete what it makes would take as long as to make it.
ALONE        := ^TestFiveThousand
KUBERNETES    = $$(sed -nE 's|.*k8s.io/kubernetes (v[0-9.]+).*|\1|p' $(E2E)/go.mod)

.PHONY: help build test race vet fmt lint fuzz bench cover demo e2e control-plane clean kernel-tools nft c-compiler

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build bin/espalier
	CGO_ENABLED=0 $(GO) build -buildvcs=false -trimpath -ldflags '-X main.version=$(VERSION)' -o bin/espalier ./cmd/espalier

test: kernel-tools nft ## unit tests, then real packets in network namespaces (root or sudo)
	$(GO) test $(TESTFLAGS) $(UNIT)
	$(SUDO) $(GO) test $(TESTFLAGS) -count=1 -p 1 -timeout 20m $(KERNEL)

race: c-compiler ## unit tests with the race detector
	CGO_ENABLED=1 $(GO) test $(TESTFLAGS) -race $(UNIT)

vet: ## go vet
	$(GO) vet ./...
	cd $(E2E) && $(GO) vet ./...

fmt: ## fail if a file is not formatted as gofmt does
	@unformatted=$$(gofmt -l .ci cmd deploy proxier watcher test) && test -z "$$unformatted" || \
	  { echo "not as gofmt formats it:" $$unformatted; exit 1; }

lint: ## golangci-lint, at the version named above; it is built when it runs first
	CGO_ENABLED=0 $(GO) run $(GOLANGCI) run ./...
	cd $(E2E) && CGO_ENABLED=0 $(GO) run $(GOLANGCI) run ./...

fuzz: ## every fuzz target for FUZZTIME (10000x: that many runs)
	@set -e; for file in $$(grep -rlE '^func Fuzz' --include='*_test.go' .); do \
	  for target in $$(sed -nE 's/^func (Fuzz[A-Za-z0-9_]*)\(.*/\1/p' $$file); do \
	    echo "$(GO) test -fuzz '^$$target\$$' -fuzztime $(FUZZTIME) $$(dirname $$file)"; \
	    $(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "$$(dirname $$file)"; \
	  done; done

bench: build kernel-tools nft ## benchmarks of the code, the cost of a connection's first packet, espalier bench (root or sudo)
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchmem $(UNIT)
	$(SUDO) $(GO) test -run '^$$' -bench '$(BENCH)' -p 1 -timeout 60m $(KERNEL)
	$(SUDO) bin/espalier bench --quick

cover: ## unit tests with coverage, by function
	$(GO) test -coverprofile cover.out $(UNIT)
	$(GO) tool cover -func cover.out

demo: build kernel-tools ## a web shop of three Services in network namespaces; BACKEND=nft or legacy (root or sudo)
	CGO_ENABLED=0 $(GO) build -buildvcs=false -o bin/demo ./test/demo
	@$(SUDO) bin/demo --espalier bin/espalier --backend $(BACKEND)

e2e: build control-plane kernel-tools nft ## a real cluster of three nodes, for each of NETWORKS (overlay routed) at the same time (root or sudo)
	@# another version, for the upgrade
	CGO_ENABLED=0 $(GO) build -buildvcs=false -trimpath -ldflags '-X main.version=v9.9.9' -o $(E2E)/bin/espalier-next ./cmd/espalier
	@begun=$$SECONDS; $(MAKE) --no-print-directory --keep-going -j $(E2EJOBS:%=e2e-%) && echo "make: all of it took $$((SECONDS - begun)) s"

# What runs at the same time: a cluster of each network, and what needs another cluster or none. With -run in TESTFLAGS, what
# that names, in the clusters.
SOME         := $(findstring -run,$(TESTFLAGS))
E2EJOBS      := $(NETWORKS) $(if $(SOME),,parts)

# $(call e2e-test,NETWORK,FLAGS PACKAGES): each line of what is printed begins with the name of the job; in JSON, the package does.
define e2e-test
	@set -o pipefail; cd $(E2E); \
	$(SUDO) env E2E_NETWORK=$(1) CGO_ENABLED=0 $(GO) test -trimpath -vet=off -v -count=1 -p 1 -parallel 8 -timeout 30m $(TESTFLAGS) $(2) 2>&1 | \
	  sed -u -e '/^{"/{s/"Package":"/&$(@:e2e-%=%): /;b}' -e 's/^/$(@:e2e-%=%): /'
endef

e2e-parts:
	$(call e2e-test,$(firstword $(NETWORKS)),-run '$(ALONE)' .)
	$(call e2e-test,$(firstword $(NETWORKS)),$$($(GO) list ./... | tail -n +2))
	$(if $(word 2,$(NETWORKS)),$(call e2e-test,$(word 2,$(NETWORKS)),./coexist))

e2e-%: others = $(if $(filter $*,$(firstword $(NETWORKS))),,|$(ONCE_FIRST))$(if $(filter $*,$(lastword $(NETWORKS))),,|$(ONCE_LAST))
e2e-%:
	$(call e2e-test,$*,$(if $(SOME),,-skip '$(ALONE)$(others)') .)

control-plane: ## build Kubernetes' control plane and etcd for e2e: 8 minutes on two cores, but the first time only
	@test -e $(E2E)/bin/etcd || echo "make: building etcd and Kubernetes, which takes about 8 minutes the first time"
	@set -e; version=$(KUBERNETES); minor=$${version#*.}; component=k8s.io/component-base/version; \
	flags="-s -w -X $$component.gitVersion=$$version -X $$component.gitMajor=1 -X $$component.gitMinor=$${minor%%.*}"; \
	cd $(E2E) && export CGO_ENABLED=0; \
	nice $(GO) build -buildvcs=false -trimpath -ldflags "$$flags" -o bin/ \
	  $(addprefix k8s.io/kubernetes/cmd/,kube-apiserver kube-controller-manager kube-scheduler kube-proxy); \
	nice $(GO) build -buildvcs=false -trimpath -ldflags "-s -w" -o bin/etcd go.etcd.io/etcd/server/v3

clean: ## remove what was built
	rm -rf bin cover.out $(E2E)/bin

kernel-tools:
	@$(call need,command -v iptables,iptables)
	@$(call need,command -v ip,iproute2)

# Tests write to the tables behind the back of iptables, with nft.
nft:
	@$(call need,command -v nft,nftables)

# The race detector is linked by a C compiler.
c-compiler:
	@$(call need,echo '#include <stdlib.h>' | gcc -E -,gcc libc6-dev)
