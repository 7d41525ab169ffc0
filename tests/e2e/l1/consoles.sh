# Where console bytes go and come from, and a user without rights.
mkfifo /tmp/in
exec 5<>/tmp/in
start stdin echo <&5
until_seen /out/stdin.out "guest: task"
sleep 1
echo "from the host" >&5
finish stdin
exec 5>&-
rm /tmp/in

# The second is where a full one is set aside.
touch /home/user/console.log /home/user/console.log.1
chown user:user /home/user/console.log /home/user/console.log.1
ls /tmp /dev/shm /run /home/user >/out/user.before
su user -c "casemate run --name user --protection none --kernel $kernel --initrd /e2e/initrd --memory 192M --timeout 150s \
	--cmdline 'console=ttyS0 reboot=acpi panic=-1 quiet task=hello' --console file:/home/user/console.log" >/out/user.out 2>/out/user.err &
pid=$!
finish user
cp /home/user/console.log /out/user.console

start pty echo --console pty
until_seen /out/pty.err "console at"
terminal=$(sed -n 's/.*console at //p' /out/pty.err)
cat "$terminal" >/out/pty.console &
reader=$!
until_seen /out/pty.console "guest: task"
sleep 1
echo "through the terminal" >"$terminal"
finish pty
kill $reader
