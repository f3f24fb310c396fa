// SPDX-License-Identifier: GPL-2.0
/*
 * libmote: task switches, as a CPU would make them that makes none in a guest.
 * SDM 3A, "Task Switching" and "Exception Conditions Checked During a Task Switch".
 *
 * Up to the commit point the guest is as it was but for accessed bits, and faults
 * are the old task's.  Behind it they are the new one's: selectors are all loaded,
 * and segments that have not come to be checked are not usable.  CS and SS have to
 * be, for the fault to be delivered: until both are good they are flat, with the
 * privilege that the new CS asks for.
 *
 * Tasks in virtual-8086 mode are switched from and to.  The upper halves of registers
 * that a 16-bit TSS does not have are ones; the manual leaves them open.
 */
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "complete.h"

#define CR0_TS (1u << 3)
#define CR0_PG (1u << 31)
#define CR4_PAE (1u << 5)
#define RFLAGS_FIXED (1u << 1)
#define RFLAGS_NT (1u << 14)
#define RFLAGS_VM (1u << 17)
#define RFLAGS_ALL 0x3f7fd7u
#define DR6_BT (1u << 15)
#define DR7_LOCAL 0x155u	/* L0 to L3 and LE */

#define ATTR_ACCESSED (1u << 0)
#define ATTR_WRITE (1u << 1)	/* of data; of code: may be read; of a TSS: busy */
#define ATTR_DOWN (1u << 2)	/* of data: expands down; of code: conforming */
#define ATTR_CODE (1u << 3)	/* of a TSS: of 32 bits */
#define ATTR_S (1u << 4)
#define ATTR_P (1u << 7)
#define ATTR_DB (1u << 14)
#define ATTR_V8086 0xf3
#define TYPE_LDT 2

#define SELECTOR_TI 4u

#define VECTOR_DB 1
#define VECTOR_DF 8
#define VECTOR_TS 10
#define VECTOR_NP 11
#define VECTOR_SS 12
#define VECTOR_GP 13
#define VECTOR_PF 14

#define PAGE_SIZE 4096u
#define NR_REGS 8
#define NR_SEGS 6

/* Not an error: the switch has ended in an exception. */
#define TO_GUEST 1

/* SDM 3A, "Task-State Segment (TSS)". */
struct tss32 {
	__u32 link;
	__u32 stacks[6];
	__u32 cr3;
	__u32 eip;
	__u32 eflags;
	__u32 reg[NR_REGS];
	__u32 seg[NR_SEGS];
	__u32 ldt;
	__u16 trap;
	__u16 io_map;
};

/* SDM 3A, "16-Bit Task-State Segment (TSS)". */
struct tss16 {
	__u16 link;
	__u16 stacks[6];
	__u16 ip;
	__u16 flags;
	__u16 reg[NR_REGS];
	__u16 seg[4];
	__u16 ldt;
};

/* A task switch on its way; @state becomes the guest's at the end. */
struct job {
	struct mote_cpu *cpu;
	struct mote_task_switch task;
	struct mote_state state;
	struct mote_segment tss;	/* the new one, from its descriptor */
	struct tss32 old, new;		/* in this form, whatever they are */
	bool committed;
	struct mote_event fault;
};

/* ---- exceptions -------------------------------------------------------------- */

/* Did what came through the gate come from outside of the program? SDM 3A, "Error Code". */
static bool is_external(const struct job *job)
{
	const struct mote_event *event = &job->task.event;

	return event->valid && event->type != MOTE_EVENT_INT && event->type != MOTE_EVENT_INT3;
}

static int fault(struct job *job, __u8 vector, __u32 error)
{
	if (vector != VECTOR_PF)
		error |= is_external(job);
	job->fault = (struct mote_event) {
		.valid = 1, .type = MOTE_EVENT_EXCEPTION, .vector = vector,
		.has_error = 1, .error = error,
	};
	return TO_GUEST;
}

static int selector_fault(struct job *job, __u8 vector, __u16 selector)
{
	return fault(job, vector, selector & ~3u);
}

static bool is_contributory(__u8 vector)
{
	return !vector || (vector >= VECTOR_TS && vector <= VECTOR_GP);
}

/* The fault, or what it makes of the exception during whose delivery it came: SDM 3A, "#DF". */
static int inject_fault(struct job *job)
{
	const struct mote_event *first = &job->task.event;
	__u8 second = job->fault.vector;
	bool serious = is_contributory(second) || second == VECTOR_PF;

	if (first->valid && first->type == MOTE_EVENT_EXCEPTION && serious) {
		if (first->vector == VECTOR_DF)
			return -ESHUTDOWN;
		if (first->vector == VECTOR_PF ||
		    (is_contributory(first->vector) && second != VECTOR_PF)) {
			job->fault.vector = VECTOR_DF;
			job->fault.error = 0;
		}
	}
	return mote_inject(job->cpu->fd, &job->fault);
}

/* ---- memory -------------------------------------------------------------------- */

static int find(struct job *job, __u32 gva, unsigned int access, __u64 *gpa)
{
	const struct mote_crs *crs = &job->state.crs;
	const struct mote_paging paging = {
		.cr0 = crs->cr0, .cr3 = crs->cr3, .cr4 = crs->cr4, .efer = job->state.msrs.efer,
	};
	__u32 error;

	if (!mote_walk(job->cpu->machine, &paging, gva, access, gpa, &error))
		return 0;
	job->state.crs.cr2 = gva;
	return fault(job, VECTOR_PF, error);
}

static int copy(struct job *job, __u32 gva, void *data, unsigned int len, unsigned int access)
{
	const struct mote_machine *machine = job->cpu->machine;
	const struct mote_area *area;
	__u64 gpa;
	int err = 0;

	while (len && !err) {
		unsigned int here = PAGE_SIZE - (gva & (PAGE_SIZE - 1));

		here = here < len ? here : len;
		err = find(job, gva, access, &gpa);
		if (err)
			return err;
		area = mote_machine_area(machine, gpa);
		if (!area || (access & MOTE_ACCESS_WRITE && area->flags & MOTE_SLOT_READONLY))
			return -EFAULT;
		err = access & MOTE_ACCESS_WRITE ? mote_machine_write(machine, gpa, data, here) :
						   mote_machine_read(machine, gpa, data, here);
		data = (char *)data + here;
		gva += here;
		len -= here;
	}
	return err;
}

static int get(struct job *job, __u32 gva, void *data, unsigned int len)
{
	return copy(job, gva, data, len, MOTE_ACCESS_READ);
}

static int put(struct job *job, __u32 gva, void *data, unsigned int len)
{
	return copy(job, gva, data, len, MOTE_ACCESS_WRITE);
}

/* Could all of it be written? So that nothing fails half-way. */
static int probe(struct job *job, __u32 gva, unsigned int len)
{
	__u64 gpa;
	int err = find(job, gva, MOTE_ACCESS_WRITE, &gpa);

	return err ? err : find(job, gva + len - 1, MOTE_ACCESS_WRITE, &gpa);
}

/* ---- descriptors ------------------------------------------------------------------ */

/* Where a selector's descriptor is; false: beyond its table. */
static bool descriptor_at(const struct job *job, __u16 selector, __u32 *gva)
{
	const struct mote_segs *segs = &job->state.segs;
	const struct mote_segment *ldt = &segs->seg[MOTE_LDTR];
	bool local = selector & SELECTOR_TI;

	if (local && !(ldt->attr & ATTR_P))
		return false;
	*gva = (local ? ldt->base : segs->gdt.base) + (selector & ~7u);
	return (selector | 7u) <= (local ? ldt->limit : segs->gdt.limit);
}

/* The segment that a selector means; 0, TO_GUEST (@vector with the selector) or an error. */
static int read_segment(struct job *job, __u16 selector, __u8 vector, struct mote_segment *segment)
{
	__u32 gva, limit;
	__u64 descriptor;
	int err;

	if (!(selector & ~3u) || !descriptor_at(job, selector, &gva))
		return selector_fault(job, vector, selector);
	err = get(job, gva, &descriptor, sizeof(descriptor));
	if (err)
		return err;
	limit = (descriptor & 0xffff) | (descriptor >> 32 & 0xf0000);
	*segment = (struct mote_segment) {
		.base = (descriptor >> 16 & 0xffffff) | (descriptor >> 32 & 0xff000000),
		.limit = descriptor >> 55 & 1 ? limit << 12 | 0xfff : limit,
		.selector = selector,
		.attr = descriptor >> 40 & 0xf0ff,
	};
	return 0;
}

/* Change the type in a descriptor that has been read before. */
static int change_type(struct job *job, __u16 selector, __u8 set, __u8 clear)
{
	__u8 byte, now;
	__u32 gva = 0;
	int err;

	descriptor_at(job, selector, &gva);
	err = get(job, gva + 5, &byte, 1);
	now = (byte & ~clear) | set;
	return err || now == byte ? err : put(job, gva + 5, &now, 1);
}

/* ---- task-state segments ------------------------------------------------------------ */

static bool is_wide(const struct mote_segment *tss)
{
	return tss->attr & ATTR_CODE;
}

static bool is_nested(const struct job *job)
{
	return job->task.how == MOTE_TASK_CALL || job->task.how == MOTE_TASK_GATE;
}

static int check_new_tss(struct job *job)
{
	bool back = job->task.how == MOTE_TASK_IRET;
	__u16 selector = job->task.selector, attr;
	__u8 vector = back ? VECTOR_TS : VECTOR_GP;
	int err;

	if (selector & SELECTOR_TI)
		return selector_fault(job, vector, selector);
	err = read_segment(job, selector, vector, &job->tss);
	if (err)
		return err;
	attr = job->tss.attr;
	if (attr & (ATTR_S | ATTR_DOWN) || !(attr & ATTR_ACCESSED) || !(attr & ATTR_WRITE) == back)
		return selector_fault(job, vector, selector);
	if (!(attr & ATTR_P))
		return selector_fault(job, VECTOR_NP, selector);
	if (job->tss.limit < (is_wide(&job->tss) ? sizeof(struct tss32) : sizeof(struct tss16)) - 1)
		return selector_fault(job, VECTOR_TS, selector);
	return 0;
}

static int read_new_tss(struct job *job)
{
	struct tss32 *new = &job->new;
	struct tss16 narrow;
	int err;

	if (is_wide(&job->tss))
		return get(job, job->tss.base, new, sizeof(*new));
	err = get(job, job->tss.base, &narrow, sizeof(narrow));
	if (err)
		return err;
	*new = (struct tss32) {
		.eip = narrow.ip, .eflags = narrow.flags, .ldt = narrow.ldt,
	};
	for (int i = 0; i < NR_REGS; i++)
		new->reg[i] = 0xffff0000 | narrow.reg[i];
	for (int i = 0; i < 4; i++)
		new->seg[i] = narrow.seg[i];
	return 0;
}

/* What of the old task goes into its TSS. */
static void collect_old(struct job *job)
{
	const struct mote_state *state = &job->state;
	struct tss32 *old = &job->old;

	old->eip = job->cpu->run->next_rip ? job->cpu->run->next_rip : state->gprs.rip;
	old->eflags = state->gprs.rflags;
	if (job->task.how == MOTE_TASK_IRET)
		old->eflags &= ~RFLAGS_NT;
	for (int i = 0; i < NR_REGS; i++)
		old->reg[i] = state->gprs.gpr[i];
	for (int i = 0; i < NR_SEGS; i++)
		old->seg[i] = state->segs.seg[i].selector;
}

static int write_wide(struct job *job, __u32 base)
{
	struct tss32 *old = &job->old;
	int err = put(job, base + offsetof(struct tss32, eip), &old->eip,
		      offsetof(struct tss32, seg) - offsetof(struct tss32, eip));

	/* Only the selectors: what is beside them is not the CPU's. */
	for (int i = 0; i < NR_SEGS && !err; i++)
		err = put(job, base + offsetof(struct tss32, seg[i]), &old->seg[i], 2);
	return err;
}

static int write_narrow(struct job *job, __u32 base)
{
	const struct tss32 *old = &job->old;
	struct tss16 narrow = { .ip = old->eip, .flags = old->eflags };

	for (int i = 0; i < NR_REGS; i++)
		narrow.reg[i] = old->reg[i];
	for (int i = 0; i < 4; i++)
		narrow.seg[i] = old->seg[i];
	return put(job, base + offsetof(struct tss16, ip), &narrow.ip,
		   offsetof(struct tss16, ldt) - offsetof(struct tss16, ip));
}

/* All that can fail before the commit point. */
static int check(struct job *job)
{
	const struct mote_segment *old = &job->state.segs.seg[MOTE_TR];
	unsigned int first = is_wide(old) ? offsetof(struct tss32, eip) : offsetof(struct tss16, ip);
	unsigned int end = is_wide(old) ? offsetof(struct tss32, ldt) : offsetof(struct tss16, ldt);
	__u32 gva;
	int err = check_new_tss(job);

	if (!err && (old->limit < end - 1 || !descriptor_at(job, old->selector, &gva)))
		err = selector_fault(job, VECTOR_TS, old->selector);
	if (!err)
		err = probe(job, old->base + first, end - first);
	if (!err && is_nested(job))
		err = probe(job, job->tss.base, 2);
	if (!err)
		err = read_new_tss(job);
	if (!err && !is_nested(job))
		err = probe(job, gva + 5, 1);
	if (!err && job->task.how != MOTE_TASK_IRET) {
		descriptor_at(job, job->task.selector, &gva);
		err = probe(job, gva + 5, 1);
	}
	return err;
}

/* The old task's TSS and the busy bits. */
static int leave(struct job *job)
{
	const struct mote_segment *old = &job->state.segs.seg[MOTE_TR];
	__u16 link = old->selector;
	int err = 0;

	collect_old(job);
	if (!is_nested(job))
		err = change_type(job, old->selector, 0, ATTR_WRITE);
	if (!err)
		err = is_wide(old) ? write_wide(job, old->base) : write_narrow(job, old->base);
	if (!err && is_nested(job))
		err = put(job, job->tss.base, &link, sizeof(link));
	if (!err && job->task.how != MOTE_TASK_IRET)
		err = change_type(job, job->task.selector, ATTR_WRITE, 0);
	return err;
}

/* ---- the new task ----------------------------------------------------------------------- */

/* Registers, with segments that are not yet checked. */
static void enter(struct job *job)
{
	struct mote_state *state = &job->state;
	struct mote_segment *seg = state->segs.seg;
	const struct tss32 *new = &job->new;

	job->committed = true;
	for (int i = 0; i < NR_REGS; i++)
		state->gprs.gpr[i] = new->reg[i];
	state->gprs.rip = new->eip;
	state->gprs.rflags = (new->eflags & RFLAGS_ALL) | RFLAGS_FIXED;
	if (is_nested(job))
		state->gprs.rflags |= RFLAGS_NT;
	for (int i = 0; i < NR_SEGS; i++)
		seg[i] = (struct mote_segment) { .selector = new->seg[i] };
	seg[MOTE_CS].limit = seg[MOTE_SS].limit = 0xffffffff;
	seg[MOTE_CS].attr = 0xc09b | (new->seg[MOTE_CS] & 3) << 5;
	seg[MOTE_SS].attr = 0xc093 | (new->seg[MOTE_CS] & 3) << 5;
	seg[MOTE_LDTR] = (struct mote_segment) { .selector = new->ldt };
	seg[MOTE_TR] = job->tss;
	seg[MOTE_TR].attr |= ATTR_WRITE;
	state->crs.cr0 |= CR0_TS;
	state->drs.dr7 &= ~(__u64)DR7_LOCAL;
}

/* In PAE paging the PDPTEs are loaded with it: SDM 3A, "PDPTE Registers". */
static int load_cr3(struct job *job)
{
	struct mote_crs *crs = &job->state.crs;
	__u32 cr3 = job->new.cr3;
	__u64 pdpte[4];
	int err;

	if (!is_wide(&job->tss) || !(crs->cr0 & CR0_PG))
		return 0;
	if (crs->cr4 & CR4_PAE) {
		err = mote_machine_read(job->cpu->machine, cr3 & ~31u, pdpte, sizeof(pdpte));
		if (err)
			return err;
		for (int i = 0; i < 4; i++)
			if (pdpte[i] & 1 && pdpte[i] & (0xfffull << 52 | 0x1e6))
				return fault(job, VECTOR_GP, 0);
	}
	crs->cr3 = cr3;
	crs->flags = 0;
	return 0;
}

static int load_ldt(struct job *job)
{
	__u16 selector = job->new.ldt;
	struct mote_segment segment;
	int err;

	if (!(selector & ~3u))
		return 0;
	if (selector & SELECTOR_TI)
		return selector_fault(job, VECTOR_TS, selector);
	err = read_segment(job, selector, VECTOR_TS, &segment);
	if (err)
		return err;
	if ((segment.attr & 0x1f) != TYPE_LDT || !(segment.attr & ATTR_P))
		return selector_fault(job, VECTOR_TS, selector);
	job->state.segs.seg[MOTE_LDTR] = segment;
	return 0;
}

static unsigned int dpl_of(const struct mote_segment *segment)
{
	return segment->attr >> 5 & 3;
}

/* May the new task, of this privilege, have it in this register? SDM 3A, Table 8-1. */
static bool fits(const struct mote_segment *segment, int n, unsigned int cpl)
{
	unsigned int attr = segment->attr, dpl = dpl_of(segment), rpl = segment->selector & 3;
	bool code = attr & ATTR_CODE, conforming = code && attr & ATTR_DOWN;

	if (!(attr & ATTR_S))
		return false;
	if (n == MOTE_CS)
		return code && (conforming ? dpl <= rpl : dpl == rpl);
	if (n == MOTE_SS)
		return !code && attr & ATTR_WRITE && dpl == cpl && rpl == cpl;
	if (code && !(attr & ATTR_WRITE))
		return false;
	return conforming || (dpl >= cpl && dpl >= rpl);
}

static int load_segment(struct job *job, int n, struct mote_segment *segment)
{
	__u16 selector = job->new.seg[n];
	__u8 absent = n == MOTE_SS ? VECTOR_SS : VECTOR_NP;
	int err;

	if (!(selector & ~3u) && n != MOTE_CS && n != MOTE_SS)
		return 0;
	err = read_segment(job, selector, VECTOR_TS, segment);
	if (err)
		return err;
	if (!fits(segment, n, job->new.seg[MOTE_CS] & 3))
		return selector_fault(job, VECTOR_TS, selector);
	if (!(segment->attr & ATTR_P))
		return selector_fault(job, absent, selector);
	segment->attr |= ATTR_ACCESSED;
	return change_type(job, selector, ATTR_ACCESSED, 0);
}

static int load_segments(struct job *job)
{
	struct mote_segment *seg = job->state.segs.seg, cs, ss;
	int err;

	if (job->state.gprs.rflags & RFLAGS_VM) {
		for (int i = 0; i < NR_SEGS; i++) {
			__u16 selector = job->new.seg[i];

			seg[i] = (struct mote_segment) { selector << 4, 0xffff, selector, ATTR_V8086 };
		}
		return 0;
	}
	err = load_segment(job, MOTE_CS, &cs);
	if (!err)
		err = load_segment(job, MOTE_SS, &ss);
	if (err)
		return err;
	seg[MOTE_CS] = cs;
	seg[MOTE_SS] = ss;
	for (int i = 0; i < NR_SEGS && !err; i++) {
		struct mote_segment segment = { .selector = job->new.seg[i] };

		if (i == MOTE_CS || i == MOTE_SS)
			continue;
		err = load_segment(job, i, &segment);
		if (!err)
			seg[i] = segment;
	}
	return err;
}

/* An exception's error code goes onto the new task's stack. */
static int push_error(struct job *job)
{
	const struct mote_segment *ss = &job->state.segs.seg[MOTE_SS];
	unsigned int size = is_wide(&job->tss) ? 4 : 2, access = MOTE_ACCESS_WRITE;
	__u32 mask = ss->attr & ATTR_DB ? 0xffffffff : 0xffff;
	__u64 *rsp = &job->state.gprs.gpr[MOTE_RSP];
	__u32 sp = (*rsp - size) & mask, error = job->task.event.error;
	bool down = ss->attr & ATTR_DOWN;
	int err;

	if (!job->task.event.valid || !job->task.event.has_error)
		return 0;
	if (sp > mask - (size - 1) || (down ? sp <= ss->limit : sp + size - 1 > ss->limit))
		return fault(job, VECTOR_SS, 0);
	if (job->state.gprs.rflags & RFLAGS_VM || dpl_of(ss) == 3)
		access |= MOTE_ACCESS_USER;
	err = copy(job, ss->base + sp, &error, size, access);
	if (!err)
		*rsp = (*rsp & ~(__u64)mask) | sp;
	return err;
}

static int load(struct job *job)
{
	int err = load_cr3(job);

	if (!err)
		err = load_ldt(job);
	if (!err)
		err = load_segments(job);
	if (!err && job->state.gprs.rip > job->state.segs.seg[MOTE_CS].limit)
		err = fault(job, VECTOR_GP, 0);
	if (!err)
		err = push_error(job);
	if (!err && is_wide(&job->tss) && job->new.trap & 1) {
		job->state.drs.dr6 |= DR6_BT;
		job->fault = (struct mote_event) {
			.valid = 1, .type = MOTE_EVENT_EXCEPTION, .vector = VECTOR_DB,
		};
		err = TO_GUEST;
	}
	return err;
}

/* ---- entry point ----------------------------------------------------------------------------- */

static int switch_task(struct job *job)
{
	int err = check(job);

	if (!err)
		err = leave(job);
	if (err)
		return err;
	enter(job);
	return load(job);
}

int mote_complete_task_switch(struct mote_cpu *cpu)
{
	__u32 mask = MOTE_STATE_GPRS | MOTE_STATE_SEGS | MOTE_STATE_CRS | MOTE_STATE_DRS;
	struct job job = { .cpu = cpu, .task = cpu->run->task };
	int ended, err;

	job.state.mask = mask | MOTE_STATE_MSRS;
	err = mote_get_state(cpu->fd, &job.state);
	if (err)
		return err;
	ended = switch_task(&job);
	if (ended < 0)
		return ended;
	/* Not committed: at most CR2 has changed. */
	job.state.mask = job.committed ? mask : MOTE_STATE_CRS;
	err = mote_set_state(cpu->fd, &job.state);
	return err || !ended ? err : inject_fault(&job);
}
