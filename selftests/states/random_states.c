// SPDX-License-Identifier: GPL-2.0
/*
 * Random states near the boundary of what a CPU can be in: what mote's checks
 * let pass, the hardware enters.  Ten seconds of them; a million with MOTE_LONG.
 *
 * The VM has no memory: whatever enters comes out again at its first access.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
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
	seed = end ? (__u64)end << 20 : 1;
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

MOTE_TEST_MAIN
