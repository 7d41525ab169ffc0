# How a VM can end by itself.
run hello hello
run five five
run reboot reboot
reset=reboot=acpi run reboot-acpi reboot
run panic panic
limit=3s run timeout wait
# A kernel that is an ELF file.
kernel=/k/vmlinux run elf hello
