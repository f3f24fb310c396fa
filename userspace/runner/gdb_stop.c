// SPDX-License-Identifier: GPL-2.0
/* Where a debugged machine stops: breakpoints in memory and in debug registers, and steps. */
#include <cpuid.h>
#include <errno.h>
#include <string.h>

#include "gdb.h"
#include "runner.h"

#define INT3 0xcc
#define INT1 0xf1
#define VECTOR_DB 1
#define VECTOR_BP 3
#define VECTOR_UD 6
#define PAGE_SIZE 4096

/*
 * QUIRK(qemu 7.2): its AMD processor does not know the intercept of INT3, nor INT1, which it takes for
 * no instruction: that will do.
 */
static bool is_tcg(void)
{
	unsigned int eax, words[3];

	__cpuid(0x40000000, eax, words[0], words[1], words[2]);
	return !memcmp(words, "TCGTCGTCGTCG", sizeof(words));
}

static __u8 break_insn(void)
{
	return is_tcg() ? INT1 : INT3;
}

__u32 gdb_exceptions(void)
{
	return 1u << VECTOR_DB | 1u << (is_tcg() ? VECTOR_UD : VECTOR_BP);
}

/* ---- memory ------------------------------------------------------------------------- */

static int get_paging(const struct gdb *gdb, unsigned int cpu, struct mote_paging *paging)
{
	struct mote_state state = { .mask = MOTE_STATE_CRS | MOTE_STATE_MSRS };
	int err = mote_debug_get(gdb->vm->vcpus[cpu].cpu.fd, &state);

	*paging = mote_debug_paging(&state);
	return err;
}

static bool find_gpa(const struct gdb *gdb, unsigned int cpu, __u64 gva, __u64 *gpa)
{
	struct mote_paging paging;

	return !get_paging(gdb, cpu, &paging) &&
	       !mote_walk(&gdb->vm->machine, &paging, gva, MOTE_ACCESS_PEEK, gpa, NULL);
}

/* What the guest has at our breakpoints: into what was read; or from what is written, which keeps them. */
static void hide(struct gdb *gdb, __u64 gpa, __u8 *data, size_t size, bool write)
{
	for (unsigned int i = 0; i < gdb->nr_breakpoints; i++) {
		struct gdb_breakpoint *there = &gdb->breakpoints[i];

		if (there->gpa - gpa >= size)
			continue;
		if (write)
			there->byte = data[there->gpa - gpa];
		data[there->gpa - gpa] = write ? break_insn() : there->byte;
	}
}

bool gdb_memory(struct gdb *gdb, __u64 gva, void *data, size_t size, bool write)
{
	const struct mote_machine *machine = &gdb->vm->machine;
	struct mote_paging paging;
	__u8 *bytes = data;

	if (get_paging(gdb, gdb->selected, &paging))
		return false;
	while (size) {
		size_t here = PAGE_SIZE - gva % PAGE_SIZE;
		__u64 gpa;

		if (here > size)
			here = size;
		if (mote_walk(machine, &paging, gva, MOTE_ACCESS_PEEK, &gpa, NULL) ||
		    !mote_machine_hva(machine, gpa, here))
			return false;
		if (write)
			hide(gdb, gpa, bytes, here, true);
		if (write ? mote_machine_write(machine, gpa, bytes, here) :
			    mote_machine_read(machine, gpa, bytes, here))
			return false;
		if (!write)
			hide(gdb, gpa, bytes, here, false);
		gva += here;
		bytes += here;
		size -= here;
	}
	return true;
}

/* ---- breakpoints in memory -------------------------------------------------------------- */

static struct gdb_breakpoint *find_breakpoint(struct gdb *gdb, __u64 gpa)
{
	for (unsigned int i = 0; i < gdb->nr_breakpoints; i++)
		if (gdb->breakpoints[i].gpa == gpa)
			return &gdb->breakpoints[i];
	return NULL;
}

int gdb_insert(struct gdb *gdb, __u64 gva)
{
	const struct mote_machine *machine = &gdb->vm->machine;
	struct gdb_breakpoint new = { .gva = gva };
	const __u8 insn = break_insn();

	if (!find_gpa(gdb, gdb->selected, gva, &new.gpa))
		return -EFAULT;
	if (find_breakpoint(gdb, new.gpa))
		return 0;
	if (gdb->nr_breakpoints == GDB_BREAKPOINTS_MOST)
		return -ENOSPC;
	if (mote_machine_read(machine, new.gpa, &new.byte, 1) ||
	    mote_machine_write(machine, new.gpa, &insn, 1))
		return -EFAULT;
	gdb->breakpoints[gdb->nr_breakpoints++] = new;
	return 0;
}

/* If the guest has not written something else there. */
static void restore(const struct gdb *gdb, const struct gdb_breakpoint *breakpoint)
{
	const struct mote_machine *machine = &gdb->vm->machine;
	__u8 byte;

	if (!mote_machine_read(machine, breakpoint->gpa, &byte, 1) && byte == break_insn())
		mote_machine_write(machine, breakpoint->gpa, &breakpoint->byte, 1);
}

/* The page tables may have changed since: what gdb calls it is what it is. */
int gdb_remove(struct gdb *gdb, __u64 gva)
{
	for (unsigned int i = 0; i < gdb->nr_breakpoints; i++) {
		if (gdb->breakpoints[i].gva != gva)
			continue;
		restore(gdb, &gdb->breakpoints[i]);
		gdb->breakpoints[i] = gdb->breakpoints[--gdb->nr_breakpoints];
		return 0;
	}
	return -ENOENT;
}

/* ---- debug registers ---------------------------------------------------------------------- */

/* SDM 3B, "Debug Control Register (DR7)". */
static void fill_drs(const struct gdb *gdb, struct mote_drs *drs)
{
	static const __u8 sizes[] = { [1] = 0, [2] = 1, [4] = 3, [8] = 2 };

	*drs = (struct mote_drs) { 0 };
	for (int i = 0; i < GDB_WATCHES_MOST; i++) {
		const struct gdb_watch *watch = &gdb->watches[i];
		__u32 rule = watch->type == '1' ? 0 : sizes[watch->size] << 2 | (watch->type == '2' ? 1 : 3);

		if (!watch->type)
			continue;
		drs->dr[i] = watch->gva;
		drs->dr7 |= 2ull << 2 * i | (__u64)rule << (16 + 4 * i);
	}
}

static int set_drs(struct gdb *gdb)
{
	struct mote_drs drs;
	int err = 0;

	fill_drs(gdb, &drs);
	for (unsigned int i = 0; i < gdb->vm->nr_vcpus && !err; i++)
		err = mote_debug_set_drs(&gdb->cpus[i].debugged, drs.dr7 ? &drs : NULL);
	return err;
}

static struct gdb_watch *find_watch(struct gdb *gdb, char type, __u64 gva, __u64 size)
{
	for (int i = 0; i < GDB_WATCHES_MOST; i++) {
		struct gdb_watch *watch = &gdb->watches[i];

		if (watch->type == type && (!type || (watch->gva == gva && watch->size == size)))
			return watch;
	}
	return NULL;
}

int gdb_insert_watch(struct gdb *gdb, char type, __u64 gva, __u64 size)
{
	struct gdb_watch *watch;

	if (!size || size > 8 || size & (size - 1) || (type != '1' && gva % size))
		return -EINVAL;
	if (find_watch(gdb, type, gva, size))
		return 0;
	watch = find_watch(gdb, 0, 0, 0);
	if (!watch)
		return -ENOSPC;
	*watch = (struct gdb_watch) { type, size, gva };
	return set_drs(gdb);
}

int gdb_remove_watch(struct gdb *gdb, char type, __u64 gva, __u64 size)
{
	struct gdb_watch *watch = find_watch(gdb, type, gva, size);

	if (!watch)
		return -ENOENT;
	*watch = (struct gdb_watch) { 0 };
	return set_drs(gdb);
}

void gdb_remove_all(struct gdb *gdb)
{
	while (gdb->nr_breakpoints)
		restore(gdb, &gdb->breakpoints[--gdb->nr_breakpoints]);
	memset(gdb->watches, 0, sizeof(gdb->watches));
}

/* ---- what ends a run ------------------------------------------------------------------------ */

static void stop(struct vcpu *vcpu, enum gdb_reason reason, int watch)
{
	struct gdb_cpu *cpu = &vcpu->vm->gdb->cpus[vcpu->cpu.id];

	pthread_mutex_lock(&vcpu->vm->life);
	cpu->reason = reason;
	cpu->watch = watch;
	pthread_mutex_unlock(&vcpu->vm->life);
	vcpu->steps = false;
	vm_stop(vcpu->vm);
}

/* Which of the debug registers has stopped it, or -1; data before instructions, which have not run. */
static int find_hit(struct vcpu *vcpu, __u64 dr6, __u64 rip)
{
	const struct gdb *gdb = vcpu->vm->gdb;
	int found = -1;

	for (int i = 0; i < GDB_WATCHES_MOST; i++) {
		const struct gdb_watch *watch = &gdb->watches[i];
		/* QUIRK(bochs 2.7): its AMD processor exits before it has written DR6. */
		bool hit = dr6 >> i & 1 || (watch->type == '1' && watch->gva == rip);

		if (watch->type && hit && (found < 0 || watch->type != '1'))
			found = i;
	}
	return found;
}

/* At one of our breakpoints?  Then where that is, in terms of RIP. */
static bool is_at_breakpoint(struct vcpu *vcpu, const struct mote_state *state, __u64 *rip)
{
	struct mote_state before = *state;
	__u64 gpa;

	/* INT3 and INT1 are traps. */
	if (vcpu->cpu.run->exception.vector != VECTOR_UD)
		before.gprs.rip--;
	*rip = before.gprs.rip;
	return find_gpa(vcpu->vm->gdb, vcpu->cpu.id, mote_debug_rip(&before), &gpa) &&
	       find_breakpoint(vcpu->vm->gdb, gpa);
}

static int exception(struct vcpu *vcpu)
{
	struct mote_debugged *debugged = &vcpu->vm->gdb->cpus[vcpu->cpu.id].debugged;
	struct mote_state state = {
		.mask = MOTE_STATE_GPRS | MOTE_STATE_SEGS | MOTE_STATE_MSRS | MOTE_STATE_DRS,
	};
	__u8 vector = vcpu->cpu.run->exception.vector;
	int err = mote_debug_get(vcpu->cpu.fd, &state), hit;
	__u64 rip;

	if (err)
		return err;
	if (gdb_exceptions() >> vector & 1 && is_at_breakpoint(vcpu, &state, &rip)) {
		err = mote_step_end(debugged);
		if (!err)
			err = mote_debug_take(debugged, rip);
		if (!err)
			stop(vcpu, GDB_BREAK, -1);
		return err;
	}
	if (debugged->step) {
		err = mote_step_exit(debugged);
		if (err != MOTE_STEPPED)
			return err;
		hit = find_hit(vcpu, debugged->dr6, 0);
		stop(vcpu, hit < 0 ? GDB_STEPPED : GDB_WATCH, hit);
		return 0;
	}
	hit = vector == VECTOR_DB ? find_hit(vcpu, state.drs.dr6, mote_debug_rip(&state)) : -1;
	if (hit < 0)
		return mote_debug_pass(debugged);
	err = mote_debug_take(debugged, state.gprs.rip);
	if (!err)
		stop(vcpu, GDB_WATCH, hit);
	return err;
}

int gdb_exit(struct vcpu *vcpu)
{
	if (vcpu->cpu.run->reason == MOTE_EXIT_DR)
		return mote_debug_mov_dr(&vcpu->vm->gdb->cpus[vcpu->cpu.id].debugged);
	return exception(vcpu);
}
