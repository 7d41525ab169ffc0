# KVM modules from Debian's unmodified kernel sources with options that Debian leaves off. Sourced by build.

# All packages are unpacked into one root: the header packages link into each other. linux-source gives arch/x86/kvm and virt.
prepare_kernel_tree() {
	TREE=$OUT/kernel-tree
	HEADERS=usr/src/linux-headers-$KREL-cloud-amd64
	COMMON=usr/src/linux-headers-$KREL-common
	SOURCE=usr/src/linux-source-6.12
	install_tools gcc:gcc make:make strip:binutils
	[ "$(cat "$TREE/.complete" 2>/dev/null)" != "$KREL $KVER" ] || return 0
	local package deb
	rm -rf "$TREE"
	mkdir -p "$TREE"
	for package in "linux-headers-$KREL-cloud-amd64" "linux-headers-$KREL-common" "linux-kbuild-$KREL" linux-source-6.12; do
		deb=$(fetch_package "$package" "$KVER" "$OUT/debs")
		dpkg-deb -x "$deb" "$TREE"
	done
	say "unpacking KVM's sources"
	tar -C "$TREE/usr/src" -xf "$TREE/$SOURCE.tar.xz" linux-source-6.12/arch/x86/kvm linux-source-6.12/virt
	rm "$TREE/$SOURCE.tar.xz"
	[ -x "$TREE/$HEADERS/scripts/mod/modpost" ] || die "the package linux-kbuild-$KREL has changed: no scripts/mod/modpost"
	echo "$KREL $KVER" >"$TREE/.complete"
}

# configured_tree NAME OPTION...   a copy of the tree with KVM's sources in place and these options set; prints its path
configured_tree() {
	local copy=$OUT/$1.tree option auto header
	shift
	rm -rf "$copy"
	cp -al "$TREE" "$copy"
	rm -rf "${copy:?}/$COMMON/arch/x86/kvm" "${copy:?}/$COMMON/virt"
	cp -a "$TREE/$SOURCE/arch/x86/kvm" "$copy/$COMMON/arch/x86/"
	cp -a "$TREE/$SOURCE/virt" "$copy/$COMMON/"
	rm "$copy/$HEADERS/Makefile"
	echo "include $copy/$COMMON/Makefile" >"$copy/$HEADERS/Makefile"
	auto=$copy/$HEADERS/include/config/auto.conf
	header=$copy/$HEADERS/include/generated/autoconf.h
	# kbuild reads the first file, C code the second. BTF is dropped from the first only: the second decides the layout of
	# struct module. sed -i makes new files, so the tree that shares the old ones stays as it was.
	sed -i -e '/^CONFIG_KVM_INTEL=/d' -e '/^CONFIG_DEBUG_INFO_BTF/d' "$auto"
	sed -i '/^#define CONFIG_KVM_INTEL_MODULE /d' "$header"
	for option in "$@"; do
		grep -qw "$option" "$TREE/$SOURCE/arch/x86/kvm/Kconfig" "$TREE/$SOURCE/virt/kvm/Kconfig" ||
			[ "$option" = CRYPTO_DEV_SP_PSP ] ||
			die "the kernel $KREL has no option $option any more; tests/host/lib/kvm-modules.sh must be adapted"
		echo "CONFIG_$option=y" >>"$auto"
		echo "#define CONFIG_$option 1" >>"$header"
	done
	printf '%s\n' "$copy"
}

PRIVATE_MEMORY="KVM_SW_PROTECTED_VM KVM_GENERIC_PRIVATE_MEM KVM_PRIVATE_MEM KVM_GENERIC_MEMORY_ATTRIBUTES"

# make_modules TREE DIRECTORY [ARGUMENT...]   runs kbuild there; its output is shown only when it fails
make_modules() {
	local tree=$1 directory=$2
	shift 2
	make -s -j"$(nproc)" -C "$tree/$HEADERS" M="$directory" "$@" modules >"$OUT/make.log" 2>&1 ||
		{ tail -30 "$OUT/make.log" >&2; die "kernel modules of $directory do not build (log: $OUT/make.log)"; }
}

# The sources in a tree must still be exactly the packaged ones after a build.
verify_kvm_sources() {
	local part changed
	for part in arch/x86/kvm virt; do
		changed=$(diff -rq "$TREE/$SOURCE/$part" "$1/$COMMON/$part" | grep -v "^Only in $1" || true)
		[ -z "$changed" ] || die "KVM's sources were changed: $changed"
	done
}

build_kvm_protected() {
	local tree kvm root=$OUT/protected.root
	prepare_kernel_tree
	# shellcheck disable=SC2086
	tree=$(configured_tree protected $PRIVATE_MEMORY)
	kvm=$tree/$COMMON/arch/x86/kvm
	make_modules "$tree" "$kvm" CONFIG_KVM_INTEL=
	verify_kvm_sources "$tree"
	rm -rf "$root"
	mkdir -p "$root/mod"
	strip -g -o "$root/mod/kvm.ko" "$kvm/kvm.ko"
	strip -g -o "$root/mod/kvm-amd.ko" "$kvm/kvm-amd.ko"
	pack "$root" "$OUT/protected.cpio"
	rm -rf "$root" "$tree"
}

build_kvm_snp() {
	local tree kvm emu redirect=$HERE/snp/redirect root=$OUT/snp.root
	prepare_kernel_tree
	# shellcheck disable=SC2086
	tree=$(configured_tree snp $PRIVATE_MEMORY KVM_AMD_SEV HAVE_KVM_ARCH_GMEM_PREPARE HAVE_KVM_ARCH_GMEM_INVALIDATE CRYPTO_DEV_SP_PSP)
	kvm=$tree/$COMMON/arch/x86/kvm
	emu=$tree/snpemu
	cp -a "$HERE/snp/snpemu" "$emu"
	make_modules "$tree" "$emu" KVMSRC="$kvm"
	# The object files stay between builds of the model: KVM itself does not change.
	make_modules "$tree" "$kvm" CONFIG_KVM_INTEL= KBUILD_EXTRA_SYMBOLS="$emu/Module.symvers" \
		"CFLAGS_svm/sev.o=-include $redirect/svm.h" "CFLAGS_svm/svm.o=-include $redirect/svm.h" \
		"CFLAGS_cpuid.o=-include $redirect/cpuid.h"
	verify_kvm_sources "$tree"
	rm -rf "$root"
	mkdir -p "$root/mod"
	strip -g -o "$root/mod/kvm.ko" "$kvm/kvm.ko"
	strip -g -o "$root/mod/kvm-amd.ko" "$kvm/kvm-amd.ko"
	strip -g -o "$root/mod/snpemu.ko" "$emu/snpemu.ko"
	pack "$root" "$OUT/snp.cpio"
	rm -rf "$root"
}
