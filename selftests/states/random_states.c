// SPDX-License-Identifier: GPL-2.0
/*
 * Random states near the boundary of what a CPU can be in: what mote's checks
 * let pass, the hardware enters.  Ten seconds of them; a million with MOTE_LONG.
 * And both vendors say the same of the same states.
 *
 * The VM has no memory: whatever enters comes out again at its first access.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "libmote.h"
#include "random.h"
#include "selftest.h"

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

enum mode { REAL, PROTECTED, PAE, LONG, COMPATIBLE, V86, NR_MODES };

static __u64 edge(void)
{
	static const __u64 edges[] = {
		0, 1, 2, 0xfff, 0xffff, 0x10000, 0xfffff, 0x100000, 0x7fffffff, 0x80000000,
		0xffffffff, 0x100000000, 0x8000000000, 0x7fffffffffff, 0x800000000000,
		0xffff7fffffffffff, 0xffff800000000000, 0x8000000000000000, ~0ull,
	};

	return edges[below(ARRAY_LEN(edges))];
}

static void set_segments(struct mote_state *s, __u32 limit, __u16 code, __u16 data)
{
	int i;

	for (i = MOTE_ES; i <= MOTE_GS; i++)
		s->segs.seg[i] = (struct mote_segment){ .limit = limit, .attr = data };
	s->segs.seg[MOTE_CS].attr = code;
	s->segs.seg[MOTE_LDTR] = (struct mote_segment){ .limit = 0xffff, .attr = 0x82 };
	s->segs.seg[MOTE_TR] = (struct mote_segment){ .limit = 0xffff, .attr = 0x8b };
}

static void set_mode(struct mote_state *s, enum mode mode)
{
	static const struct {
		__u64 cr0, cr4, efer, rflags;
		__u32 limit;
		__u16 code, data;
	} modes[NR_MODES] = {
		[REAL] = { 0x10, 0, 0, 2, 0xffff, 0x9b, 0x93 },
		[PROTECTED] = { 0x31, 0, 0, 2, 0xffffffff, 0xc09b, 0xc093 },
		[PAE] = { 0x80000031, 0x20, 0, 0x202, 0xffffffff, 0xc09b, 0xc093 },
		[LONG] = { 0x80000031, 0x20, 0x500, 0x202, 0xffffffff, 0xa09b, 0xc093 },
		[COMPATIBLE] = { 0x80000031, 0x20, 0x500, 2, 0xffffffff, 0xc09b, 0xc093 },
		[V86] = { 0x31, 0, 0, 0x20202, 0xffff, 0xf3, 0xf3 },
	};

	memset(s, 0, sizeof(*s));
	s->mask = MOTE_STATE_ALL & ~(MOTE_STATE_XSAVE | MOTE_STATE_TSC);
	set_segments(s, modes[mode].limit, modes[mode].code, modes[mode].data);
	s->gprs.rip = 0x1000;
	s->gprs.rflags = modes[mode].rflags;
	s->crs.cr0 = modes[mode].cr0;
	s->crs.cr4 = modes[mode].cr4;
	s->crs.xcr0 = 1;
	s->crs.flags = below(4) ? MOTE_CRS_PDPTE : 0;
	s->drs.dr6 = 0xffff0ff0;
	s->drs.dr7 = 0x400;
	s->msrs.efer = modes[mode].efer;
	s->msrs.pat = 0x0007040600070406;
	s->msrs.apic_base = 0xfee00900;
	s->msrs.misc_enable = 1;
}

/* An edge, or one bit more or less. */
static __u64 change(__u64 value, unsigned int bits)
{
	return below(3) ? value ^ 1ull << below(bits) : edge();
}

static void change_segment(struct mote_state *s)
{
	unsigned int n = below(MOTE_NR_SEGS);
	struct mote_segment *seg = &s->segs.seg[n];

	switch (below(5)) {
	case 0:
		seg->attr ^= 1 << below(16);
		break;
	case 1:
		seg->attr = (seg->attr & ~0xf) | below(16);
		break;
	case 2:
		seg->base = edge();
		break;
	case 3:
		seg->limit = edge();
		seg->attr ^= below(2) << 15;
		break;
	case 4:
		seg->selector = below(0x10000);
		break;
	}
}

static void change_event(struct mote_state *s)
{
	static const __u8 types[] = { MOTE_EVENT_EXCEPTION, MOTE_EVENT_EXCEPTION,
				      MOTE_EVENT_INTERRUPT, MOTE_EVENT_NMI, 1, 4 };
	struct mote_event *event = &s->events.injected;

	event->valid = 1;
	event->type = types[below(ARRAY_LEN(types))];
	event->vector = event->type == MOTE_EVENT_NMI ? 2 : below(34);
	event->has_error = below(8) ? 0x27d00 >> event->vector & 1 : below(2);
	event->error = below(8) ? below(0x10000) : edge();
}

static void change_register(struct mote_state *s)
{
	__u64 *const registers[] = {
		&s->gprs.rip, &s->gprs.rflags, &s->gprs.rflags, &s->crs.cr0, &s->crs.cr0,
		&s->crs.cr3, &s->crs.cr4, &s->crs.cr4, &s->crs.pdpte[0], &s->crs.pdpte[3],
		&s->drs.dr6, &s->drs.dr7, &s->msrs.efer, &s->msrs.pat, &s->msrs.lstar,
		&s->msrs.sysenter_esp, &s->crs.xcr0, &s->segs.gdt.base, &s->segs.idt.base,
		&s->events.pending_debug,
	};
	__u64 *value = registers[below(ARRAY_LEN(registers))];

	*value = change(*value, below(2) ? 64 : 24);
}

static void change_state(struct mote_state *s)
{
	switch (below(8)) {
	case 0 ... 2:
		change_register(s);
		break;
	case 3 ... 5:
		change_segment(s);
		break;
	case 6:
		change_event(s);
		break;
	case 7:
		s->events.shadow = below(3);
		s->events.nmi_blocked = below(2);
		s->segs.gdt.limit = edge();
		break;
	}
}

/*
 * What an emulator cannot stand: at an exit with EFER.LME but neither paging nor
 * CR4.PAE, QEMU leaves the host without paging.  And Bochs wants the RPL of CS to
 * be the CPL, in real mode, too; no CPU does.
 */
static void spare_emulator(struct mote_state *s)
{
	struct mote_segment *cs = &s->segs.seg[MOTE_CS];

	if (!(s->gprs.rflags & 0x20000))
		cs->selector = (cs->selector & ~3) | (s->segs.seg[MOTE_SS].attr >> 5 & 3);
	if (s->msrs.efer & 0x100 && !(s->crs.cr0 >> 31 & 1))
		s->crs.cr4 |= 0x20;
}

/* So that it can be tried again. */
static void print_state(const struct mote_state *s, const struct mote_run *run)
{
	const unsigned char *byte = (const void *)s;
	size_t i;

	printf("# refused with %#llx: %s\n# state:", run->fail.hardware, mote_check_text(run->fail.check));
	for (i = 0; i < sizeof(*s); i++)
		printf("%s%02x", i % 40 ? "" : "\n# ", byte[i]);
	printf("\n");
	fflush(stdout);
}

/*
 * Bochs's AMD model, a Trinity, panics when VMRUN enters virtual-8086 mode, and
 * when a nested fault came during the delivery of an exception before.
 */
static bool is_fragile(int mote)
{
	static struct mote_info info;

	return !mote_get_info(mote, &info) && info.vendor == MOTE_VENDOR_SVM &&
	       info.cpu_signature == 0x610f01;
}

FIXTURE(random_states)
{
	int mote, vm, vcpu;
	struct mote_run *run;
};

FIXTURE_SETUP(random_states)
{
	struct mote_vm_config vm = { .flags = MOTE_VM_HLT_EXIT };
	struct mote_vcpu_config vcpu = {};

	self->mote = mote_open();
	ASSERT_LE(0, self->mote);
	self->vm = mote_create_vm(self->mote, &vm);
	ASSERT_LE(0, self->vm);
	self->vcpu = mote_create_vcpu(self->vm, &vcpu);
	ASSERT_LE(0, self->vcpu);
	self->run = mmap(NULL, MOTE_RUN_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, self->vcpu, 0);
	ASSERT_NE(MAP_FAILED, self->run);
}

FIXTURE_TEARDOWN(random_states)
{
	munmap(self->run, MOTE_RUN_SIZE);
	close(self->vcpu);
	close(self->vm);
	close(self->mote);
}

TEST_F(random_states, random)
{
	unsigned long n, limit = 1000000, entered = 0, named = 0, invalid = 0;
	time_t end = is_long_run() ? 0 : time(NULL) + 10;
	struct mote_state s;
	int i, err;

	if (is_fragile(self->mote))
		SKIP(return, "not on this hardware: an emulator that such states end");
	seed = first_seed();
	TH_LOG("seed %#llx", seed);
	for (n = 0; n < limit && (!end || n % 256 || (n < 20000 && time(NULL) < end)); n++) {
		set_mode(&s, n % NR_MODES);
		for (i = below(4); i; i--)
			change_state(&s);
		spare_emulator(&s);
		err = mote_set_state(self->vcpu, &s);
		if (err) {
			ASSERT_EQ(-EINVAL, err);
			invalid++;
			continue;
		}
		while ((err = mote_run(self->vcpu)) == -EINTR)
			;
		ASSERT_EQ(0, err);
		if (self->run->reason != MOTE_EXIT_FAIL_ENTRY) {
			entered++;
			continue;
		}
		named++;
		if (self->run->fail.hardware)
			print_state(&s, self->run);
		ASSERT_EQ(0, self->run->fail.hardware);
		ASSERT_NE(0, mote_check_text(self->run->fail.check)[0]);
	}
	TH_LOG("%lu states: %lu entered, %lu named, %lu refused at once", n, entered, named, invalid);
	EXPECT_LT(n / 4, entered);
	EXPECT_LT(n / 20, named);
}

/* ---- the same on both vendors ----------------------------------------------------- */

#define PARTS (MOTE_STATE_ALL | MOTE_STATE_APIC)
#define XSAVE_ROOM 16384

/* Of XSAVE's legacy region what is registers: not MXCSR_MASK, nor FOP and pointers, nor what is free. */
static const struct {
	size_t from, to;
} fpu_parts[] = { { 0, 5 }, { 24, 28 }, { 32, 416 } };

static unsigned char images[2][XSAVE_ROOM] __attribute__((aligned(64)));

/* What depends on the CPU's features is left out; what no CPU has stays. */
static void spare_features(struct mote_state *s)
{
	s->crs.cr4 &= ~0x00000000ffff7803ull;
	s->msrs.efer &= ~0x00000000fffff200ull;
	s->crs.cr3 &= ~0x000ffff000000000ull;
	if (s->crs.xcr0 != 1)
		s->crs.xcr0 = 0;
}

/*
 * AMD's CPUs need not keep a segment's granularity and accessed bit, nor the busy bit of TR, and have
 * no PDPTE registers and nothing that pends: docs/migration.md.  They are as a CPU has them.
 */
static void spare_format(struct mote_state *s)
{
	struct mote_segment *seg;

	s->crs.flags = 0;
	/* In a shadow a step pends if TF is set. */
	if (s->events.shadow)
		s->events.pending_debug = (s->events.pending_debug & ~0x4000ull) |
					  (s->gprs.rflags & 0x100) << 6;
	for (seg = s->segs.seg; seg < s->segs.seg + MOTE_NR_SEGS; seg++) {
		if (seg->attr & 0x80)
			seg->attr |= seg == &s->segs.seg[MOTE_TR] ? 2 : seg != &s->segs.seg[MOTE_LDTR];
		if (seg->limit >> 20)
			seg->attr |= 0x8000;
		else if ((seg->limit & 0xfff) != 0xfff)
			seg->attr &= ~0x8000;
	}
}

/* A local APIC in use, but for a timer that runs. */
static void change_apic(struct mote_apic *apic, const struct mote_apic *fresh)
{
	*apic = *fresh;
	apic->reg[0x08] = below(0x100);
	apic->reg[0x0d] = below(0x100) << 24;
	apic->reg[0x0f] = below(0x200);
	for (int i = 0x10; i < 0x28; i++)
		apic->reg[i] = below(0x10000) << 16;
	apic->reg[0x28] = below(0x100);
	apic->reg[0x30] = below(0x100) | below(2) << 14;
	apic->reg[0x31] = below(0x100) << 24;
	apic->reg[0x32] = below(0x100) | below(3) << 17;
	apic->reg[0x35] = 0x8000 | below(0x100);
	apic->reg[0x38] = below(1ull << 32);
	apic->errors = below(0x100);
	apic->signals = below(2) * MOTE_APIC_INIT | below(2) * MOTE_APIC_WAKE |
			below(2) * (MOTE_APIC_STARTUP | below(0x100));
}

static void change_rest(struct mote_state *s, unsigned char *image)
{
	for (int i = 0; i < MOTE_NR_GPRS; i++)
		s->gprs.gpr[i] = below(~0ull);
	s->crs.cr2 = below(~0ull);
	s->crs.cr8 = s->apic.reg[0x08] >> 4;
	s->drs.dr[below(4)] = edge();
	s->msrs.star = below(~0ull);
	s->msrs.sfmask = below(1ull << 32);
	s->msrs.sysenter_cs = below(1ull << 32);
	s->msrs.kernel_gs_base = below(1ull << 47);
	s->msrs.tsc_adjust = below(~0ull);
	s->msrs.pv_steal_ns = below(1ull << 62);
	s->tsc.offset = below(~0ull);
	s->events.nmi_pending = below(3);
	if (!below(4))
		s->events.halted = below(3);
	/* FCW, MXCSR, XMM0 to XMM15; XSTATE_BV: x87 and SSE. */
	memset(image, 0, XSAVE_ROOM);
	memcpy(image, (__u16[]){ 0x37f ^ below(0x40) }, 2);
	memcpy(image + 24, (__u32[]){ 0x1f80 ^ below(0x40) }, 4);
	for (int i = 160; i < 416; i++)
		image[i] = below(0x100);
	image[512] = 3;
}

/* FNV-1a */
static __u64 digest;

static void add(const void *data, size_t size)
{
	for (const unsigned char *byte = data; size--; byte++)
		digest = (digest ^ *byte) * 0x100000001b3;
}

/* But for the host's clock, and the PDPTE registers that Intel's CPUs may have read. */
static void read_back(int vcpu, struct mote_state *s, unsigned char *image)
{
	memset(image, 0, XSAVE_ROOM);
	*s = (struct mote_state){ .mask = PARTS, .xsave = (unsigned long)image, .xsave_size = XSAVE_ROOM };
	if (mote_get_state(vcpu, s))
		abort();
	memset(s->crs.pdpte, 0, sizeof(s->crs.pdpte));
	s->crs.flags = 0;
	s->tsc.value = 0;
	s->xsave = 0;
}

static void add_state(const struct mote_state *s, const unsigned char *image)
{
	add(&s->gprs, offsetof(struct mote_state, xsave) - offsetof(struct mote_state, gprs));
	add(&s->apic, sizeof(s->apic));
	for (size_t i = 0; i < ARRAY_LEN(fpu_parts); i++)
		add(image + fpu_parts[i].from, fpu_parts[i].to - fpu_parts[i].from);
}

FIXTURE(both_vendors)
{
	int mote, vm, vcpu;
	struct mote_run *run;
	struct mote_state fresh;
};

FIXTURE_SETUP(both_vendors)
{
	struct mote_vm_config vm = { .flags = MOTE_VM_LAPIC };
	struct mote_vcpu_config vcpu = {};

	self->mote = mote_open();
	self->vm = mote_create_vm(self->mote, &vm);
	self->vcpu = mote_create_vcpu(self->vm, &vcpu);
	ASSERT_LE(0, self->vcpu);
	self->run = mmap(NULL, MOTE_RUN_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, self->vcpu, 0);
	ASSERT_NE(MAP_FAILED, self->run);
	read_back(self->vcpu, &self->fresh, images[0]);
}

FIXTURE_TEARDOWN(both_vendors)
{
	munmap(self->run, MOTE_RUN_SIZE);
	close(self->vcpu);
	close(self->vm);
	close(self->mote);
}

/*
 * The same states, from the same seed, are taken and refused by both vendors for the same reasons,
 * and those that are taken read the same: so says one digest.  What was read is set again and
 * reads as before: so what is read on one vendor's host, set on the other's, reads equal.
 */
TEST_F(both_vendors, read_the_same)
{
	static const struct {
		unsigned long count;
		__u64 digest;
	} runs[] = { { 10000, 0xac6fc993107274ec }, { 1000000, 0x75eaa7eea7ee61c1 } };
	unsigned long n, taken = 0;
	struct mote_state s, now, again;
	struct mote_info info;
	int err, i;

	ASSERT_EQ(0, mote_get_info(self->mote, &info));
	if (info.gva_bits != 48)
		SKIP(return, "not on this hardware: more addresses are canonical");
	seed = 1;
	digest = 0xcbf29ce484222325;
	self->run->immediate_exit = 1;
	for (n = 0; n < runs[is_long_run()].count; n++) {
		set_mode(&s, n % NR_MODES);
		for (i = below(3); i; i--)
			change_state(&s);
		spare_features(&s);
		spare_format(&s);
		change_apic(&s.apic, &self->fresh.apic);
		change_rest(&s, images[0]);
		s.mask = PARTS;
		s.xsave = (unsigned long)images[0];
		s.xsave_size = self->fresh.xsave_size;
		err = mote_set_state(self->vcpu, &s);
		if (!err)
			err = mote_run(self->vcpu);
		add(&err, sizeof(err));
		if (!err) {
			ASSERT_EQ(MOTE_EXIT_FAIL_ENTRY, self->run->reason);
			add(&self->run->fail, sizeof(self->run->fail));
		}
		if (err != -EINTR)
			continue;
		taken++;
		read_back(self->vcpu, &now, images[0]);
		add_state(&now, images[0]);
		now.xsave = (unsigned long)images[0];
		ASSERT_EQ(0, mote_set_state(self->vcpu, &now));
		now.xsave = 0;
		read_back(self->vcpu, &again, images[1]);
		ASSERT_EQ(0, memcmp(&now, &again, sizeof(now))) TH_LOG("state %lu", n);
		ASSERT_EQ(0, memcmp(images[0], images[1], now.xsave_size)) TH_LOG("state %lu", n);
	}
	TH_LOG("%lu states, %lu taken, digest %#llx", n, taken, digest);
	EXPECT_LT(n / 4, taken);
	EXPECT_EQ(runs[is_long_run()].digest, digest);
}

MOTE_TEST_MAIN
