# Images that boot, and those of which a byte was changed. The images are in /img, made by tests/image.rs.
# start_image NAME IMAGE [FLAG]...: in the background; $pid is the supervisor
start_image() {
	local name=$1 image=$2
	shift 2
	ls /tmp /dev/shm /run /home/user >/out/$name.before
	(exec casemate run "/img/$image/" --name "$name" --shape 1x192M --protection none --timeout 150s --grace 60s "$@" \
		>/out/$name.out 2>/out/$name.err </dev/null) &
	pid=$!
}
image() {
	start_image "$@"
	finish "$1"
}
# change FILE OFFSET: another byte there
change() {
	local byte
	byte=$(dd if="$1" bs=1 skip="$2" count=1 2>/dev/null | od -An -tu1)
	printf "\\$(printf %o $((byte ^ 1)))" | dd of="$1" bs=1 seek="$2" count=1 conv=notrunc 2>/dev/null
}

image user user
image doors doors --timeline
image status status
image none none
start_image stop wait
until_seen /out/stop.out "guest: waits"
kill -TERM $pid
finish stop
# A byte of the first block; of the highest one of the tree, which is the first behind the data; of the file that is read.
cp -R /img/user /img/first
change /img/first/root.img 1040
image first first
cp -R /img/user /img/tree
blocks=$(sed -n 's/.*casemate.root=\([0-9]*\):.*/\1/p' /img/tree/launch.json)
change /img/tree/root.img $((blocks * 4096 + 5))
image tree tree
cp -R /img/read /img/file
change /img/file/root.img "$(cat /img/data-at)"
image file file
# Another root hash on the command line: the host's own mistake, or its attack.
cp -R /img/user /img/hash
sed -i 's/\(casemate.root=[0-9]*:\)./\1x/; s/:x/:0/' /img/hash/launch.json
image hash hash
# No disk at all.
ls /tmp /dev/shm /run /home/user >/out/lost.before
casemate run --name lost --protection none --memory 192M --timeout 150s --kernel /img/user/kernel --initrd /img/user/initrd \
	--cmdline "$(sed -n 's/.*"cmdline": "\(.*\)",/\1/p' /img/user/launch.json)" >/out/lost.out 2>/out/lost.err </dev/null
echo $? >/out/lost.status
left lost
# Results that leave sealed: the workload's inputs come back in them.
echo "1 2 3" >/tmp/readings
image sealed sealed --input /tmp/readings --output /out/sealed.result --nonce "$(printf '%064d' 42)"
cp /img/owner.key /out/sealed.key
# Ended for want of memory: what it had made is sealed, and that it was.
image memory memory --output /out/memory.result --nonce "$(printf '%064d' 42)"
# Nowhere to go.
image nowhere sealed
