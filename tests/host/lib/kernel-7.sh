# A second kernel for the virtual host: the 7.x of a newer Debian suite. Its packages are downloaded at once, with the compiler and
# the C library that they want, and unpacked; modules are built in a change of root to those. Sourced by build after packages.sh;
# kernel-6.12.sh has the same functions.

SUITE=forky
PRIVATE_MEMORY="KVM_SW_PROTECTED_VM KVM_GENERIC_MEMORY_ATTRIBUTES"
SNP_OPTIONS="KVM_AMD_SEV HAVE_KVM_ARCH_GMEM_PREPARE HAVE_KVM_ARCH_GMEM_INVALIDATE HAVE_KVM_ARCH_GMEM_POPULATE CRYPTO_DEV_SP_PSP"

. "$HERE/lib/newer.sh"

# Suites move on: everything is fetched together, once, and stays until target/host/kernel-7 is removed.
resolve_kernel() {
	local series
	if [ ! -f "$OUT/kernel-version" ]; then
		newer_index "$OUT/index" "$SUITE"
		KREL=$(apt-cache "${newer_options[@]}" depends linux-image-cloud-amd64 |
			sed -n 's/.*Depends: linux-image-\(.*\)-cloud-amd64$/\1/p' | head -1)
		case $KREL in
		7.*) ;;
		"") die "the suite $SUITE has no kernel linux-image-cloud-amd64 any more; tests/host/lib/kernel-7.sh must be adapted" ;;
		*) die "the suite $SUITE has kernel $KREL by now; tests/host/lib/kernel-7.sh knows 7.x and must be adapted" ;;
		esac
		KVER=$(apt-cache "${newer_options[@]}" show --no-all-versions "linux-headers-$KREL-common" | sed -n 's/^Version: //p' | head -1)
		series=$(echo "$KREL" | cut -d. -f1-2)
		say "downloading kernel $KREL"
		newer_files "$OUT/debs" "linux-binary-$KREL-cloud-amd64" "linux-modules-$KREL-cloud-amd64" \
			"linux-headers-$KREL-cloud-amd64" "linux-headers-$KREL-common" "linux-kbuild-$KREL" "linux-source-$series"
		rm -rf "$OUT/index"
		echo "$KREL $KVER" >"$OUT/kernel-version"
	fi
	read -r KREL KVER <"$OUT/kernel-version"
	SOURCE=usr/src/linux-source-$(echo "$KREL" | cut -d. -f1-2)
}

kernel_package() {
	local file
	for file in "$OUT/debs/$1"_*.deb; do
		[ -f "$file" ] || die "no package $1 in $OUT/debs; remove $OUT to download the kernel again"
		printf '%s\n' "$file"
	done
}

unpack_kernel() {
	local package deb
	for package in "linux-binary-$KREL-cloud-amd64" "linux-modules-$KREL-cloud-amd64"; do
		deb=$(kernel_package "$package")
		dpkg-deb -x "$deb" "$OUT/kernel"
	done
	ln -s usr/lib "$OUT/kernel/lib"
	cp "$OUT/kernel/lib/modules/$KREL-cloud-amd64/vmlinuz" "$OUT/vmlinuz"
}

# The compiler is the one that the headers depend on; libc6-dev is for KVM's selftests. What packages would set up when installed is done by hand.
prepare_kernel_tools() {
	local compiler name
	TOOLS=$OUT/tools/root
	compiler=$(kernel_compiler)
	[ -n "$compiler" ] || die "the package linux-headers-$KREL-cloud-amd64 names no compiler any more"
	newer_packages "$OUT/tools" "$SUITE" "$compiler-for-host" "linux-kbuild-$KREL" binutils make libc6-dev \
		dash coreutils sed grep mawk findutils diffutils
	for name in bin sbin lib lib64; do [ -e "$TOOLS/$name" ] || ln -s "usr/$name" "$TOOLS/$name"; done
	[ -e "$TOOLS/usr/bin/awk" ] || ln -s mawk "$TOOLS/usr/bin/awk"
	mkdir -p "$TOOLS"/{dev,proc,tmp} "$TOOLS$OUT" "$TOOLS$HERE"
	in_tools "x86_64-linux-gnu-$compiler" --version >/dev/null ||
		die "the unpacked compiler cannot be run: this needs root or user namespaces (unshare --map-root-user --mount)"
}

# kernel_compiler   prints its name, as gcc-16
kernel_compiler() {
	local headers
	headers=$(kernel_package "linux-headers-$KREL-cloud-amd64")
	dpkg-deb -f "$headers" Depends | grep -o 'gcc-[0-9]*' | head -1
}

kernel_make() { in_tools make "$@"; }

# in_tools COMMAND...   runs a command in the unpacked tools, where the output directory and this one have their usual paths
in_tools() {
	local user=
	[ "$(id -u)" = 0 ] || user=--map-root-user
	unshare $user --mount sh -ec '
		for place in "$2" "$3"; do mount --bind "$place" "$1$place"; done
		for place in /dev /proc; do mount --rbind "$place" "$1$place"; done
		root=$1
		shift 3
		exec chroot "$root" /usr/bin/env -i PATH=/usr/bin HOME=/tmp LC_ALL=C "$@"' in_tools "$TOOLS" "$OUT" "$HERE" "$@"
}

# This kernel was configured for processors without SEV-SNP: for C code, cpu_feature_enabled(X86_FEATURE_SEV_SNP) is the constant 0.
adapt_configuration() { # HEADERS
	local masks=$1/arch/x86/include/generated/asm/cpufeaturemasks.h
	sed -i '/^CONFIG_X86_DISABLED_FEATURE_SEV_SNP=/d' "$1/include/config/auto.conf"
	sed -i '/^#define CONFIG_X86_DISABLED_FEATURE_SEV_SNP /d' "$1/include/generated/autoconf.h"
	grep -q '^#define DISABLED_MASK19	0x00000010U$' "$masks" ||
		die "the kernel $KREL disables other processor features than SEV_SNP at compile time; tests/host/lib/kernel-7.sh must be adapted"
	sed -i 's/^\(#define DISABLED_MASK19	\)0x00000010U$/\10x00000000U/' "$masks"
}
