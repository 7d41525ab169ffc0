# The virtual host's usual kernel: Debian 12's 6.12, from this machine's package index, modules built with this machine's tools.
# Sourced by build after packages.sh; kernel-7.sh has the same functions.

SOURCE=usr/src/linux-source-6.12
PRIVATE_MEMORY="KVM_SW_PROTECTED_VM KVM_GENERIC_PRIVATE_MEM KVM_PRIVATE_MEM KVM_GENERIC_MEMORY_ATTRIBUTES"
SNP_OPTIONS="KVM_AMD_SEV HAVE_KVM_ARCH_GMEM_PREPARE HAVE_KVM_ARCH_GMEM_INVALIDATE CRYPTO_DEV_SP_PSP"

# All of the kernel's packages have one version; it stays the one of the first build until `make` removes target/host.
resolve_kernel() {
	if [ ! -f "$OUT/kernel-version" ]; then
		command -v apt-cache >/dev/null 2>&1 || die "no apt here: the virtual host is made of Debian's packages"
		[ -n "$(kernel_release)" ] || refresh_index
		KREL=$(kernel_release)
		[ -n "$KREL" ] || die "package linux-image-6.12-cloud-amd64 is not in the apt sources (Debian 12 with security updates has it)"
		KVER=$(package_version "linux-image-$KREL-cloud-amd64")
		[ -n "$KVER" ] || die "package linux-image-$KREL-cloud-amd64 is not in the apt sources (try: apt-get update)"
		echo "$KREL $KVER" >"$OUT/kernel-version"
	fi
	read -r KREL KVER <"$OUT/kernel-version"
}

# kernel_package PACKAGE   prints the path of its .deb, of the kernel's version
kernel_package() { fetch_package "$1" "$KVER" "$OUT/debs"; }

# Image and modules, into $OUT/kernel
unpack_kernel() {
	local deb
	deb=$(kernel_package "linux-image-$KREL-cloud-amd64")
	dpkg-deb -x "$deb" "$OUT/kernel"
	cp "$OUT/kernel/boot/vmlinuz-$KREL-cloud-amd64" "$OUT/vmlinuz"
}

prepare_kernel_tools() { install_tools gcc:gcc make:make strip:binutils; }

# kernel_make ARGUMENT...   runs make with the compiler that the kernel's headers ask for
kernel_make() { make "$@"; }

# adapt_configuration HEADERS   what has to change in a copy of the kernel's headers, beside the options that are set
adapt_configuration() { :; }
