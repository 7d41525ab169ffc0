# Casemate. Two commands do everything on a fresh Debian machine:
#   make demo     builds, starts a Linux guest, runs a workload in it, brings back its output and exit status
#   make test     all tests but the long ones that README.md names
# `make help` lists the rest.

CARGO ?= cargo
REGISTRY = $(or $(CARGO_HOME),$(HOME)/.cargo)/registry/src
# Where `static` puts its programs, whatever they were built for: scripts and tests know this folder only.
STATIC = target/static
T ?= 60
JOBS ?= 1
INPUT ?= demo/readings.csv
CASES ?= 100000

.PHONY: boot-code reproduce help demo demo-snp test lint bench fuzz coverage static release release-check hardware-check host snp-host snp-host-reference snp-host-7 snp-host-selftests snp-host-clean policy-oracles clean

help:
	@echo 'make demo [INPUT=FILE]   a Linux guest computes a table from FILE (sensor,value lines)'
	@echo 'make demo-snp            an image as an SEV-SNP guest, its result opened and proven, in the virtual SNP host (a MODEL)'
	@echo 'make test                all tests'
	@echo 'make lint                format, clippy, dependency licences and advisories'
	@echo 'make bench               measurements: start-up, memory, exits, and ratios'
	@echo 'make fuzz T=60 JOBS=1    every fuzz target for T seconds, JOBS at once (nightly toolchain); RESUME=yes passes over those that had them'
	@echo 'make policy-oracles      the policy engine against regorus, Cedar and rego-cpp, CASES=100000 random cases (builds minutes)'
	@echo 'make boot-code           builds the golden bytes of the boot code again, after a change of it'
	@echo 'make reproduce           builds what is measured, and the programs, in two different places, and compares'
	@echo 'make release             target/dist: a package for Debian, a tarball, bill of materials, licences, digests, checksums'
	@echo 'make release-check       makes it twice and compares; installs it into a fresh Debian, uses it there, removes it (root)'
	@echo 'make hardware-check      on a machine with SEV-SNP: launches, digests, reports, page states; MODEL=yes in the virtual SNP host'
	@echo 'make coverage            line coverage per module from the replay of all fuzz corpora and the launch tests'
	@echo 'make host CMD="..."      a command in the virtual host: a Linux with KVM, in QEMU'
	@echo 'make snp-host CMD="..."  the same with a MODEL of the SNP processor: VM type 4, /dev/sev'
	@echo 'make snp-host-reference  unmodified QEMU 10 with OVMF there, against sev-snp-measure'
	@echo 'make snp-host-7          its tests on a second kernel, the 7.x of a newer Debian suite, and KVM'"'"'s own selftests there'
	@echo 'make clean               removes what was built and downloaded'

demo:
	@demo/run $(INPUT)

demo-snp:
	@demo/run-snp $(INPUT)

test:
	@tests/run

lint:
	@tests/lint

bench:
	@tests/bench

fuzz:
	@fuzz/run --jobs $(JOBS) $(if $(RESUME),--resume) $(T)

coverage:
	@fuzz/coverage

# After a change of what the guest runs first, or of what it is told: new golden bytes, and with them a new launch digest.
boot-code:
	@$(CARGO) run --quiet --locked -p casemate-boot-code
	@cd guest/boot-code && sha256sum boot-code.bin > boot-code.sha256

# Everything that is measured, and the static programs, built in two places that differ in all they can: the same bytes.
reproduce:
	@tests/reproduce

# A workspace of its own: the two engines are 200 crates and minutes of building, and no part of the program.
policy-oracles:
	@cd tests/policy-oracles && CASEMATE_POLICY_CASES=$(CASES) $(CARGO) test --quiet --release --locked
	@tests/policy-oracles/rego-cpp 40

# The program and a guest's PID 1 without shared libraries: they run in any Linux, the virtual host's included.
# Where sources lie is not in the programs: panics name them from the project's root, or from the registry's.
# The program's C library is musl, as that of its images, and it is linked as they are, for the same reasons
# (casemate/build.rs): a start waits for both. Put into the folder by renaming, since several tests may ask for them at once.
# MORE="PACKAGE..." has programs of tests put beside them.
# A test asks for them from inside cargo, whose words of that test's package would have crates that look at their own built again.
static: export CC_x86_64_unknown_linux_musl ?= cc
static: export CFLAGS_x86_64_unknown_linux_musl ?= -U_FORTIFY_SOURCE
static:
	@unset $$(env | sed -n 's/^\(CARGO_\(MANIFEST\|PKG\)_[A-Z_]*\)=.*/\1/p'); \
	flags="$$(printf -- '-Ctarget-feature=+crt-static\037--remap-path-prefix=%s=.\037--remap-path-prefix=%s=registry' \
		'$(CURDIR)' '$(REGISTRY)')"; \
	build() { env CARGO_ENCODED_RUSTFLAGS="$$3" \
			$(CARGO) build -q --release --locked $(CARGOFLAGS) --target "$$1" -p "$$2" && \
		built="target/$$1/release/$$2" && mkdir -p $(STATIC) && { cmp -s "$$built" "$(STATIC)/$$2" || { \
		cp "$$built" "$(STATIC)/.$$2.$$$$" && mv -f "$(STATIC)/.$$2.$$$$" "$(STATIC)/$$2"; }; }; }; \
	build x86_64-unknown-linux-musl casemate \
		"$$flags$$(printf '\037-Clinker=rust-lld\037-Clink-arg=--pack-dyn-relocs=relr')" && \
	build x86_64-unknown-linux-gnu casemate-init "$$flags" && \
	for more in $(MORE); do build x86_64-unknown-linux-gnu "$$more" "$$flags" || exit 1; done

release:
	@release/build

# Minutes, and downloads of a Debian.
release-check:
	@release/check

# For whoever has such a machine; the record in target/hardware names neither it nor its user.
hardware-check:
	@tests/hardware/check $(if $(MODEL),--model)

# More options: tests/host/run --help
host:
	@tests/host/run $(OPTIONS) -- '$(CMD)'

snp-host:
	@tests/host/run --snp $(OPTIONS) -- '$(CMD)'

# Minutes and 45 MB of downloads the first time: for a weekly run.
snp-host-reference:
	@tests/host/snp/reference/run
	@tests/host/snp/reference/run --cpus 2

# The virtual SNP host on a 7.x kernel, which is downloaded with its compiler (290 MB) the first time: its tests, reports with
# certificates, a Linux guest with one vCPU and with two, KVM's own selftests.
snp-host-7: export CASEMATE_HOST_KERNEL = 7
snp-host-7:
	@$(CARGO) test --quiet --locked -p casemate-test-host
	@$(CARGO) test --quiet --locked -p casemate-hypervisor --test kvm_abi
	@tests/host/snp/soak 3
	@tests/host/snp/soak --vcpus 2 3
	@tests/host/snp/selftests

snp-host-selftests:
	@tests/host/snp/selftests

# Removes what was built for the virtual SNP host; the downloaded packages stay.
snp-host-clean:
	rm -rf target/host/snp.* target/host/kernel-tree target/host/reference target/host/kernel-7/snp.* \
		target/host/kernel-7/kernel-tree target/host/kernel-7/selftests

clean:
	rm -rf target
