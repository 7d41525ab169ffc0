# Two processors, and a kernel that is an ELF file.
run two-vcpus cpus --vcpus 2
kernel=/k/vmlinux
run elf hello
