// SPDX-License-Identifier: GPL-2.0
/*
 * The world switch of an SEV-ES or SNP guest on plain SVM, in place of KVM's __svm_sev_es_vcpu_run: the guest runs in a second
 * VMCB, made of KVM's control area and the VMSA, until an exit that the hypervisor may see.
 */
#include <linux/module.h>
#include <linux/kvm_host.h>
#include <asm/svm.h>
#include <asm/fpu/xcr.h>
#include "svm.h"
#include "compat.h"
#include "snpemu.h"

#define FLUSH_VCPU_SWITCH	7	/* redirect/sev.h */
#define GHCB_MSR_PSC_ANSWER	0x015
#define GHCB_EXIT_CODE		0x390
#define GHCB_EXIT_INFO_2	0x3a0
#define GHCB_EXIT_PSC		0x80000010
#define FPU_STATE		7	/* x87, SSE, AVX: vmsa.c */
#define MSRPM_GHCB		0x104c	/* where the bits of GHCB_MSR and SEV_STATUS are in KVM's map */

/* rdi: VMSA (its registers are at 0x300), rsi: VMCB that runs, rdx: host save area; both physical */
asm(".pushsection .text\n"
    ".globl snpemu_enter\n"
    ".type snpemu_enter, @function\n"
    "snpemu_enter:\n"
    "	push %rbp\n	push %rbx\n	push %r12\n	push %r13\n	push %r14\n	push %r15\n"
    "	push %rdi\n	push %rdx\n"
    "	mov %rsi, %rax\n	vmload %rax\n"
    "	mov 0x308(%rdi), %rcx\n	mov 0x310(%rdi), %rdx\n	mov 0x318(%rdi), %rbx\n"
    "	mov 0x328(%rdi), %rbp\n	mov 0x330(%rdi), %rsi\n"
    "	mov 0x340(%rdi), %r8\n	mov 0x348(%rdi), %r9\n	mov 0x350(%rdi), %r10\n	mov 0x358(%rdi), %r11\n"
    "	mov 0x360(%rdi), %r12\n	mov 0x368(%rdi), %r13\n	mov 0x370(%rdi), %r14\n	mov 0x378(%rdi), %r15\n"
    "	mov 0x338(%rdi), %rdi\n"
    "	vmrun %rax\n	vmsave %rax\n"
    "	xchg %rdi, 8(%rsp)\n"
    "	mov %rcx, 0x308(%rdi)\n	mov %rdx, 0x310(%rdi)\n	mov %rbx, 0x318(%rdi)\n"
    "	mov %rbp, 0x328(%rdi)\n	mov %rsi, 0x330(%rdi)\n"
    "	mov %r8, 0x340(%rdi)\n	mov %r9, 0x348(%rdi)\n	mov %r10, 0x350(%rdi)\n	mov %r11, 0x358(%rdi)\n"
    "	mov %r12, 0x360(%rdi)\n	mov %r13, 0x368(%rdi)\n	mov %r14, 0x370(%rdi)\n	mov %r15, 0x378(%rdi)\n"
    "	mov 8(%rsp), %rcx\n	mov %rcx, 0x338(%rdi)\n"
    "	pop %rax\n	vmload %rax\n	pop %rdi\n"
    "	pop %r15\n	pop %r14\n	pop %r13\n	pop %r12\n	pop %rbx\n	pop %rbp\n"
    "	ret\n	int3\n"
    ".size snpemu_enter, .-snpemu_enter\n"
    ".popsection\n");
void snpemu_enter(struct sev_es_save_area *vmsa, u64 vmcb_pa, u64 host_save_pa);

/* VMRUN takes only a page that the RMP calls this guest's VMSA (APM 15.36.12). */
static bool vmsa_acceptable(struct world *w)
{
	struct rmp_entry *e = rmp_get((w->kvm->control.vmsa_pa & PA_MASK) >> PAGE_SHIFT);

	return e && e->assigned && e->vmsa && e->validated && !e->immutable && e->asid == w->asid &&
	       (w->vmsa->efer & EFER_SVME) && (w->vmsa->sev_features & SVM_SEV_FEAT_SNP_ACTIVE) && w->vmsa->vmpl < VMPLS;
}

static void set_bits(struct vmcb_control_area *c)
{
	unsigned long *intercepts = (unsigned long *)c->intercepts;

	c->intercepts[5] = 0;
	__clear_bit(TRAP_EFER_WRITE, intercepts);
	__clear_bit(TRAP_CR0_WRITE, intercepts);
	__clear_bit(TRAP_CR4_WRITE, intercepts);
	__clear_bit(TRAP_CR8_WRITE, intercepts);
	__set_bit(INTERCEPT_CR8_WRITE, intercepts);
	__set_bit(INTERCEPT_EXCEPTION_OFFSET + UD_VECTOR, intercepts);
	__set_bit(INTERCEPT_EXCEPTION_OFFSET + GP_VECTOR, intercepts);
}

void prepare(struct world *w)
{
	const struct vmcb_control_area *k = &w->kvm->control;
	struct vmcb_control_area *c = &w->vmcb->control;

	memcpy(c, k, sizeof(*c));
	c->NESTED_CTL = (k->NESTED_CTL & ~7ULL) | NESTED_PAGING;
	c->nested_cr3 = __pa(w->shadow->root);
	c->vmsa_pa = 0;
	c->VIRT_EXT = 0;
	c->clean = 0;
	c->tlb_ctl = TLB_CONTROL_FLUSH_ALL_ASID;
	c->int_ctl &= ~AVIC_ENABLE_MASK;
	c->int_state &= ~SVM_GUEST_INTERRUPT_MASK;
	set_bits(c);
	/* KVM lets GHCB_MSR through to the processor, which here does not know it. */
	((u8 *)__va(k->msrpm_base_pa & PA_MASK))[MSRPM_GHCB] |= 0xf;
	vmsa_load(w->vmcb, w->vmsa);
}

/* The GHCB page, as KVM has it; NULL while the MSR protocol is in use */
static u8 *ghcb_page(struct world *w)
{
	u64 gpa = w->kvm->control.ghcb_gpa, leaf;
	int level;

	if (gpa & 0xfff)
		return NULL;
	leaf = host_npt_leaf(w, gpa, &level);
	if (!(leaf & 1) || host_npt_reserved(leaf))
		return NULL;
	return __va(leaf_pfn(leaf, level, gpa) << PAGE_SHIFT);
}

/* The simulated host changes what it has just answered (GHCB specification 2.3.1, 2.6). */
static void faults_on_answer(struct world *w)
{
	u64 *msr = &w->kvm->control.ghcb_gpa;
	u8 *ghcb = ghcb_page(w);

	if (!w->shadow->after_vmgexit)
		return;
	w->shadow->after_vmgexit = false;
	if ((*msr & 0xfff) == GHCB_MSR_PSC_ANSWER && fault_due(FAULT_PSC_LIE))
		*msr |= 1ULL << 32;
	if ((*msr & 0xfff) && fault_due(FAULT_GHCB_MSR))
		*msr ^= 1ULL << 12;
	if (!ghcb)
		return;
	if (*(u64 *)(ghcb + GHCB_EXIT_CODE) == GHCB_EXIT_PSC && fault_due(FAULT_PSC_LIE))
		*(u64 *)(ghcb + GHCB_EXIT_INFO_2) = 1ULL << 32;
	ghcb_late_answer(w, *msr, fault_due(FAULT_GHCB_LATE));
	if (fault_due(FAULT_GHCB))
		fault_shared_page(__pa(ghcb), PAGE_SIZE);
}

static bool traps(struct world *w, int intercept)
{
	return test_bit(intercept, (unsigned long *)w->kvm->control.intercepts);
}

/* EFER as a write of it would show it: LMA follows CR0.PG, which may change in the same stretch. */
static u64 efer_written(u64 efer, u64 cr0)
{
	efer &= ~EFER_LMA;
	return (efer & EFER_LME) && (cr0 & X86_CR0_PG) ? efer | EFER_LMA : efer;
}

/*
 * Write traps of CR0, CR4 and EFER (APM 15.35.5): the emulator below has none, so a changed value is told to KVM at the
 * next exit, instead of that exit. What is replaced happens again, because its instruction or event is still to come; an event
 * that was being delivered is in EXITINTINFO, which KVM injects again. Several changes since the last exit are told in the
 * order in which software can make them: CR4.PAE and EFER.LME before CR0.PG is set, after it is cleared.
 */
static bool control_register_trap(struct world *w)
{
	struct vmcb_control_area *c = &w->vmcb->control;
	struct vmcb_save_area *s = &w->vmcb->save;
	struct shadow *sh = w->shadow;
	bool paging_ends = (sh->cr0 & ~s->cr0) & X86_CR0_PG;
	u32 code = 0;
	u64 value;

	if (likely(sh->cr0 == s->cr0 && sh->cr4 == s->cr4 && sh->efer == s->efer))
		return false;
	if (c->exit_code == SVM_EXIT_SHUTDOWN || c->exit_code == SVM_EXIT_ERR)
		return false;
	if (sh->cr4 != s->cr4 && !paging_ends) {
		value = sh->cr4 = s->cr4;
		if (traps(w, TRAP_CR4_WRITE))
			code = SVM_EXIT_CR4_WRITE_TRAP;
	} else if (((sh->efer ^ s->efer) & ~EFER_LMA) && !paging_ends) {
		value = sh->efer = efer_written(s->efer, sh->cr0);
		if (traps(w, TRAP_EFER_WRITE))
			code = SVM_EXIT_EFER_WRITE_TRAP;
	} else {
		value = sh->cr0 = s->cr0;
		sh->efer = efer_written(sh->efer, sh->cr0);
		if (traps(w, TRAP_CR0_WRITE))
			code = SVM_EXIT_CR0_WRITE_TRAP;
	}
	if (!code)
		return control_register_trap(w);
	trace(2, "trap %x value %llx rip %llx", code, value, s->rip);
	c->exit_code = code;
	c->exit_info_1 = value;
	c->exit_info_2 = 0;
	count(cr_trap);
	return true;
}

void enter_once(struct world *w)
{
	struct shadow *s = w->shadow;

	shadow_refresh(s);
	w->vmsa->rax = w->vmcb->save.rax;
	snpemu_enter(w->vmsa, __pa(w->vmcb), w->host_save_pa);
	w->vmcb->control.event_inj = 0;
	if (s->unpaged && (w->vmcb->save.cr0 & X86_CR0_PG)) /* C=0 addresses mean shared from now on */
		shadow_flush(s);
}

static void run_until_exit(struct world *w)
{
	struct vmcb_control_area *c = &w->vmcb->control;

	while (inject_before_entry(w) == ENTER_AGAIN) {
		enter_once(w);
		/*
		 * INT3 and INTn interrupted by a nested page fault: the emulator would inject them with a wrong return
		 * address. RIP is still at the instruction, so it simply runs again.
		 */
		if ((c->exit_int_info & SVM_EXITINTINFO_VALID) &&
		    (c->exit_int_info & SVM_EXITINTINFO_TYPE_MASK) == SVM_EXITINTINFO_TYPE_SOFT)
			c->exit_int_info = 0;
		poke_exit(w);
		if (control_register_trap(w) || handle_exit(w) == LEAVE)
			break;
	}
	ghcb_late_leave(w);
	poke_leave(w);
	inject_leave(w);
}

static void report_shutdown(struct world *w)
{
	struct sev_es_save_area *v = w->vmsa;
	u8 bytes[8];

	fetch_insn(w, bytes, sizeof(bytes));
	trace_event("SHUTDOWN last #VC %llx at %llx rip %llx cr0 %llx cr2 %llx cr3 %llx efer %llx cpl %d rsp %llx idt %llx/%x event %x/%x bytes %8ph",
		    w->shadow->last_vc, w->shadow->last_vc_rip, v->rip, v->cr0, v->cr2, v->cr3, v->efer, v->cpl, v->rsp, v->idtr.base, v->idtr.limit,
		    w->vmcb->control.exit_int_info, w->vmcb->control.exit_int_info_err, bytes);
}

/* What KVM finds in its VMCB after #VMEXIT(AE) */
static void publish_exit(struct world *w)
{
	const struct vmcb_control_area *c = &w->vmcb->control;
	struct vmcb_control_area *k = &w->kvm->control;

	set_exit_code(k, c->exit_code == SVM_EXIT_ERR ? EXIT_ERR : c->exit_code);
	k->exit_info_1 = c->exit_info_1;
	k->exit_info_2 = c->exit_info_2;
	k->exit_int_info = c->exit_int_info;
	k->exit_int_info_err = c->exit_int_info_err;
	k->int_ctl = (k->int_ctl & AVIC_ENABLE_MASK) | c->int_ctl;
	/* GUEST_INTERRUPT_MASK: the guest's IF, which KVM cannot see otherwise */
	k->int_state = (c->int_state & ~SVM_GUEST_INTERRUPT_MASK) |
		       (w->vmsa->rflags & X86_EFLAGS_IF ? SVM_GUEST_INTERRUPT_MASK : 0);
	k->event_inj = c->event_inj;
	k->event_inj_err = c->event_inj_err;
	k->next_rip = 0;
	k->insn_len = 0;
	trace(3, "exit %x info %llx %llx rip %llx rflags %llx int_ctl %x int_state %x", (u32)k->exit_code, k->exit_info_1,
	      k->exit_info_2, w->vmsa->rip, w->vmsa->rflags, k->int_ctl, k->int_state);
}

/* Around @go: the guest's FPU, PKRU and XCR0 in place of what the processor has */
void with_guest_state(struct world *w, void (*go)(struct world *w))
{
	bool keys = cpu_feature_enabled(X86_FEATURE_OSPKE);
	u32 host_pkru = keys ? rdpkru() : 0;
	u64 host_xcr0 = xgetbv(0);

	vmsa_load_fpu(w->shadow->fpu, w->vmsa);
	if (keys)
		wrpkru(w->vmsa->pkru);
	if (w->vmsa->xcr0 != host_xcr0)
		xsetbv(0, w->vmsa->xcr0 | 1);

	go(w);

	w->vmsa->xcr0 = xgetbv(0);
	if (w->vmsa->xcr0 != host_xcr0)
		xsetbv(0, host_xcr0);
	if (keys) {
		w->vmsa->pkru = rdpkru();
		wrpkru(host_pkru);
	}
	vmsa_store_fpu(w->shadow->fpu, w->vmsa);
	vmsa_store(w->vmsa, w->vmcb);
}

/*
 * In the midst of a run: all of the guest's state into its VMSA. The processor keeps it, but for the FPU's, which is saved and
 * loaded with as much of XCR0 as the VMSA has room for.
 */
void suspend_guest_state(struct world *w)
{
	w->vmsa->xcr0 = xgetbv(0);
	xsetbv(0, w->vmsa->xcr0 | FPU_STATE);
	if (cpu_feature_enabled(X86_FEATURE_OSPKE))
		w->vmsa->pkru = rdpkru();
	vmsa_store_fpu(w->shadow->fpu, w->vmsa);
	vmsa_store(w->vmsa, w->vmcb);
}

void resume_guest_state(struct world *w)
{
	vmsa_load_fpu(w->shadow->fpu, w->vmsa);
	xsetbv(0, w->vmsa->xcr0);
}

static void run(struct world *w)
{
	struct vmcb_control_area *k = &w->kvm->control;
	struct shadow *s = w->shadow;

	if (s->nested_cr3 != k->nested_cr3 || s->asid != k->asid ||
	    (k->tlb_ctl && k->tlb_ctl != FLUSH_VCPU_SWITCH)) {
		s->nested_cr3 = k->nested_cr3;
		s->asid = k->asid;
		shadow_flush(s);
	}
	faults_on_answer(w);
	prepare(w);
	if (s->vmsa_pa != k->vmsa_pa) { /* a new VMSA brings its values without a write that would trap */
		s->vmsa_pa = k->vmsa_pa;
		s->cr0 = w->vmcb->save.cr0;
		s->cr4 = w->vmcb->save.cr4;
		s->efer = w->vmcb->save.efer;
	}
	with_guest_state(w, run_until_exit);
	if (w->vmcb->control.exit_code == SVM_EXIT_SHUTDOWN)
		report_shutdown(w);
	publish_exit(w);
}

void snpemu_vcpu_run(struct vcpu_svm *svm, bool spec_ctrl_intercepted, struct sev_es_save_area *host_save);

void snpemu_vcpu_run(struct vcpu_svm *svm, bool spec_ctrl_intercepted, struct sev_es_save_area *host_save)
{
	struct vmcb_control_area *k = &svm->vmcb->control;
	struct world w = {
		.svm = svm,
		.kvm = svm->vmcb,
		.vmsa = memory_at(k->vmsa_pa & PA_MASK),
		.asid = k->asid,
		.host_save_pa = __pa(host_save) & PAGE_MASK,
	};

	count(vmrun);
	if (vmsa_acceptable(&w))
		w.shadow = shadow_get(svm);
	if (!w.shadow) {
		trace(1, "VMRUN refused: vmsa %llx asid %u", k->vmsa_pa, k->asid);
		set_exit_code(k, EXIT_ERR);
		return;
	}
	w.vmcb = w.shadow->vmcb;
	w.vmpl = w.vmsa->vmpl;
	if (inject_before_vmrun(&w))
		set_exit_code(k, SVM_EXIT_SHUTDOWN);
	else
		run(&w);
	shadow_put(w.shadow);
}
EXPORT_SYMBOL_GPL(snpemu_vcpu_run);
