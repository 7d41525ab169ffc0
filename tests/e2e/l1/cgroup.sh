# Control groups of VMs: limits that are in force and that are met, an ordinary user, and what is left.
groups=/sys/fs/cgroup
echo "+cpu +memory +pids" >$groups/cgroup.subtree_control
mkdir $groups/vms
dirs() {
	# Only a janitor whose supervisor was killed may take a moment.
	local tries=${2-1}
	while [ -n "$(ls -d $groups/vms/*/ 2>/dev/null)" ] && [ $((tries -= 1)) -gt 0 ]; do usleep 100000; done
	ls -d $groups/vms/*/ >/out/$1.dirs 2>/dev/null
}

start groups wait --cgroup $groups/vms --cgroup-limit memory=512M,pids=64,cpu_percent=400,cpu_weight=50 \
	--cgroup-limit vmm:pids=32,cpu_weight=200 --rng
until_seen /out/groups.out "guest: task"
for file in groups.vm/memory.max groups.vm/pids.max groups.vm/cpu.max groups.vm/cpu.weight groups.vm/vmm/pids.max \
	groups.vm/vmm/cpu.weight groups.vm/rng/pids.max; do
	echo "$file: $(cat $groups/vms/$file)"
done >/out/groups.files
for name in casemate-vmm casemate-device casemate; do
	for process in $(pidof $name); do
		echo "$name: $(grep ^0:: /proc/$process/cgroup)"
	done
done >/out/groups.members
casemate inspect groups >/out/groups.inspect
casemate sandbox show groups | grep -E '^(==|control group)' >/out/groups.shown
casemate sandbox check groups >/out/groups.check 2>&1
kill -INT $pid
finish groups
dirs groups

# More memory than the group may have; the guest has more than that.
run memory fill --cgroup $groups/vms --cgroup-limit memory=100M
dirs memory
run process-memory fill --cgroup $groups/vms --cgroup-limit vmm:memory=100M
dirs process-memory

# The disk's process has a thread for its queue beside its own.
dd if=/dev/zero of=/out/pids.disk bs=64k count=1 2>/dev/null
run pids hello --cgroup $groups/vms --cgroup-limit block-disk0:pids=1 --disk path=/out/pids.disk,no-standby
rm /out/pids.disk
dirs pids

start killed wait --cgroup $groups/vms --cgroup-limit memory=512M --rng
until_seen /out/killed.out "guest: task"
ls -d $groups/vms/*/ $groups/vms/*/*/ >/out/killed.during
kill -KILL $pid
finish killed
dirs killed 100

# The policy is asked about the limits that hold in the VM's group, below those of the groups above it.
run admitted hello --cgroup $groups/vms --cgroup-limit memory=256M,pids=64,cpu_percent=400 --policy /e2e/policy.toml
dirs admitted
run denied hello --cgroup $groups/vms --cgroup-limit memory=512M,pids=64,cpu_percent=400 --policy /e2e/policy.toml
dirs denied
echo 200M >$groups/vms/memory.max
run above hello --cgroup $groups/vms --cgroup-limit pids=64,cpu_percent=400 --policy /e2e/policy.toml
dirs above
echo max >$groups/vms/memory.max

# A user to whom a group was delegated: from outside of it, and from inside.
mkdir $groups/user $groups/user/vms $groups/user/run
echo "+cpu +memory +pids" >$groups/user/cgroup.subtree_control
for group in user user/vms user/run; do
	chown user:user $groups/$group $groups/$group/cgroup.procs $groups/$group/cgroup.subtree_control
done
as_user() {
	ls /tmp /dev/shm /run /home/user >/out/$1.before
	su user -c "casemate run --name $1 --protection none --kernel $kernel --initrd /e2e/initrd --memory 192M --timeout 150s \
		--cmdline 'console=ttyS0 reboot=acpi panic=-1 quiet task=hello' --cgroup $groups/user/vms \
		--cgroup-limit memory=256M,pids=64" >/out/$1.out 2>/out/$1.err </dev/null
	echo $? >/out/$1.status
	left $1
	ls -d $groups/user/vms/*/ >/out/$1.dirs 2>/dev/null
}
as_user outside
(
	echo 0 >$groups/user/run/cgroup.procs
	as_user inside
)

# A group with processes in it has no groups with limits below it.
mkdir $groups/busy
sleep 1000 &
echo $! >$groups/busy/cgroup.procs
run busy hello --cgroup $groups/busy --cgroup-limit memory=256M
kill $!
