/* SPDX-License-Identifier: GPL-2.0 */
# A guest with two vCPUs: the first at VMPL0 makes the second's VMSA at VMPL1 (SNP AP creation), and gives it permissions on pages one
# after the other, while the second tries to use them. What both saw is written into the shared page at LOG; vmpl.c knows what it
# must be. Memory as in guest.S.
.section .rodata
.globl vmpl_start, vmpl_end, vmpl_second
.code64
.set LOG, 0x61000
.set STAGE, LOG+0x200	# how far the second has come
.set G, 0x60000
.set VMSA, 0x80000
.set DATA, 0x81000	# the second may read it, later write it
.set STACK, 0x82000
.set FUNCTION, 0x85000	# the second may read it, later execute it
.set READ, 1
.set WRITE, 2
.set EXECUTE, 0xc	# in user and supervisor mode

# RMPADJUST of a 4 KiB page: permissions for a VMPL; EAX the result
.macro ADJUST page, vmpl, perms, vmsa=0
 mov $\page, %rax
 xor %ecx, %ecx
 mov $(\vmsa << 16 | (\perms) << 8 | \vmpl), %rdx
 .byte 0xf3,0x0f,0x01,0xfe
.endm
.macro LOGRAX slot
 mov %rax, LOG+8*\slot
.endm
# Long enough for the other vCPU to run several times
.macro WAIT
 mov $3000000, %ebx
9: pause
 dec %ebx
 jnz 9b
.endm
.macro UNTIL stage
9: pause
 cmpl $\stage, STAGE
 jb 9b
.endm

vmpl_start:
 mov $0x20000, %rsp
 # registers the GHCB (GHCB specification 2.3.2)
 mov $0x60012, %rdx
 call ghcb_msr
 movq $0x1234, DATA
 ADJUST 0x1000, 1, (READ|WRITE)	# page tables: the processor sets bits in them
 ADJUST 0x2000, 1, (READ|WRITE)
 ADJUST 0x3000, 1, (READ|WRITE)
 ADJUST 0x4000, 1, (READ|WRITE)
 ADJUST 0x5000, 1, READ
 ADJUST 0x6000, 1, READ
 ADJUST 0x10000, 1, (READ|EXECUTE)
 ADJUST STACK, 1, (READ|WRITE)
 ADJUST FUNCTION, 1, READ
 ADJUST DATA, 1, READ
 LOGRAX 0
 ADJUST VMSA, 1, 0, 1
 LOGRAX 1
 call create_second
 UNTIL 1
 WAIT
 mov STAGE, %eax
 LOGRAX 2
 mov DATA, %rax
 LOGRAX 3
 ADJUST DATA, 1, (READ|WRITE)
 UNTIL 2
 mov DATA, %rax
 LOGRAX 4
 WAIT
 mov STAGE, %eax
 LOGRAX 5
 ADJUST FUNCTION, 1, (READ|EXECUTE)
 UNTIL 3
 movabs $0x421100, %rdx
 call ghcb_msr
 ud2

# VMGEXIT 0x80000013, request CREATE for APIC id 1 (GHCB specification 4.1.9)
create_second:
 mov $G, %edi
 xor %eax, %eax
 mov $512, %ecx
 rep stosq
 movq $1, G+0x1f8	# SEV_FEATURES of the VMSA: SNP
 movl $0x80000013, G+0x390
 movabs $0x100000001, %rax
 mov %rax, G+0x398
 movq $VMSA, G+0x3a0
 movb $0x80, G+0x3f0+7
 movb $0x1c, G+0x3f0+14
 movw $2, G+0xffa
 mov $0xc0010130, %ecx
 mov $G, %eax
 xor %edx, %edx
 wrmsr
 .byte 0xf3,0x0f,0x01,0xd9
 mov G+0x398, %rax
 LOGRAX 6
 ret
ghcb_msr:
 mov %rdx, %rax
 shr $32, %rdx
 mov $0xc0010130, %ecx
 wrmsr
 .byte 0xf3,0x0f,0x01,0xd9
 ret

vmpl_second:
 mov DATA, %rax
 LOGRAX 16
 # PVALIDATE is for VMPL0
 mov $DATA, %rax
 xor %ecx, %ecx
 mov $1, %edx
 .byte 0xf2,0x0f,0x01,0xff
 LOGRAX 17
 ADJUST DATA, 1, (READ|WRITE)	# its own permissions
 LOGRAX 18
 ADJUST DATA, 2, (READ|WRITE)	# more than it has
 LOGRAX 19
 ADJUST DATA, 2, READ
 LOGRAX 20
 movl $1, STAGE
 movq $0x5678, DATA
 movl $2, STAGE
 mov $FUNCTION, %eax
 call *%rax
 LOGRAX 21
 movl $3, STAGE
1: pause
 jmp 1b
vmpl_end:
.section .note.GNU-stack,"",@progbits
