# Signals to the supervisor and to the vmm process.
start power-off wait
until_seen /out/power-off.out "guest: task"
kill -INT $pid
finish power-off

# A kernel that has not booted does not see the power button.
start second-signal wait
vmm second-signal
sleep 1
kill -TERM $pid
until_seen /out/second-signal.err "asked the guest"
kill -TERM $pid
finish second-signal

start stopped hello
vmm stopped
kill -STOP $vmm
sleep 1
kill -CONT $vmm
kill -STOP $pid
sleep 1
kill -CONT $pid
finish stopped

start supervisor-killed wait
vmm supervisor-killed
kill -KILL $pid
finish supervisor-killed

start vmm-killed wait
vmm vmm-killed
kill -KILL $vmm
finish vmm-killed

# The name of a running VM is taken.
start name-in-use wait
vmm name-in-use
sleep 1
casemate run --name name-in-use --protection none --kernel $kernel >/out/taken.out 2>/out/taken.err
echo $? >/out/taken.status
kill -KILL $pid
finish name-in-use
