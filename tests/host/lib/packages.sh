# Debian packages for the virtual host: tools that must be installed, and packages that are only unpacked.
# Sourced by build; needs die() and say().

# install_tools COMMAND:PACKAGE...   installs the packages whose command is missing, saying so
install_tools() {
	local pair missing=() names=()
	for pair in "$@"; do
		command -v "${pair%%:*}" >/dev/null 2>&1 && continue
		missing+=("${pair#*:}")
		names+=("${pair%%:*} (${pair#*:})")
	done
	[ ${#missing[@]} -gt 0 ] || return 0
	say "missing tools: ${names[*]}"
	command -v apt-get >/dev/null 2>&1 ||
		die "no apt-get here: install these yourself: ${missing[*]}"
	[ "$(id -u)" = 0 ] ||
		die "installing them needs root; run: sudo apt-get install --no-install-recommends ${missing[*]}"
	say "installing by apt-get: ${missing[*]}"
	refresh_index
	apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null ||
		die "apt-get could not install: ${missing[*]}"
}

# The package index is read again at most once in a build.
index_fresh=
refresh_index() {
	[ -z "$index_fresh" ] || return 0
	index_fresh=1
	[ "$(id -u)" = 0 ] || return 0
	apt-get update -qq || say "warning: apt-get update failed; going on with the package index at hand"
}

# kernel_release   prints the release (such as 6.12.117+deb12) that the 6.12 cloud kernel's meta package names
kernel_release() {
	apt-cache depends linux-image-6.12-cloud-amd64 2>/dev/null |
		sed -n 's/.*Depends: linux-image-\(.*\)-cloud-amd64$/\1/p' | head -1
}

# package_version PACKAGE   prints the version that apt would take
package_version() {
	apt-cache show --no-all-versions "$1" 2>/dev/null | sed -n 's/^Version: //p' | head -1
}

# fetch_package PACKAGE VERSION DIRECTORY   downloads the package once; prints the path of its .deb
fetch_package() {
	local file
	file=$3/$1_${2//:/%3a}.deb
	if [ ! -s "$file" ]; then
		apt-cache show "$1=$2" >/dev/null 2>&1 ||
			die "package $1 version $2 is not in the apt sources (try: apt-get update)"
		say "downloading $1 $2"
		mkdir -p "$3/partial"
		(cd "$3/partial" && rm -f "$1"_*.deb &&
			apt-get -o APT::Sandbox::User=root download -qq "$1=$2" >/dev/null) ||
			die "download of $1=$2 failed"
		mv "$3/partial/$1"_*.deb "$file"
	fi
	printf '%s\n' "$file"
}
