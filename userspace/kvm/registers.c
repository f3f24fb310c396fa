// SPDX-License-Identifier: GPL-2.0
/*
 * A vCPU's state in KVM's structs.  mote's parts have other borders, so that most calls read a part,
 * change what the call is about, and write it back.
 */
#include <errno.h>
#include <string.h>

#include "chipset.h"
#include "shim.h"

#define RFLAGS_IF (1u << 9)
#define CR4_OLDEST 0x7ffull	/* VME to OSXMMEXCPT */
#define PART(name) MOTE_STATE_##name

static int get(struct shim_vcpu *vcpu, struct mote_state *state, __u32 mask)
{
	*state = (struct mote_state) { .mask = mask };
	return mote_get_state(vcpu->cpu.fd, state);
}

static int set(struct shim_vcpu *vcpu, struct mote_state *state)
{
	return mote_set_state(vcpu->cpu.fd, state);
}

/* ---- general registers ----------------------------------------------------------- */

/* The order of instructions, in which mote has them, as that of struct kvm_regs. */
static const __u8 order[] = {
	MOTE_RAX, MOTE_RBX, MOTE_RCX, MOTE_RDX, MOTE_RSI, MOTE_RDI, MOTE_RSP, MOTE_RBP,
	MOTE_R8, MOTE_R9, MOTE_R10, MOTE_R11, MOTE_R12, MOTE_R13, MOTE_R14, MOTE_R15,
};

/* In the middle of an instruction, what it has changed is in the run page. */
int call_get_regs(struct object *object, void *data, unsigned long argument)
{
	struct shim_vcpu *vcpu = vcpu_of(object);
	const struct mote_run *run = vcpu->cpu.run;
	struct kvm_regs *regs = data;
	struct mote_state state;
	int err = get(vcpu, &state, PART(GPRS));

	(void)argument;
	for (size_t i = 0; i < ARRAY_SIZE(order); i++)
		(&regs->rax)[i] = run->set >> order[i] & 1 ? run->gpr[order[i]] : state.gprs.gpr[order[i]];
	regs->rip = state.gprs.rip;
	regs->rflags = run->set & MOTE_SET_RFLAGS ? run->rflags : state.gprs.rflags;
	return err;
}

int call_set_regs(struct object *object, void *data, unsigned long argument)
{
	struct shim_vcpu *vcpu = vcpu_of(object);
	struct mote_run *run = vcpu->cpu.run;
	const struct kvm_regs *regs = data;
	struct mote_state state = { .mask = PART(GPRS) };
	int err;

	(void)argument;
	for (size_t i = 0; i < ARRAY_SIZE(order); i++)
		state.gprs.gpr[order[i]] = (&regs->rax)[i];
	state.gprs.rip = regs->rip;
	state.gprs.rflags = regs->rflags | 2;
	err = set(vcpu, &state);
	if (err)
		return err;
	vcpu_moved(vcpu, regs->rip);
	/* What completes the last exit goes on from these. */
	memcpy(run->gpr, state.gprs.gpr, sizeof(run->gpr));
	run->rflags = state.gprs.rflags;
	run->set = 0;
	return 0;
}

/* ---- segments and control registers ---------------------------------------------- */

static void segment_out(const struct mote_segment *from, struct kvm_segment *to)
{
	*to = (struct kvm_segment) {
		.base = from->base, .limit = from->limit, .selector = from->selector,
		.type = from->attr & 15, .s = from->attr >> 4 & 1, .dpl = from->attr >> 5 & 3,
		.present = from->attr >> 7 & 1, .avl = from->attr >> 12 & 1, .l = from->attr >> 13 & 1,
		.db = from->attr >> 14 & 1, .g = from->attr >> 15 & 1, .unusable = !(from->attr & 1 << 7),
	};
}

static struct mote_segment segment_in(const struct kvm_segment *from)
{
	return (struct mote_segment) {
		.base = from->base, .limit = from->limit, .selector = from->selector,
		.attr = (from->type & 15) | (from->s & 1) << 4 | (from->dpl & 3) << 5 |
			(from->present && !from->unusable) << 7 | (from->avl & 1) << 12 |
			(from->l & 1) << 13 | (from->db & 1) << 14 | (from->g & 1) << 15,
	};
}

/* Both structs begin alike. */
#define COMMON offsetof(struct kvm_sregs2, flags)
_Static_assert(offsetof(struct kvm_sregs, interrupt_bitmap) == COMMON, "kvm_sregs, kvm_sregs2");

static const __u8 segments[] = { MOTE_CS, MOTE_DS, MOTE_ES, MOTE_FS, MOTE_GS, MOTE_SS, MOTE_TR, MOTE_LDTR };

static int get_sregs(struct shim_vcpu *vcpu, struct kvm_sregs2 *sregs, struct mote_state *state)
{
	int err = get(vcpu, state, PART(SEGS) | PART(CRS) | PART(MSRS) | PART(EVENTS));

	for (size_t i = 0; i < ARRAY_SIZE(segments); i++)
		segment_out(&state->segs.seg[segments[i]], &(&sregs->cs)[i]);
	sregs->gdt = (struct kvm_dtable) { .base = state->segs.gdt.base, .limit = state->segs.gdt.limit };
	sregs->idt = (struct kvm_dtable) { .base = state->segs.idt.base, .limit = state->segs.idt.limit };
	sregs->cr0 = state->crs.cr0;
	sregs->cr2 = state->crs.cr2;
	sregs->cr3 = state->crs.cr3;
	sregs->cr4 = state->crs.cr4;
	sregs->cr8 = state->crs.cr8;
	sregs->efer = state->msrs.efer;
	sregs->apic_base = state->msrs.apic_base;
	return err;
}

static int set_sregs(struct shim_vcpu *vcpu, const struct kvm_sregs2 *sregs, const __u64 *pdptes)
{
	struct mote_state state;
	int err;

	/* KVM takes the oldest from whatever CPU; what CPUID lets a guest do is looked at later. */
	if (sregs->cr4 & ~(vcpu->vm->info.cr4 | CR4_OLDEST) || sregs->efer & ~vcpu->vm->info.efer)
		return -EINVAL;
	err = get(vcpu, &state, PART(SEGS) | PART(CRS) | PART(MSRS));
	if (err)
		return err;
	for (size_t i = 0; i < ARRAY_SIZE(segments); i++)
		state.segs.seg[segments[i]] = segment_in(&(&sregs->cs)[i]);
	state.segs.gdt = (struct mote_table) { .base = sregs->gdt.base, .limit = sregs->gdt.limit };
	state.segs.idt = (struct mote_table) { .base = sregs->idt.base, .limit = sregs->idt.limit };
	state.crs.cr0 = sregs->cr0;
	state.crs.cr2 = sregs->cr2;
	state.crs.cr3 = sregs->cr3;
	state.crs.cr4 = sregs->cr4;
	state.crs.cr8 = sregs->cr8;
	state.crs.flags = pdptes ? MOTE_CRS_PDPTE : 0;
	memset(state.crs.pdpte, 0, sizeof(state.crs.pdpte));
	if (pdptes)
		memcpy(state.crs.pdpte, pdptes, sizeof(state.crs.pdpte));
	state.msrs.efer = sregs->efer;
	state.msrs.apic_base = sregs->apic_base;
	return set(vcpu, &state);
}

int call_get_sregs(struct object *object, void *data, unsigned long argument)
{
	struct shim_vcpu *vcpu = vcpu_of(object);
	struct kvm_sregs *sregs = data;
	struct kvm_sregs2 common;
	struct mote_state state;
	int err = get_sregs(vcpu, &common, &state), vector = vcpu->vector;

	(void)argument;
	memcpy(sregs, &common, COMMON);
	memset(sregs->interrupt_bitmap, 0, sizeof(sregs->interrupt_bitmap));
	if (state.events.injected.valid && state.events.injected.type == MOTE_EVENT_INTERRUPT)
		vector = state.events.injected.vector;
	if (vector >= 0)
		sregs->interrupt_bitmap[vector / 64] |= 1ull << vector % 64;
	return err;
}

int call_set_sregs(struct object *object, void *data, unsigned long argument)
{
	struct shim_vcpu *vcpu = vcpu_of(object);
	const struct kvm_sregs *sregs = data;
	struct kvm_sregs2 common = { 0 };
	int err;

	(void)argument;
	memcpy(&common, sregs, COMMON);
	err = set_sregs(vcpu, &common, NULL);
	/* It is delivered when the guest takes interrupts. */
	for (int vector = 0; vector < 256 && !err; vector++)
		if (sregs->interrupt_bitmap[vector / 64] >> vector % 64 & 1) {
			vcpu->vector = vector;
			break;
		}
	return err;
}

int call_get_sregs2(struct object *object, void *data, unsigned long argument)
{
	struct kvm_sregs2 *sregs = data;
	struct mote_state state;
	int err = get_sregs(vcpu_of(object), sregs, &state);

	(void)argument;
	if (state.crs.flags & MOTE_CRS_PDPTE) {
		sregs->flags = KVM_SREGS2_FLAGS_PDPTRS_VALID;
		memcpy(sregs->pdptrs, state.crs.pdpte, sizeof(sregs->pdptrs));
	}
	return err;
}

int call_set_sregs2(struct object *object, void *data, unsigned long argument)
{
	const struct kvm_sregs2 *sregs = data;

	(void)argument;
	if (sregs->flags & ~(__u64)KVM_SREGS2_FLAGS_PDPTRS_VALID)
		return -EINVAL;
	return set_sregs(vcpu_of(object), sregs, sregs->flags ? sregs->pdptrs : NULL);
}

/* ---- FPU ------------------------------------------------------------------------- */

/* The part of an XSAVE image that FXSAVE has (SDM 1, "FXSAVE Area"). */
struct fxsave {
	__u16 fcw, fsw;
	__u8 ftw, pad;
	__u16 fop;
	__u64 fip, fdp;
	__u32 mxcsr, mxcsr_mask;
	__u8 st[8][16];
	__u8 xmm[16][16];
	__u8 reserved[96];
};

#define XSTATE_BV 512
#define X87_AND_SSE 3

/* Room for the largest image that a guest of mote's can have, as for KVM's. */
static int get_xsave(struct shim_vcpu *vcpu, void *image)
{
	struct mote_state state = {
		.mask = PART(XSAVE), .xsave = (__u64)(unsigned long)image,
		.xsave_size = sizeof(struct kvm_xsave),
	};
	int err = mote_get_state(vcpu->cpu.fd, &state);

	vcpu->xsave_size = state.xsave_size;
	return err;
}

static int set_xsave(struct shim_vcpu *vcpu, const void *image)
{
	struct mote_state state = { .mask = PART(XSAVE), .xsave = (__u64)(unsigned long)image };
	__u8 old[sizeof(struct kvm_xsave)] __attribute__((aligned(64)));
	int err = vcpu->xsave_size ? 0 : get_xsave(vcpu, old);

	state.xsave_size = vcpu->xsave_size;
	return err ? err : set(vcpu, &state);
}

int call_get_xsave(struct object *object, void *data, unsigned long argument)
{
	(void)argument;
	return get_xsave(vcpu_of(object), data);
}

int call_set_xsave(struct object *object, void *data, unsigned long argument)
{
	(void)argument;
	return set_xsave(vcpu_of(object), data);
}

/* Like KVM, both leave MXCSR alone: clients that set it to 0 would not know their guests any more. */
int call_get_fpu(struct object *object, void *data, unsigned long argument)
{
	__u8 image[sizeof(struct kvm_xsave)] __attribute__((aligned(64))) = { 0 };
	const struct fxsave *from = (const void *)image;
	struct kvm_fpu *fpu = data;
	int err = get_xsave(vcpu_of(object), image);

	(void)argument;
	memcpy(fpu->fpr, from->st, sizeof(fpu->fpr));
	memcpy(fpu->xmm, from->xmm, sizeof(fpu->xmm));
	fpu->fcw = from->fcw;
	fpu->fsw = from->fsw;
	fpu->ftwx = from->ftw;
	fpu->last_opcode = from->fop;
	fpu->last_ip = from->fip;
	fpu->last_dp = from->fdp;
	return err;
}

int call_set_fpu(struct object *object, void *data, unsigned long argument)
{
	__u8 image[sizeof(struct kvm_xsave)] __attribute__((aligned(64))) = { 0 };
	struct fxsave *to = (void *)image;
	const struct kvm_fpu *fpu = data;
	int err = get_xsave(vcpu_of(object), image);

	(void)argument;
	if (err)
		return err;
	memcpy(to->st, fpu->fpr, sizeof(fpu->fpr));
	memcpy(to->xmm, fpu->xmm, sizeof(fpu->xmm));
	to->fcw = fpu->fcw;
	to->fsw = fpu->fsw;
	to->ftw = fpu->ftwx;
	to->fop = fpu->last_opcode;
	to->fip = fpu->last_ip;
	to->fdp = fpu->last_dp;
	image[XSTATE_BV] |= X87_AND_SSE;
	return set_xsave(vcpu_of(object), image);
}

int call_get_xcrs(struct object *object, void *data, unsigned long argument)
{
	struct kvm_xcrs *xcrs = data;
	struct mote_state state;
	int err = get(vcpu_of(object), &state, PART(CRS));

	(void)argument;
	xcrs->nr_xcrs = 1;
	xcrs->xcrs[0].value = state.crs.xcr0;
	return err;
}

int call_set_xcrs(struct object *object, void *data, unsigned long argument)
{
	const struct kvm_xcrs *xcrs = data;
	struct mote_state state;
	int err;

	(void)argument;
	if (xcrs->nr_xcrs > KVM_MAX_XCRS || xcrs->flags)
		return -EINVAL;
	err = get(vcpu_of(object), &state, PART(CRS));
	for (__u32 i = 0; i < xcrs->nr_xcrs && !err; i++)
		if (!xcrs->xcrs[i].xcr) {
			state.crs.xcr0 = xcrs->xcrs[i].value;
			return set(vcpu_of(object), &state);
		}
	return err;
}

/* ---- debug registers ------------------------------------------------------------- */

int call_get_debugregs(struct object *object, void *data, unsigned long argument)
{
	struct shim_vcpu *vcpu = vcpu_of(object);
	struct kvm_debugregs *regs = data;
	struct mote_state state;
	int err = debug_lend_drs(vcpu, true);

	(void)argument;
	if (!err)
		err = get(vcpu, &state, PART(DRS));
	if (!err)
		err = debug_lend_drs(vcpu, false);
	if (err)
		return err;
	memcpy(regs->db, state.drs.dr, sizeof(regs->db));
	regs->dr6 = state.drs.dr6;
	regs->dr7 = state.drs.dr7;
	return 0;
}

int call_set_debugregs(struct object *object, void *data, unsigned long argument)
{
	const struct kvm_debugregs *regs = data;
	struct shim_vcpu *vcpu = vcpu_of(object);
	struct mote_state state = { .mask = PART(DRS) };
	int err;

	(void)argument;
	if (regs->flags)
		return -EINVAL;
	memcpy(state.drs.dr, regs->db, sizeof(regs->db));
	state.drs.dr6 = regs->dr6;
	state.drs.dr7 = regs->dr7;
	err = debug_lend_drs(vcpu, true);
	if (!err)
		err = set(vcpu, &state);
	return err ? err : debug_lend_drs(vcpu, false);
}

/* ---- events ---------------------------------------------------------------------- */

static __u8 shadow_out(__u8 shadow)
{
	return shadow == MOTE_SHADOW_STI ? KVM_X86_SHADOW_INT_STI :
	       shadow == MOTE_SHADOW_MOV_SS ? KVM_X86_SHADOW_INT_MOV_SS : 0;
}

static __u8 shadow_in(__u8 shadow)
{
	return shadow & KVM_X86_SHADOW_INT_MOV_SS ? MOTE_SHADOW_MOV_SS :
	       shadow & KVM_X86_SHADOW_INT_STI ? MOTE_SHADOW_STI : 0;
}

int call_get_events(struct object *object, void *data, unsigned long argument)
{
	struct shim_vcpu *vcpu = vcpu_of(object);
	struct kvm_vcpu_events *events = data;
	const struct mote_event *event;
	struct mote_state state;
	int err = get(vcpu, &state, PART(EVENTS));

	(void)argument;
	event = &state.events.injected;
	if (event->valid && event->type == MOTE_EVENT_EXCEPTION) {
		events->exception.injected = 1;
		events->exception.nr = event->vector;
		events->exception.has_error_code = event->has_error;
		events->exception.error_code = event->error;
	}
	events->interrupt.injected = event->valid && event->type == MOTE_EVENT_INTERRUPT;
	events->interrupt.nr = events->interrupt.injected ? event->vector : 0;
	if (!events->interrupt.injected && vcpu->vector >= 0) {
		events->interrupt.injected = 1;
		events->interrupt.nr = vcpu->vector;
	}
	events->interrupt.shadow = shadow_out(state.events.shadow);
	events->nmi.injected = event->valid && event->type == MOTE_EVENT_NMI;
	events->nmi.pending = state.events.nmi_pending;
	events->nmi.masked = state.events.nmi_blocked;
	events->flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW;
	return err;
}

#define EVENT_FLAGS (KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SIPI_VECTOR | \
		     KVM_VCPUEVENT_VALID_SHADOW | KVM_VCPUEVENT_VALID_SMM)

/* One that is on its way into the guest, unless the guest has shut it out: then it waits. */
static bool is_taken(const struct kvm_vcpu_events *events, const struct mote_state *state)
{
	return events->interrupt.injected && state->gprs.rflags & RFLAGS_IF && !state->events.shadow;
}

static struct mote_event event_in(const struct kvm_vcpu_events *events, const struct mote_state *state)
{
	if (events->exception.injected || events->exception.pending)
		return (struct mote_event) {
			.valid = 1, .type = MOTE_EVENT_EXCEPTION, .vector = events->exception.nr,
			.has_error = !!events->exception.has_error_code,
			.error = events->exception.has_error_code ? events->exception.error_code : 0,
		};
	if (events->nmi.injected)
		return (struct mote_event) { .valid = 1, .type = MOTE_EVENT_NMI, .vector = 2 };
	if (is_taken(events, state))
		return (struct mote_event) {
			.valid = 1, .type = MOTE_EVENT_INTERRUPT, .vector = events->interrupt.nr,
		};
	return (struct mote_event) { 0 };
}

int call_set_events(struct object *object, void *data, unsigned long argument)
{
	const struct kvm_vcpu_events *events = data;
	struct shim_vcpu *vcpu = vcpu_of(object);
	struct mote_state state;
	bool goes_in;
	int err;

	(void)argument;
	/* There is no SMM: nobody can be in it. */
	if (events->flags & ~EVENT_FLAGS || (events->flags & KVM_VCPUEVENT_VALID_SMM && events->smi.smm))
		return -EINVAL;
	err = get(vcpu, &state, PART(EVENTS) | PART(GPRS));
	if (err)
		return err;
	state.mask = PART(EVENTS);
	state.events.nmi_blocked = !!events->nmi.masked;
	if (events->flags & KVM_VCPUEVENT_VALID_NMI_PENDING)
		state.events.nmi_pending = events->nmi.pending < 2 ? events->nmi.pending : 2;
	if (events->flags & KVM_VCPUEVENT_VALID_SHADOW)
		state.events.shadow = shadow_in(events->interrupt.shadow);
	state.events.injected = event_in(events, &state);
	err = set(vcpu, &state);
	if (err)
		return err;
	goes_in = state.events.injected.valid && state.events.injected.type == MOTE_EVENT_INTERRUPT;
	vcpu->vector = events->interrupt.injected && !goes_in ? events->interrupt.nr : -1;
	return 0;
}

int call_get_mp_state(struct object *object, void *data, unsigned long argument)
{
	struct kvm_mp_state *mp_state = data;
	struct mote_state state;
	int err = get(vcpu_of(object), &state, PART(EVENTS));

	(void)argument;
	mp_state->mp_state = state.events.halted == MOTE_HALTED ? KVM_MP_STATE_HALTED :
			     state.events.halted ? KVM_MP_STATE_UNINITIALIZED : KVM_MP_STATE_RUNNABLE;
	return err;
}

int call_set_mp_state(struct object *object, void *data, unsigned long argument)
{
	static const int halted[] = {
		[KVM_MP_STATE_RUNNABLE] = 0, [KVM_MP_STATE_HALTED] = MOTE_HALTED,
		[KVM_MP_STATE_UNINITIALIZED] = MOTE_WAITS_FOR_SIPI,
		[KVM_MP_STATE_INIT_RECEIVED] = MOTE_WAITS_FOR_SIPI,
	};
	const struct kvm_mp_state *mp_state = data;
	struct shim_vcpu *vcpu = vcpu_of(object);
	struct mote_state state;
	int err;

	(void)argument;
	/* Without local APICs they all run, or are the client's to hold. */
	if (mp_state->mp_state >= ARRAY_SIZE(halted) ||
	    (!vcpu->vm->irqchip && mp_state->mp_state != KVM_MP_STATE_RUNNABLE))
		return -EINVAL;
	err = get(vcpu, &state, PART(EVENTS));
	if (err)
		return err;
	state.events.halted = halted[mp_state->mp_state];
	return set(vcpu, &state);
}

/* ---- local APIC ------------------------------------------------------------------ */

/* By their place in struct mote_apic: SDM 3A, "Local APIC Register Address Map". */
#define APIC_ID 0x02
#define APIC_TPR 0x08
#define APIC_LDR 0x0d
#define APIC_DFR 0x0e
#define APIC_SVR 0x0f
#define APIC_ISR 0x10
#define APIC_IRR 0x20
#define APIC_ESR 0x28
#define APIC_ICR 0x30
#define APIC_ICR2 0x31
#define APIC_LVTT 0x32
#define APIC_LVTPC 0x34
#define APIC_LVT0 0x35
#define APIC_LVT1 0x36
#define APIC_LVTERR 0x37
#define APIC_TMICT 0x38
#define APIC_TMCCT 0x39
#define APIC_TDCR 0x3e
#define X2APIC_ENABLED (1u << 10)

/* What software can set of a register; the others follow from the vCPU, and stay. */
static const struct {
	__u8 first, last;
	__u32 bits;
} apic_registers[] = {
	{ APIC_TPR, APIC_TPR, 0xff }, { APIC_LDR, APIC_LDR, 0xff000000 },
	{ APIC_DFR, APIC_DFR, 0xf0000000 }, { APIC_SVR, APIC_SVR, 0x1ff },
	{ APIC_ISR, APIC_IRR + 7, ~0u }, { APIC_ESR, APIC_ESR, 0xff }, { APIC_ICR, APIC_ICR, 0xccfff },
	{ APIC_ICR2, APIC_ICR2, ~0u }, { APIC_LVTT, APIC_LVTT, 0x710ff },
	{ APIC_LVTT + 1, APIC_LVTPC, 0x117ff }, { APIC_LVT0, APIC_LVT1, 0x1f7ff },
	{ APIC_LVTERR, APIC_LVTERR, 0x110ff }, { APIC_TMICT, APIC_TMCCT, ~0u },
	{ APIC_TDCR, APIC_TDCR, 0xb },
};

int call_get_lapic(struct object *object, void *data, unsigned long argument)
{
	struct shim_vcpu *vcpu = vcpu_of(object);
	struct kvm_lapic_state *lapic = data;
	struct mote_state state;
	int err;

	(void)argument;
	if (!vcpu->vm->irqchip)
		return -EINVAL;
	err = get(vcpu, &state, PART(APIC) | PART(MSRS));
	/* The id of 32 bits is for those who have asked for it. */
	if (state.msrs.apic_base & X2APIC_ENABLED && !vcpu->vm->x2apic_ids)
		state.apic.reg[APIC_ID] <<= 24;
	for (size_t i = 0; i < MOTE_APIC_REGS; i++)
		memcpy(lapic->regs + 16 * i, &state.apic.reg[i], 4);
	return err;
}

int call_set_lapic(struct object *object, void *data, unsigned long argument)
{
	const struct kvm_lapic_state *lapic = data;
	struct shim_vcpu *vcpu = vcpu_of(object);
	struct mote_state state;
	__u32 value, *reg;
	bool x2;
	int err;

	(void)argument;
	if (!vcpu->vm->irqchip)
		return -EINVAL;
	err = get(vcpu, &state, PART(APIC) | PART(MSRS));
	if (err)
		return err;
	x2 = state.msrs.apic_base & X2APIC_ENABLED;
	for (size_t i = 0; i < ARRAY_SIZE(apic_registers); i++) {
		for (__u8 n = apic_registers[i].first; n <= apic_registers[i].last; n++) {
			/* In x2APIC mode both follow from the id. */
			if (x2 && (n == APIC_LDR || n == APIC_DFR))
				continue;
			memcpy(&value, lapic->regs + 16 * n, 4);
			reg = &state.apic.reg[n];
			*reg = (*reg & ~apic_registers[i].bits) | (value & apic_registers[i].bits);
		}
	}
	/* The 16 lowest vectors are none. */
	for (int i = APIC_ISR; i <= APIC_IRR; i += 8)
		state.apic.reg[i] &= ~0xffffu;
	state.mask = PART(APIC);
	err = set(vcpu, &state);
	return err;
}

/* ---- addresses ------------------------------------------------------------------- */

int call_translate(struct object *object, void *data, unsigned long argument)
{
	struct kvm_translation *translation = data;
	struct shim_vcpu *vcpu = vcpu_of(object);
	struct mote_paging paging;
	struct mote_state state;
	__u64 gpa;
	int err = get(vcpu, &state, PART(CRS) | PART(MSRS) | PART(GPRS));

	(void)argument;
	if (err)
		return err;
	paging = (struct mote_paging) {
		.cr0 = state.crs.cr0, .cr3 = state.crs.cr3, .cr4 = state.crs.cr4,
		.efer = state.msrs.efer, .rflags = state.gprs.rflags,
	};
	pthread_rwlock_rdlock(&vcpu->vm->memory_lock);
	err = mote_walk(&vcpu->vm->machine, &paging, translation->linear_address,
			MOTE_ACCESS_READ | MOTE_ACCESS_PEEK, &gpa, NULL);
	pthread_rwlock_unlock(&vcpu->vm->memory_lock);
	translation->physical_address = err ? ~0ull : gpa;
	translation->valid = !err;
	translation->writeable = 1;
	translation->usermode = 0;
	return 0;
}

/* ---- by struct kvm_run ----------------------------------------------------------- */

int registers_take(struct shim_vcpu *vcpu)
{
	struct kvm_run *run = vcpu->kvm;
	struct kvm_sync_regs *regs = &run->s.regs;
	int err = 0;

	if ((run->kvm_valid_regs | run->kvm_dirty_regs) & ~KVM_SYNC_X86_VALID_FIELDS)
		return -EINVAL;
	if (run->kvm_dirty_regs & KVM_SYNC_X86_REGS)
		err = call_set_regs(&vcpu->object, &regs->regs, 0);
	if (!err && run->kvm_dirty_regs & KVM_SYNC_X86_SREGS)
		err = call_set_sregs(&vcpu->object, &regs->sregs, 0);
	if (!err && run->kvm_dirty_regs & KVM_SYNC_X86_EVENTS)
		err = call_set_events(&vcpu->object, &regs->events, 0);
	if (!err)
		run->kvm_dirty_regs = 0;
	return err;
}

int registers_show(struct shim_vcpu *vcpu)
{
	const __u64 wanted = vcpu->kvm->kvm_valid_regs;
	struct kvm_sync_regs *regs = &vcpu->kvm->s.regs;
	int err = 0;

	if (wanted & KVM_SYNC_X86_REGS)
		err = call_get_regs(&vcpu->object, &regs->regs, 0);
	if (!err && wanted & KVM_SYNC_X86_SREGS)
		err = call_get_sregs(&vcpu->object, &regs->sregs, 0);
	if (!err && wanted & KVM_SYNC_X86_EVENTS)
		err = call_get_events(&vcpu->object, &regs->events, 0);
	return err;
}
