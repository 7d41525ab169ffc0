# The emulator that the virtual host runs on. QEMU 7.2 and 10.0 have defects that later ones have not (tests/host/README.md, "Defects
# of the emulator"), so where the machine's own is older than GOOD_QEMU, that of Debian testing is taken, with its own C library and
# firmware, downloaded and unpacked under target/host/qemu, not installed. Sourced by build, which fetches it, and by run, which starts it;
# needs HERE, say() and die().
GOOD_QEMU=11.0
QEMU_PACKAGE=qemu-system-x86
QEMU_SUITE=testing

# installed_qemu   prints the version of the machine's own, nothing when there is none
installed_qemu() {
	qemu-system-x86_64 --version 2>/dev/null | sed -n 's/^QEMU emulator version \([0-9.]*\).*/\1/p'
}

installed_qemu_is_good() {
	local version
	version=$(installed_qemu)
	[ -n "$version" ] && [ "$(printf '%s\n' $GOOD_QEMU "$version" | sort -V | head -1)" = $GOOD_QEMU ]
}

newer_qemu_is_there() { # DIRECTORY
	[ "$(cat "$1/qemu/complete" 2>/dev/null)" = "$QEMU_SUITE: $QEMU_PACKAGE" ]
}

# newer_qemu_is_wanted DIRECTORY   whether there is something to fetch; what could not be had is not asked for again on the same day
newer_qemu_is_wanted() {
	! newer_qemu_is_there "$1" && ! installed_qemu_is_good &&
		[ -z "$(find "$1/qemu-unavailable" -mtime -1 2>/dev/null)" ]
}

# fetch_newer_qemu DIRECTORY   false when it cannot be had. The caller holds the directory's lock.
fetch_newer_qemu() {
	(
		. "$HERE/lib/newer.sh"
		newer_packages "$1/qemu" $QEMU_SUITE $QEMU_PACKAGE
	) && rm -f "$1/qemu-unavailable" && return
	touch "$1/qemu-unavailable"
	return 1
}

# newer_qemu DIRECTORY   sets the array qemu to the one that was fetched
newer_qemu() {
	local root=$1/qemu/root lib
	for lib in "$root/lib/x86_64-linux-gnu" "$root/usr/lib/x86_64-linux-gnu"; do
		[ ! -x "$lib/ld-linux-x86-64.so.2" ] || break
	done
	[ -x "$root/usr/bin/qemu-system-x86_64" ] || die "the package $QEMU_PACKAGE has changed: no usr/bin/qemu-system-x86_64" 125
	qemu=("$lib/ld-linux-x86-64.so.2" --library-path "$root/lib/x86_64-linux-gnu:$root/usr/lib/x86_64-linux-gnu"
		"$root/usr/bin/qemu-system-x86_64" -L "$root/usr/share/qemu" -L "$root/usr/share/seabios")
}

# choose_emulator DIRECTORY KIND   sets the array qemu. KIND: installed, newer (nothing else will do), or usual
choose_emulator() {
	qemu=(qemu-system-x86_64)
	case $2 in
	installed) return ;;
	newer)
		if ! newer_qemu_is_there "$1"; then
			exec 9>"$1/lock"
			flock 9
			fetch_newer_qemu "$1" || die "the newer emulator cannot be had" 125
			exec 9>&-
		fi ;;
	esac
	if newer_qemu_is_there "$1" && { [ "$2" = newer ] || ! installed_qemu_is_good; }; then
		newer_qemu "$1"
	elif ! installed_qemu_is_good; then
		say "the emulator is this machine's QEMU $(installed_qemu): guests of other kernels than 6.1 and 6.12 may not boot, and hosts" \
			"with several processors can be lost (tests/host/README.md)"
	fi
}
