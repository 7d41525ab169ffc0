# How a VM can end by itself.
run hello hello
run five five
run reboot reboot
run panic panic
run timeout wait --timeout 3s
