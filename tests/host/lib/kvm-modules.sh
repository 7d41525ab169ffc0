# KVM modules from Debian's unmodified kernel sources with options that Debian leaves off. Sourced by build.

# All packages are unpacked into one root: the header packages link into each other. linux-source gives arch/x86/kvm and virt.
prepare_kernel_tree() {
	TREE=$OUT/kernel-tree
	HEADERS=usr/src/linux-headers-$KREL-cloud-amd64
	COMMON=usr/src/linux-headers-$KREL-common
	prepare_kernel_tools
	[ "$(cat "$TREE/.complete" 2>/dev/null)" != "$KREL $KVER" ] || return 0
	local package deb
	rm -rf "$TREE"
	mkdir -p "$TREE"
	for package in "linux-headers-$KREL-cloud-amd64" "linux-headers-$KREL-common" "linux-kbuild-$KREL" "${SOURCE##*/}"; do
		deb=$(kernel_package "$package")
		dpkg-deb -x "$deb" "$TREE"
	done
	say "unpacking KVM's sources"
	tar -C "$TREE/usr/src" -xf "$TREE/$SOURCE.tar.xz" "${SOURCE##*/}/arch/x86/kvm" "${SOURCE##*/}/virt"
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
	sed -i "s|/usr/src/|$copy/usr/src/|" "$copy/$HEADERS/Makefile"
	auto=$copy/$HEADERS/include/config/auto.conf
	header=$copy/$HEADERS/include/generated/autoconf.h
	# kbuild reads the first file, C code the second. Debug information, which costs half of the time, is dropped from the
	# first only: the second decides the layout of struct module. sed -i makes new files, so the tree that shares the old ones stays as it was.
	sed -i -e '/^CONFIG_KVM_INTEL=/d' -e '/^CONFIG_DEBUG_INFO/d' "$auto"
	sed -i '/^#define CONFIG_KVM_INTEL_MODULE /d' "$header"
	adapt_configuration "$copy/$HEADERS"
	for option in "$@"; do
		grep -qw "$option" "$TREE/$SOURCE/arch/x86/kvm/Kconfig" "$TREE/$SOURCE/virt/kvm/Kconfig" ||
			[ "$option" = CRYPTO_DEV_SP_PSP ] ||
			die "the kernel $KREL has no option $option any more; tests/host/lib/kernel-$kernel.sh must be adapted"
		echo "CONFIG_$option=y" >>"$auto"
		echo "#define CONFIG_$option 1" >>"$header"
	done
	printf '%s\n' "$copy"
}

# make_modules TREE DIRECTORY [ARGUMENT...]   runs kbuild there; its output is shown only when it fails
make_modules() {
	local tree=$1 directory=$2
	shift 2
	kernel_make -s -j"$(nproc)" -C "$tree/$HEADERS" M="$directory" "$@" modules >"$OUT/make.log" 2>&1 ||
		{ tail -30 "$OUT/make.log" >&2; die "kernel modules of $directory do not build for $KREL (log: $OUT/make.log); what differs between kernels is in tests/host/snp/snpemu/compat.h"; }
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

# A redirection of a name that KVM no longer uses would do nothing, and say nothing: each must still be where it takes effect.
check_redirections() { # KVM'S SOURCES
	local file name
	while read -r file name; do
		grep -qF -- "$name" "$1/$file" ||
			die "KVM of $KREL has no $name in $file any more: tests/host/snp/redirect and snpemu/compat.h must be adapted"
	done <<-'END'
		svm/svm.c __svm_sev_es_vcpu_run(svm,
		svm/sev.c cc_platform_has(CC_ATTR_HOST_SEV_SNP)
		svm/sev.c cpuid(0x8000001f,
		svm/sev.c misc_cg_set_capacity(MISC_CG_RES_SEV,
		svm/sev.c misc_cg_try_charge(type,
		svm/sev.c misc_cg_uncharge(type,
		svm/sev.c tlb_ctl = TLB_CONTROL_FLUSH_ASID;
		cpuid.c cpuid_count(entry->function,
		cpuid.c cpuid_eax(0x80000000)
	END
	[ "$(grep -c TLB_CONTROL_FLUSH_ASID "$1/svm/sev.c")" = 1 ] ||
		die "KVM of $KREL uses TLB_CONTROL_FLUSH_ASID in svm/sev.c more than once: tests/host/snp/redirect/sev.h must be adapted"
}

# make_snp_modules TREE KVM   the model and, against it, KVM with the redirections
make_snp_modules() {
	local redirect=$HERE/snp/redirect emu=$1/snpemu
	check_redirections "$2"
	mkdir -p "$emu"
	cp -u "$HERE"/snp/snpemu/* "$emu/"
	make_modules "$1" "$emu" KVMSRC="$2"
	make_modules "$1" "$2" CONFIG_KVM_INTEL= KBUILD_EXTRA_SYMBOLS="$emu/Module.symvers" \
		"CFLAGS_svm/sev.o=-include $redirect/sev.h" "CFLAGS_svm/svm.o=-include $redirect/svm.h" \
		"CFLAGS_cpuid.o=-include $redirect/cpuid.h"
}

build_kvm_snp() {
	local tree=$OUT/snp.tree kvm emu redirect=$HERE/snp/redirect root=$OUT/snp.root recipe firmware
	# The longest part beside KVM: the two share the processors.
	compile_firmware & firmware=$!
	prepare_kernel_tree
	# KVM's object files stay while only the model changes.
	recipe=$({ declare -f configured_tree; echo "$tree"; } | cat - "$redirect"/* "$OUT/kernel-version" | sha256sum)
	if [ "$(cat "$tree/.recipe" 2>/dev/null)" != "$recipe" ]; then
		# shellcheck disable=SC2086
		tree=$(configured_tree snp $PRIVATE_MEMORY $SNP_OPTIONS)
		echo "$recipe" >"$tree/.recipe"
	fi
	kvm=$tree/$COMMON/arch/x86/kvm
	emu=$tree/snpemu
	make_snp_modules "$tree" "$kvm"
	verify_kvm_sources "$tree"
	# KVM's interface of this kernel, for test programs: Debian 12's own headers are older.
	mkdir -p "$OUT/uapi/linux" "$OUT/uapi/asm"
	sed -e 's/__user//g' -e '/linux\/compiler.h/d' "$tree/$COMMON/include/uapi/linux/kvm.h" >"$OUT/uapi/linux/kvm.h"
	sed '/linux\/bits.h/d' "$tree/$COMMON/arch/x86/include/uapi/asm/kvm.h" >"$OUT/uapi/asm/kvm.h"
	rm -rf "$root"
	mkdir -p "$root/mod"
	strip -g -o "$root/mod/kvm.ko" "$kvm/kvm.ko"
	strip -g -o "$root/mod/kvm-amd.ko" "$kvm/kvm-amd.ko"
	strip -g -o "$root/mod/snpemu.ko" "$emu/snpemu.ko"
	wait "$firmware" || exit 1
	install_firmware "$root"
	pack "$root" "$OUT/snp.cpio"
	rm -rf "$root"
}

# The firmware process, and a MODEL root and chip of this working copy's own
compile_firmware() {
	local model=$SHARED/snp-model program=$SHARED/cargo/x86_64-unknown-linux-gnu/release/snp-firmware
	command -v cargo >/dev/null 2>&1 || die "no cargo here: the MODEL firmware is a Rust program (https://rustup.rs)"
	say "building the MODEL firmware process"
	(cd "$HERE" && RUSTFLAGS="-C target-feature=+crt-static" CARGO_PROFILE_RELEASE_LTO=off \
		cargo build --quiet --release --locked --package casemate-snp-firmware --target x86_64-unknown-linux-gnu \
		--target-dir "$SHARED/cargo") >"$SHARED/cargo.log" 2>&1 ||
		{ tail -30 "$SHARED/cargo.log" >&2; die "the MODEL firmware process does not build"; }
	if [ ! -s "$model/processor.json" ]; then
		say "making a MODEL root and chip (keys of 4096 bits: this takes a while)"
		rm -rf "$model" "$model.new"
		"$program" generate "$model.new" || die "no MODEL root could be made"
		mv "$model.new" "$model"
	fi
}

install_firmware() { # DIRECTORY: L1's root
	mkdir -p "$1/bin" "$1/etc/snp-model"
	install -m 755 "$SHARED/cargo/x86_64-unknown-linux-gnu/release/snp-firmware" "$1/bin/snp-firmware"
	cp "$SHARED/snp-model"/{processor.json,ark-ask.pem,vcek.der} "$1/etc/snp-model/"
}
