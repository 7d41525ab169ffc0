# Run a command in the virtual host:      make host CMD="cat /proc/version"
# Run a command in the virtual SNP host:  make snp-host CMD="ls -l /dev/sev"
# More options: tests/host/run --help

.PHONY: host snp-host snp-host-clean

host:
	@tests/host/run $(OPTIONS) -- '$(CMD)'

snp-host:
	@tests/host/run --snp $(OPTIONS) -- '$(CMD)'

# Removes what was built for the virtual SNP host; the downloaded packages stay.
snp-host-clean:
	rm -rf target/host/snp.* target/host/kernel-tree
