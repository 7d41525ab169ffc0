# Packages of newer Debian suites, unpacked and never installed: through an apt configuration of its own, which takes nothing
# from the machine's but the address of its archive and changes nothing of it. Sourced; needs die() and say().

# newer_index DIRECTORY SUITES   reads the suites' package indices into DIRECTORY; apt uses them with "${newer_options[@]}"
newer_index() {
	local directory=$1 suites=$2 suite archive keyring=/usr/share/keyrings/debian-archive-keyring.gpg
	archive=$(apt-get indextargets --format '$(ORIGIN) $(COMPONENT) $(CODENAME) $(REPO_URI)' 'Created-By: Packages' |
		awk '$1 == "Debian" && $2 == "main" && $3 !~ /-/ { print $4; exit }')
	[ -n "$archive" ] || die "apt here knows no archive of Debian (try: apt-get update)"
	[ -r "$keyring" ] || die "no $keyring: package debian-archive-keyring"
	rm -rf "$directory"
	mkdir -p "$directory"/{lists,archives}/partial "$directory/root"
	for suite in $suites; do
		echo "deb [signed-by=$keyring] $archive $suite main"
	done >"$directory/sources.list"
	: >"$directory/status"
	newer_options=(-qq -o "Dir::Etc::sourcelist=$directory/sources.list" -o Dir::Etc::sourceparts=-
		-o "Dir::State::lists=$directory/lists" -o "Dir::State::status=$directory/status" -o "Dir::Cache=$directory"
		-o APT::Sandbox::User=root -o Debug::NoLocking=1 -o Acquire::Languages=none
		-o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false)
	say "reading the package index of $suites"
	apt-get "${newer_options[@]}" update || die "the suites $suites cannot be read"
}

# newer_files DIRECTORY PACKAGE...   downloads these packages alone, by the index that was read last
newer_files() {
	local directory=$1
	shift
	rm -rf "$directory"
	mkdir -p "$directory"
	(cd "$directory" && apt-get "${newer_options[@]}" download "$@" >/dev/null) || die "cannot be downloaded: $*"
}

# newer_packages DIRECTORY SUITES PACKAGE...   downloads the packages and all they depend on, of the last of the suites that has
# them, into DIRECTORY/archives and unpacks them into DIRECTORY/root. Nothing happens when that was done before.
newer_packages() {
	local directory=$1 suites=$2 archive suite
	shift 2
	[ "$(cat "$directory/complete" 2>/dev/null)" != "$suites: $*" ] || return 0
	newer_index "$directory" "$suites"
	for suite in $suites; do :; done # the last
	say "downloading $* and what they need"
	# With the status of a machine that has nothing installed, all dependencies come along, the C library too.
	apt-get "${newer_options[@]}" -y --no-install-recommends --download-only -t "$suite" install "$@" >/dev/null ||
		die "of the suites $suites: cannot be downloaded: $*"
	for archive in "$directory"/archives/*.deb; do dpkg-deb -x "$archive" "$directory/root"; done
	rm -rf "$directory/archives" "$directory/lists"
	echo "$suites: $*" >"$directory/complete"
}
