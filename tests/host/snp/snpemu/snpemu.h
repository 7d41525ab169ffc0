/* SPDX-License-Identifier: GPL-2.0 */
/*
 * MODEL of an SEV-SNP processor and its firmware, underneath unmodified KVM sources.
 *
 * "APM" is AMD64 Architecture Programmer's Manual volume 2 (24593), "ABI" is the SEV Secure Nested Paging Firmware ABI
 * Specification (56860).
 */
#ifndef SNPEMU_H
#define SNPEMU_H

#include <linux/types.h>
#include <linux/spinlock.h>

struct vcpu_svm;
struct vmcb;
struct sev_es_save_area;
struct sev_data_snp_launch_update;
struct sev_data_snp_launch_start;
struct sev_data_snp_launch_finish;
struct sev_data_snp_guest_request;

/* The emulator below has 40 physical address bits, so the C-bit takes the highest. */
#define C_BIT		39
#define C_MASK		(1ULL << C_BIT)
#define PA_MASK		0x000000fffffff000ULL
#define ASIDS		16
#define MIN_SEV_ASID	9	/* SNP and SEV-ES guests have the ASIDs below */
#define VMPLS		4

/* Page table entries */
#define ENTRY_PRESENT	(1ULL << 0)
#define ENTRY_WRITE	(1ULL << 1)
#define ENTRY_NX	(1ULL << 63)

/* Bits of EXITINFO1 of a nested page fault (APM 15.25.6, 15.36.10) */
#define NPF_PRESENT	(1ULL << 0)
#define NPF_WRITE	(1ULL << 1)
#define NPF_USER	(1ULL << 2)
#define NPF_FETCH	(1ULL << 4)
#define NPF_RMP		(1ULL << 31)
#define NPF_FINAL	(1ULL << 32)
#define NPF_WALK	(1ULL << 33)
#define NPF_ENC		(1ULL << 34)
#define NPF_SIZE	(1ULL << 35)
#define NPF_VMPL	(1ULL << 36)

/* ---- rmp.c: the reverse map table and the host's instructions on it ---- */
enum rmp_perm { PERM_READ = 1, PERM_WRITE = 2, PERM_USER_EXEC = 4, PERM_SUPER_EXEC = 8, PERM_ALL = 15 };

struct rmp_entry {
	u64 gpa;
	u64 shared_gpa;		/* where a shadow table maps the page shared */
	u32 asid;
	u8 assigned, immutable, validated, vmsa, size_2m;
	u8 firmware;		/* a page that belongs to the firmware, such as a guest context */
	u8 mapped;		/* some shadow table may map it */
	u8 mapped_twice;	/* shared, at more than one address */
	u8 perms[VMPLS];
};

extern raw_spinlock_t rmp_lock;
struct rmp_entry *rmp_get(u64 pfn);
unsigned long rmp_size(void);
int rmp_init(void);
void rmp_exit(void);
void rmp_scramble(u64 pfn);

/* ---- host_view.c: what the host sees of pages that are not its own ---- */
enum host_view { HOST_OWN, HOST_READ_ONLY, HOST_CIPHERTEXT };
struct dentry;
void *memory_at(u64 pa);
void host_view_set(u64 pfn, enum host_view view);
int host_view_init(void);
void host_view_exit(void);
void host_view_files(struct dentry *directory);

/* ---- rmp_rules.c: what an entry allows; PVALIDATE and RMPADJUST on it ---- */
enum insn_result { INSN_OK = 0, INSN_FAIL_INPUT = 1, INSN_FAIL_PERMISSION = 2, INSN_FAIL_SIZEMISMATCH = 6 };
#define INSN_NPF_RMP	(-1)	/* nested page fault: not this guest's page */
#define INSN_NPF_SIZE	(-2)	/* nested page fault: the host must split a 2 MiB entry */

struct insn_operands {
	u64 gpa;		/* without C-bit */
	u32 asid;
	u8 vmpl;		/* of the executing vCPU */
	bool shared;		/* the address is mapped with C=0 */
	bool size_2m;
	u64 rdx;
};

enum access { ACCESS_READ, ACCESS_WRITE, ACCESS_FETCH };

/* What the RMP says to an access: 0, NPF_* bits of a fault, or RMP_NOT_VALIDATED */
#define RMP_NOT_VALIDATED (1ULL << 63)
u64 rmp_check(const struct rmp_entry *e, u32 asid, u8 vmpl, u8 cpl, u64 gpa, bool private, enum access a,
	      int npt_level);

int rmp_pvalidate(struct rmp_entry *e, const struct insn_operands *op, bool *unchanged);
int rmp_adjust(struct rmp_entry *e, const struct insn_operands *op);

/* ---- npt.c: the guest's view of memory ---- */
struct shadow {
	struct vcpu_svm *owner;
	struct vmcb *vmcb;
	u64 *root;
	u64 **tables;		/* page tables below the root */
	unsigned int tables_used, tables_have;
	u64 nested_cr3;
	u32 asid;
	unsigned int flushes_seen;
	unsigned long last_used;
	int cpu;		/* in VMRUN there, or -1 */
	bool unpaged;		/* entries were made while the guest had paging off */
	bool after_vmgexit;
	int late;		/* ghcb_late.c: how far the fault has come */
	u64 late_gpa;
	u64 vmsa_pa, cr0, cr4, efer;	/* what KVM was told of these registers */
	u64 last_vc, last_vc_rip;	/* the latest #VC: its error code and where */
	u8 *fpu;
	raw_spinlock_t lock;
	unsigned int stale_count;
	u64 stale[64];		/* addresses to unmap before the next entry */
};

struct shadow *shadow_alloc(gfp_t gfp);
void shadow_free(struct shadow *s);
struct shadow *shadow_get(struct vcpu_svm *svm);
void shadow_put(struct shadow *s);
void shadow_flush(struct shadow *s);
void shadow_refresh(struct shadow *s);
void shadow_map(struct shadow *s, u64 gpa, u64 pfn, u64 bits);
void shadow_unmap(struct shadow *s, u64 gpa);
void shadows_invalidate(u32 asid, u64 gpa);
void shadows_flush_all(void);
int shadow_init(void);
void shadow_exit(void);

/* One vCPU in the world switch */
struct world {
	struct shadow *shadow;
	struct vcpu_svm *svm;
	struct vmcb *kvm;	/* KVM's VMCB: what the hypervisor sees */
	struct vmcb *vmcb;	/* the VMCB that runs */
	struct sev_es_save_area *vmsa;
	u32 asid;
	u8 vmpl;
	u64 fault_gpa, fault_error;	/* of the last WALK_NPF */
	u64 fault_va;			/* of the last WALK_PF */
	u32 fault_code;
	u64 host_save_pa;
	bool entered;			/* since KVM called */
	struct trial *trial;		/* NULL: this run is for good */
};

/* What a handler says: go on in the guest, or leave to KVM with the exit in the running VMCB */
#define ENTER_AGAIN	0
#define LEAVE		1

u64 host_npt_leaf(struct world *w, u64 gpa, int *level);
bool host_npt_reserved(u64 entry);
u64 leaf_pfn(u64 entry, int level, u64 gpa);
int nested_page_fault(struct world *w);
void set_npf(struct world *w, u64 gpa, u64 error);

/* ---- walk.c: guest virtual addresses ---- */
enum walk { WALK_OK = 0, WALK_NPF = -1, WALK_PF = -2, WALK_VC = -3 };

int gva_to_gpa(struct world *w, u64 va, enum access a, u64 *gpa);
int gva_copy(struct world *w, u64 va, void *buf, int len, enum access a);
int fetch_insn(struct world *w, u8 *bytes, int len);
int walk_failed(struct world *w, int reason);

/* ---- vc.c ---- */
int raise_vc(struct world *w, u64 error);
void inject(struct world *w, u32 vector, bool has_error, u32 error);
int handle_exit(struct world *w);
int deliver_event(struct world *w, u32 vector, bool has_error, u32 error);

/* ---- vmrun.c ---- */
void prepare(struct world *w);
void enter_once(struct world *w);
void with_guest_state(struct world *w, void (*run)(struct world *w));
void suspend_guest_state(struct world *w);
void resume_guest_state(struct world *w);

/* ---- trial.c: a run that is undone ---- */
#define TRIAL_PAGES	64
struct trial {
	struct shadow *shadow;
	struct vmcb *kvm;
	u8 *vmsa;
	unsigned int used;
	bool stopped;		/* it did what cannot be put back */
	u64 low, high;		/* guest physical addresses of what it had changed; low > high: nothing */
	struct {
		u64 pfn, gpa;
		bool walk;
		u8 *copy;
	} page[TRIAL_PAGES];
};
int trial_init(struct trial *t);
void trial_exit(struct trial *t);
void trial_begin(struct trial *t, struct world *w, const struct world *of, const void *vmsa);
int trial_stop(struct world *w);
bool trial_write(struct world *w, u64 gpa, u64 pfn, bool walk);
void trial_undo(struct trial *t);

/* ---- event_trials.c: what would come of each event ---- */
void try_boot_vcpu(struct world *w);
void try_launched_state(struct world *w, const void *vmsa);
int run_launched_state(struct world *w, const void *vmsa);
int event_trials_init(void);
void event_trials_exit(void);
void event_trials_files(struct dentry *directory);

/* ---- inject.c: events that nobody asked for, and vCPUs that nobody started ---- */
bool event_acceptable(u32 event);
int give_event(struct world *w, u32 event, u32 error);
void inject_files(struct dentry *directory);
void inject_launched_state(u32 asid, u64 pfn);
void inject_new_guest(u32 asid);
bool inject_before_vmrun(struct world *w);
int inject_before_entry(struct world *w);
bool inject_stepped(struct world *w);
void inject_leave(struct world *w);

/* ---- insn.c, xsave.c ---- */
#define NOT_MINE	(-2)	/* the instruction is something else */
u64 gpr_read(struct world *w, int number);
int undefined_opcode(struct world *w);
int vmmcall(struct world *w);
int cr8_write(struct world *w);
int msr_access(struct world *w);
int xsave_insn(struct world *w, bool save);
int xsave_init(void);

/* ---- vmsa.c ---- */
void vmsa_load(struct vmcb *vmcb, const struct sev_es_save_area *vmsa);
void vmsa_store(struct sev_es_save_area *vmsa, const struct vmcb *vmcb);
void vmsa_load_fpu(u8 *area, const struct sev_es_save_area *vmsa);
void vmsa_store_fpu(u8 *area, struct sev_es_save_area *vmsa);

/* ---- psp.c, launch.c, guest_request.c: the firmware ---- */
enum guest_state { GUEST_INIT = 1, GUEST_LAUNCH, GUEST_RUNNING };

/* Guest context page; private to the firmware */
struct guest_context {
	u64 magic, pa;
	u32 state, asid;
	u64 policy;
	u8 digest[48];
	u8 host_data[32];
	u8 gosvw[16];
	u8 vmpck[VMPLS][32];
	u8 report_id[32];
	u8 id_key_digest[48], author_key_digest[48];
	u8 family_id[16], image_id[16];
	u32 guest_svn;
	u8 vcek_disabled, id_block, author_key;
	u8 forwarded;		/* the firmware process has this guest, too */
	u64 sequence[VMPLS];
};

#define FW_API_MAJOR	1
#define FW_API_MINOR	55
struct guest_context *guest_context(u64 pa);
int fw_launch_start(struct sev_data_snp_launch_start *d);
int fw_launch_update(struct sev_data_snp_launch_update *d);
int fw_launch_finish(struct sev_data_snp_launch_finish *d);
int fw_guest_request(struct sev_data_snp_guest_request *d);
int gcm256(const u8 *key, const u8 *iv, const u8 *aad, int aad_len, u8 *text, int len, u8 *tag, bool encrypt);
void snpemu_sha384(const void *data, size_t len, u8 out[48]);

/* ---- firmware.c: the firmware process ---- */
enum firmware_command {
	FIRMWARE_START = 1, FIRMWARE_UPDATE, FIRMWARE_SECRETS, FIRMWARE_FINISH, FIRMWARE_GUEST_REQUEST,
	FIRMWARE_DECOMMISSION,
};
bool firmware_attached(void);
int firmware_call(enum firmware_command command, u64 guest, const void *in, size_t len, void *out, size_t out_len);
int firmware_init(void);
void firmware_exit(void);

/* ---- sev_dev.c ---- */
int sev_dev_init(void);
void sev_dev_exit(void);

/* ---- trace.c ---- */
#define COUNTERS(X)                                                                                                  \
	X(vmrun) X(vc) X(vmgexit) X(npf_to_host) X(tlb_fill) X(tlb_flush) X(tlb_invalidate) X(pvalidate)                \
	X(rmpadjust) X(xsave) X(cr_trap) X(rmp_private) X(rmp_shared) X(fw_command) X(fault_injected)
#define X(name) COUNT_##name,
enum counter { COUNTERS(X) COUNTS };
#undef X
extern atomic64_t counters[COUNTS];
#define count(name) atomic64_inc(&counters[COUNT_##name])

extern int trace_level;
#define trace(level, fmt, ...)                                                                                       \
	do {                                                                                                         \
		if (unlikely(trace_level >= (level)))                                                                \
			trace_event(fmt, ##__VA_ARGS__);                                                             \
	} while (0)
__printf(1, 2) void trace_event(const char *fmt, ...);
int trace_files_init(void);
void trace_files_exit(void);

/* ---- faults.c: a host that misbehaves ---- */
enum fault {
	FAULT_NONE,
	FAULT_PSC_DROP,		/* a change to private is acknowledged and not done */
	FAULT_PSC_SHARED_DROP,	/* a change to shared is acknowledged and not done */
	FAULT_PSC_REPEAT,	/* with a change to private, the one before is made once more */
	FAULT_PSC_REORDER,	/* a change to private is made only after the one that follows */
	FAULT_PSC_LIE,		/* a change that was made is answered with an error */
	FAULT_REMAP,		/* a validated page is replaced by a fresh one */
	FAULT_ALIAS,		/* a page of the guest is mapped at another address, too */
	FAULT_REPLAY,		/* a validated page is replaced by an older copy of itself */
	FAULT_CPUID_PAGE,	/* the CPUID table loses features behind the VMM's back */
	FAULT_GHCB,		/* the GHCB changes before the guest reads the answer */
	FAULT_GHCB_LATE,	/* the GHCB changes after the guest's first access since the answer */
	FAULT_GHCB_MSR,		/* the answer in the GHCB MSR is changed */
	FAULT_FW_FAIL,		/* a firmware command fails */
	FAULT_FW_DELAY,		/* a firmware command takes a second */
	FAULT_INJECT,		/* an event that nobody asked for; +: every one in turn, each undone */
	FAULT_AP_RUN,		/* a vCPU runs that the guest did not start; +: again and again, each undone */
	FAULT_POKE,		/* a shared page has other bytes when the guest first looks at it */
	FAULT_POKE_DURING,	/* the same after the first instruction that reads it has begun */
	FAULT_POKE_LATE,	/* the same after the guest has read it */
	FAULTS
};
bool fault_due(enum fault f);
bool fault_planned(enum fault f, bool always);
void fault_shared_page(u64 pa, size_t len);
int faults_init(void);
void faults_files(struct dentry *directory);

/* ---- poke.c: other bytes in a shared page ---- */
void poke_access(struct world *w, u64 gpa, u64 pfn);
void poke_exit(struct world *w);
void poke_leave(struct world *w);
void poke_new_guest(void);
bool poke_stepped(struct world *w);
void poke_files(struct dentry *directory);

/* ---- ghcb_late.c ---- */
void ghcb_late_answer(struct world *w, u64 gpa, bool due);
void ghcb_late_access(struct world *w, u64 gpa, u64 pfn);
bool ghcb_late_stepped(struct world *w);
void ghcb_late_leave(struct world *w);
void single_step(struct world *w, bool on);

/* ---- cpuid.c ---- */
void snpemu_cpuid(unsigned int op, unsigned int *a, unsigned int *b, unsigned int *c, unsigned int *d);
void snpemu_cpuid_count(unsigned int op, int index, unsigned int *a, unsigned int *b, unsigned int *c,
			unsigned int *d);
void cpu_capabilities_init(void);

#endif
