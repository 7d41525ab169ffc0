# Functions of the scenarios that run in the virtual host. A scenario NAME leaves in /out: NAME.out, NAME.err (standard
# output and error output), NAME.status, and NAME.left (what was still there after its end).
mkdir -p /out
chmod 777 /out
kernel=/k/vmlinuz

# vm NAME TASK [FLAG]...: casemate in the foreground
vm() {
	local name=$1 task=$2
	shift 2
	exec casemate run --name "$name" --protection none --kernel $kernel --initrd /e2e/initrd --memory 192M \
		--cmdline "console=ttyS0 ${reset-} panic=-1 ${verbosity-quiet} task=$task" --timeout "${limit:-150s}" --grace 100s "$@"
}

# start NAME TASK [FLAG]...: in the background; $pid is the supervisor
start() {
	ls /tmp /dev/shm /run /home/user >/out/$1.before
	# The shell gives a job in the background /dev/null as its input, unless told otherwise.
	{ (vm "$@" <&3 3<&- >/out/$1.out 2>/out/$1.err) & } 3<&0
	pid=$!
}

# finish NAME: waits for its end
finish() {
	wait $pid
	echo $? >/out/$1.status
	left "$1"
}

# left NAME: processes, names and files that are still there. A child that was killed with its parent may take a moment.
left() {
	local tries=50
	while pidof casemate >/dev/null && [ $((tries -= 1)) -gt 0 ]; do usleep 100000; done
	# A file: diff would put its standard input into /tmp, where it looks.
	ls /tmp /dev/shm /run /home/user >/out/$1.after
	{
		pidof casemate | sed 's/^/process /'
		grep casemate/ /proc/net/unix
		diff /out/$1.before /out/$1.after
	} >/out/$1.left
}

# run NAME TASK [FLAG]...: to its end
run() {
	start "$@"
	finish "$1"
}

# until_seen FILE TEXT: waits for a text in a file
until_seen() {
	local tries=900
	until grep -q "$2" "$1" 2>/dev/null; do
		usleep 100000
		[ $((tries -= 1)) -gt 0 ] || { echo "no \"$2\" in $1" >&2; return 1; }
	done
}

# vmm NAME: waits until the VM's process is there; $vmm is it, by its name: the first child of a supervisor writes an image
vmm() {
	vmm=
	local tries=200
	until [ -n "$vmm" ]; do
		usleep 50000
		for child in $(cat /proc/$pid/task/$pid/children 2>/dev/null); do
			case $(tr '\0' ' ' 2>/dev/null </proc/$child/cmdline) in casemate-vmm*) vmm=$child ;; esac
		done
		[ $((tries -= 1)) -gt 0 ] || { echo "no vmm process of $1" >&2; return 1; }
	done
}
