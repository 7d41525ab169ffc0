# A kernel that is an ELF file.
kernel=/k/vmlinux
run elf hello
