/* SPDX-License-Identifier: GPL-2.0 */
# An SNP guest that tries the instructions and protocols of the platform, one after the other, and writes what it saw into the
# shared page at LOG; vmm.c knows what it must be. 64-bit mode at GPA 0x10000, identity map, C-bit 39, page 0x60000 the GHCB.
.section .rodata
.globl guest_start, guest_end
.code64
.set LOG, 0x61000
.set G, 0x60000
.macro LOGRAX off
 mov %rax, LOG+\off
.endm
.macro GMSR val
 mov $\val, %rdx
 call ghcb_msr
.endm
guest_start:
 mov $0x20000, %rsp
 mov $0xc0010131, %ecx
 rdmsr
 shl $32,%rdx
 or %rdx,%rax
 LOGRAX 0x00
 GMSR 2
 LOGRAX 0x08
 GMSR 0x80
 LOGRAX 0x10
 # CPUID -> #VC
 mov $0x80000000,%eax
 xor %ecx,%ecx
 cpuid
 mov %eax,%eax
 LOGRAX 0x20
 # PVALIDATE a private page nobody launched
 mov $0x70000,%rax
 call pval1
 LOGRAX 0x28
 mov $0x70000,%rax
 call pval1
 LOGRAX 0x30
 movabs $0x1122334455667788,%rbx
 mov %rbx,0x70000
 mov 0x70000,%rax
 LOGRAX 0x38
 mov $0x10000,%rax
 call pval1
 LOGRAX 0x40
 # RMPADJUST 0x70000 VMPL1 perms
 mov $0x70000,%rax
 xor %ecx,%ecx
 mov $0x0f01,%edx
 .byte 0xf3,0x0f,0x01,0xfe
 LOGRAX 0x48
 # 2M PVALIDATE
 mov $0x400000,%rax
 mov $1,%ecx
 mov $1,%edx
 .byte 0xf2,0x0f,0x01,0xff
 LOGRAX 0x50
 # XMM survives an exit
 movabs $0xdeadbeefcafef00d,%rax
 movq %rax,%xmm7
 # register GHCB
 GMSR 0x60012
 LOGRAX 0x58
 movq %xmm7,%rax
 LOGRAX 0x60
 # OUT 0x3f8 via GHCB
 lea msg(%rip),%rsi
1: movzbl (%rsi),%eax
 test %al,%al
 jz 2f
 call outb
 inc %rsi
 jmp 1b
2:
 # PSC: 0x71000 private -> shared
 mov $0x71000,%rax
 call pval1
 movl $0x5ec2e7,0x71000
 mov $0x71000,%rax
 xor %ecx,%ecx
 xor %edx,%edx
 .byte 0xf2,0x0f,0x01,0xff
 LOGRAX 0x68
 movabs $0x0020000000071014,%rdx
 call ghcb_msr
 LOGRAX 0x70
 movq $0x71003,0x4000+0x71*8
 invlpg 0x71000
 movabs $0x5ade5ade5ade5ade,%rbx
 mov %rbx,0x71000
 mov 0x71008,%rax
 LOGRAX 0x78
 # and back to private
 movabs $0x0010000000071014,%rdx
 call ghcb_msr
 LOGRAX 0x80
 movabs $0x8000071003,%rax
 mov %rax,0x4000+0x71*8
 invlpg 0x71000
 mov $0x71000,%rax
 call pval1
 LOGRAX 0x88
 mov 0x71000,%rax
 LOGRAX 0x90
 # MMIO without handler emulation: must be #VC error 0x400
 mov $0xd0000000,%eax
 .byte 0x48,0x8b,0x08
 # unvalidated private page -> #VC 0x404
 mov $0x72000,%eax
 .byte 0x48,0x8b,0x08
 mov vcn(%rip),%rax
 LOGRAX 0x98
 # page 0x70000 again: in the 'evil' test the host has replaced it meanwhile
 mov $0x70000,%eax
 xor %ecx,%ecx
 .byte 0x48,0x8b,0x08
 mov %rcx,LOG+0xb0
 # cpuid page: count, and secrets version
 mov 0x9000,%eax
 LOGRAX 0xa0
 mov 0x8000,%eax
 LOGRAX 0xa8
 movabs $0x421100,%rdx
 call ghcb_msr
 ud2
pval1:
 xor %ecx,%ecx
 mov $1,%edx
 .byte 0xf2,0x0f,0x01,0xff
 setc %cl
 movzbl %cl,%ecx
 shl $32,%rcx
 or %rcx,%rax
 ret
ghcb_msr:
 push %rcx
 mov %rdx,%rax
 shr $32,%rdx
 mov $0xc0010130,%ecx
 wrmsr
 .byte 0xf3,0x0f,0x01,0xd9
 rdmsr
 shl $32,%rdx
 or %rdx,%rax
 pop %rcx
 ret
outb:
 push %rax
 mov $G,%edi
 xor %eax,%eax
 mov $512,%ecx
 rep stosq
 pop %rax
 mov %rax,G+0x1f8
 movq $0x7b,G+0x390
 movq $0x03f80010,G+0x398
 movq $0,G+0x3a0
 movb $0x80,G+0x3f0+7
 movb $0x1c,G+0x3f0+14
 movw $2,G+0xffa
 movl $0,G+0xffc
 mov $0xc0010130,%ecx
 mov $G,%eax
 xor %edx,%edx
 wrmsr
 .byte 0xf3,0x0f,0x01,0xd9
 ret
.globl guest_vc
guest_vc:   # error code on stack
 push %rax
 push %rbx
 push %rcx
 push %rdx
 mov 32(%rsp),%rax
 mov vcn(%rip),%rbx
 mov %rax,LOG+0x100(,%rbx,8)
 incq vcn(%rip)
 cmp $0x72,%rax
 je 3f
 addq $3,40(%rsp)
 jmp 4f
3: # CPUID by MSR protocol, EAX only
 mov 24(%rsp),%rdx
 shl $32,%rdx
 or $4,%rdx
 call ghcb_msr
 shr $32,%rax
 mov %rax,24(%rsp)
 addq $2,40(%rsp)
4:
 pop %rdx
 pop %rcx
 pop %rbx
 pop %rax
 add $8,%rsp
 iretq
.balign 8
vcn: .quad 0
msg: .asciz "hello from an SNP guest\n"
guest_end:
.section .note.GNU-stack,"",@progbits
