# The virtual SNP host's own kernel built from Debian's source with KASAN and lockdep, and KVM and the model against it. Sourced
# by build after kvm-modules.sh; takes five to sixty minutes once.

# Unpacks, configures and compiles; does nothing when that is done for this configuration.
compile_debug_kernel() {
	local recipe
	recipe=$(cat "$HERE/snp/debug/kernel.config" "$OUT/kernel-version" | sha256sum)
	[ "$(cat "$DEBUG/.recipe" 2>/dev/null)" != "$recipe" ] || return 0
	install_tools flex:flex bison:bison bc:bc
	[ -e /usr/include/libelf.h ] || install_tools libelf.h:libelf-dev
	say "compiling a kernel with KASAN and lockdep (this takes long)"
	if [ ! -f "$DEBUG/Makefile" ]; then
		rm -rf "$DEBUG.new"
		mkdir "$DEBUG.new"
		dpkg-deb --fsys-tarfile "$(fetch_package linux-source-6.12 "$KVER" "$OUT/debs")" |
			tar -xO ./usr/src/linux-source-6.12.tar.xz | tar -xJ -C "$DEBUG.new" --strip-components=1
		mv "$DEBUG.new" "$DEBUG"
	fi
	make -s -C "$DEBUG" allnoconfig KCONFIG_ALLCONFIG="$HERE/snp/debug/kernel.config" >"$OUT/make.log" 2>&1 ||
		die "the kernel cannot be configured (log: $OUT/make.log)"
	make -s -j"$(nproc)" -C "$DEBUG" bzImage modules >"$OUT/make.log" 2>&1 ||
		die "the kernel does not build (log: $OUT/make.log)"
	echo "$recipe" >"$DEBUG/.recipe"
}

# The options that KVM is built with here, as in configured_tree; objects of the kernel's own build had others.
reconfigure_kvm() {
	local option
	for option in $PRIVATE_MEMORY $SNP_OPTIONS; do
		grep -q "^CONFIG_$option=y" "$DEBUG/include/config/auto.conf" && continue
		echo "CONFIG_$option=y" >>"$DEBUG/include/config/auto.conf"
		echo "#define CONFIG_$option 1" >>"$DEBUG/include/generated/autoconf.h"
	done
	find "$DEBUG/arch/x86/kvm" "$DEBUG/virt" -name '*.o' -o -name '.*.cmd' -o -name '*.ko' | xargs rm -f
}

build_debug_host() {
	local root=$OUT/debug.root name HEADERS=.
	DEBUG=$OUT/debug.tree
	install_tools gcc:gcc make:make strip:binutils
	compile_firmware
	compile_debug_kernel
	reconfigure_kvm
	make_snp_modules "$DEBUG" "$DEBUG/arch/x86/kvm"
	rm -rf "$root"
	mkdir -p "$root/mod"
	for name in arch/x86/kvm/kvm arch/x86/kvm/kvm-amd snpemu/snpemu virt/lib/irqbypass drivers/net/tun; do
		[ -f "$DEBUG/$name.ko" ] || make_modules "$DEBUG" "$DEBUG/${name%/*}"
		strip -g -o "$root/mod/${name##*/}.ko" "$DEBUG/$name.ko"
	done
	install_firmware "$root"
	pack "$root" "$OUT/debug.cpio"
	cp "$DEBUG/arch/x86/boot/bzImage" "$OUT/debug.vmlinuz"
	rm -rf "$root"
}
