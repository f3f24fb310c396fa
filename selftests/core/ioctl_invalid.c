// SPDX-License-Identifier: GPL-2.0
/* What each call refuses: docs/abi.md line by line; then every integer at 16 edges. */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "guest.h"
#include "selftest.h"

GUEST(out, 64, "out %al, $0x80; hlt");

#define GOOD_HVA 0x70000000ul

FIXTURE(call)
{
	struct guest guest;
	struct mote_info info;
};

FIXTURE_SETUP(call)
{
	void *fixed = mmap((void *)GOOD_HVA, 1 << 20, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	ASSERT_EQ((void *)GOOD_HVA, fixed);
	guest_create(&self->guest);
	ASSERT_EQ(0, mote_get_info(self->guest.fd, &self->info));
}

FIXTURE_TEARDOWN(call)
{
	guest_destroy(&self->guest);
}

/* The call with @change made to a good argument. */
#define REFUSED(err, call, fd, type, good, change)			\
	do {								\
		type arg = good;					\
		change;							\
		EXPECT_EQ(err, call(fd, &arg)) TH_LOG("%s", #change);	\
	} while (0)

TEST_F(call, create_vm)
{
	bool has_scaling = self->info.features & 1ull << MOTE_FEATURE_TSC_SCALING;
	struct mote_vm_config good = { 0 };

#define VM(err, change) \
	REFUSED(err, mote_create_vm, self->guest.fd, struct mote_vm_config, good, change)
	VM(-EINVAL, arg.flags = 8);
	VM(-EINVAL, arg.flags = 1u << 31);
	/* Without TSC scaling there is but one. */
	VM(has_scaling ? -EINVAL : -EOPNOTSUPP, arg.tsc_khz = 1);
	VM(has_scaling ? -EINVAL : -EOPNOTSUPP, arg.tsc_khz = ~0u);
	for (int i = 0; i < 7; i++)
		VM(-EINVAL, arg.reserved[i] = 1);
	EXPECT_EQ(-EFAULT, mote_create_vm(self->guest.fd, NULL));
	EXPECT_EQ(-ENOTTY, mote_create_vm(self->guest.machine.fd, &good));
	EXPECT_EQ(-ENOTTY, mote_create_vm(self->guest.cpu.fd, &good));
}

TEST_F(call, set_slot)
{
	int fd = self->guest.machine.fd;
	struct mote_slot good = { .slot = 7, .gpa = 0x10000000, .size = 0x10000, .hva = GOOD_HVA };
	struct mote_slot none = { .slot = 7 };

#define SLOT(err, change) REFUSED(err, mote_set_slot, fd, struct mote_slot, good, change)
	SLOT(-EINVAL, arg.slot = self->info.max_slots);
	SLOT(-EINVAL, arg.slot = ~0u);
	SLOT(-EINVAL, arg.flags = 4);
	SLOT(-EINVAL, arg.gpa += 0x800);
	SLOT(-EINVAL, arg.size += 1);
	SLOT(-EINVAL, arg.hva += 0x10);
	SLOT(-EINVAL, arg.gpa = 1ull << self->info.gpa_bits);
	SLOT(-EINVAL, arg.gpa = (1ull << self->info.gpa_bits) - 0x1000);
	SLOT(-EINVAL, arg.gpa = 0xfffffffffffff000);
	SLOT(-EINVAL, arg.size = 0xfffffffffffff000);
	SLOT(-EINVAL, arg.hva = 0xfffffffffffff000);
	SLOT(-EINVAL, arg.hva = 0xffffffff81000000);
	SLOT(-EINVAL, arg.hva = 0x7ffffffff000);
	SLOT(-EINVAL, arg.hva = 0x0000800000000000);
	SLOT(-EINVAL, arg.size = 0);
	SLOT(-EEXIST, arg.gpa = 0);
	SLOT(-EEXIST, arg.gpa = GUEST_SIZE - 0x1000);
	EXPECT_EQ(-ENOENT, mote_set_slot(fd, &none));
	EXPECT_EQ(-EFAULT, mote_set_slot(fd, NULL));
	EXPECT_EQ(-ENOTTY, mote_set_slot(self->guest.fd, &good));
	EXPECT_EQ(0, mote_set_slot(fd, &good));
	EXPECT_EQ(0, mote_set_slot(fd, &none));
	EXPECT_EQ(-ENOENT, mote_set_slot(fd, &none));
}

TEST_F(call, get_dirty)
{
	int fd = self->guest.machine.fd;
	__u64 words[4];
	struct mote_slot slot = { .slot = 7, .flags = MOTE_SLOT_LOG_DIRTY, .gpa = 0x10000000,
				  .size = 0x80000, .hva = GOOD_HVA };
	struct mote_dirty good = { .slot = 7, .nr = 128, .bitmap = (unsigned long)words };

#define DIRTY(err, change) REFUSED(err, mote_get_dirty, fd, struct mote_dirty, good, change)
	DIRTY(-ENOENT, (void)0);
	ASSERT_EQ(0, mote_set_slot(fd, &slot));
	DIRTY(0, (void)0);
	DIRTY(0, arg.first = 64; arg.nr = 64);
	DIRTY(-ENOENT, arg.slot = 8);
	DIRTY(-ENOENT, arg.slot = 1000000);
	DIRTY(-EINVAL, arg.slot = 0);
	DIRTY(-EINVAL, arg.pad = 1);
	DIRTY(-EINVAL, arg.first = 1);
	DIRTY(-EINVAL, arg.first = 64);
	DIRTY(-EINVAL, arg.first = 1ull << 63);
	DIRTY(-EINVAL, arg.nr = 129);
	DIRTY(-EINVAL, arg.nr = 0);
	DIRTY(-EINVAL, arg.nr = ~0ull);
	DIRTY(-EFAULT, arg.bitmap = 8);
	DIRTY(-EFAULT, arg.bitmap = 0xffffffff81000000);
}

TEST_F(call, set_filter)
{
	int vm, busy = self->guest.machine.fd;
	struct mote_filter_rule rules[3] = { { 1, 2, 1, 3 }, { 5, 9, 2, 3 } };
	struct mote_filter good = { .kind = MOTE_FILTER_MSR, .nr = 2, .rules = (unsigned long)rules };

	vm = mote_create_vm(self->guest.fd, &(struct mote_vm_config) { 0 });
	ASSERT_LE(0, vm);
#define FILTER(err, change) REFUSED(err, mote_set_filter, vm, struct mote_filter, good, change)
	FILTER(0, (void)0);
	FILTER(0, arg.nr = 0);
	FILTER(-EINVAL, arg.kind = MOTE_NR_FILTERS);
	FILTER(-EINVAL, arg.kind = ~0u);
	FILTER(-E2BIG, arg.nr = MOTE_MAX_RULES + 1);
	FILTER(-E2BIG, arg.nr = ~0u);
	FILTER(-EFAULT, arg.rules = 8);
/* With a rule that is not as it should be. */
#define RULE(change)							\
	do {								\
		struct mote_filter_rule old = rules[1];			\
		struct mote_filter arg = good;				\
		change;							\
		EXPECT_EQ(-EINVAL, mote_set_filter(vm, &arg)) TH_LOG("%s", #change);	\
		rules[1] = old;						\
	} while (0)
	RULE(rules[1].first = 2);
	RULE(rules[1].first = 10);
	RULE(rules[1].action = 3);
	RULE(rules[1].access = 0);
	RULE(rules[1].access = 4);
	RULE(arg.kind = MOTE_FILTER_PORT; rules[1].last = 0x10000);
	RULE(arg.kind = MOTE_FILTER_CPUID; rules[1].access = 1);
	EXPECT_EQ(-EBUSY, mote_set_filter(busy, &good));
	close(vm);
}

TEST_F(call, create_vcpu)
{
	int fd = self->guest.machine.fd;
	struct mote_vcpu_config good = { .id = 5 };

#define VCPU(err, change) REFUSED(err, mote_create_vcpu, fd, struct mote_vcpu_config, good, change)
	VCPU(-EINVAL, arg.id = self->info.max_vcpus);
	VCPU(-EINVAL, arg.id = ~0u);
	VCPU(-EINVAL, arg.flags = 1);
	VCPU(-EINVAL, arg.reserved[0] = 1);
	VCPU(-EINVAL, arg.reserved[2] = 1ull << 63);
	VCPU(-EEXIST, arg.id = 0);
}

TEST_F(call, cpuid)
{
	struct mote_cpuid_entry rows[3] = {
		{ .leaf = 1 }, { .leaf = 4, .flags = 1 }, { .leaf = 4, .flags = 1, .subleaf = 1 },
	};
	struct mote_cpuid_table good = { .nr = 3, .entries = (unsigned long)rows };
	int fd = self->guest.cpu.fd;

#define CPUID(err, change) REFUSED(err, mote_set_cpuid, fd, struct mote_cpuid_table, good, change)
	CPUID(0, (void)0);
	CPUID(0, arg.nr = 0);
	CPUID(-E2BIG, arg.nr = MOTE_MAX_CPUID + 1);
	CPUID(-E2BIG, arg.nr = ~0u);
	CPUID(-EINVAL, arg.pad = 1);
	CPUID(-EFAULT, arg.entries = 8);
#define ROW(change)							\
	do {								\
		struct mote_cpuid_entry old = rows[2];			\
		change;							\
		EXPECT_EQ(-EINVAL, mote_set_cpuid(fd, &good)) TH_LOG("%s", #change);	\
		rows[2] = old;						\
	} while (0)
	ROW(rows[2].subleaf = 0);
	ROW(rows[2].flags = 0);
	ROW(rows[2].flags = 2);
	ROW(rows[2].pad = 1);
	REFUSED(-EINVAL, mote_get_cpuid, self->guest.fd, struct mote_cpuid_table, good, arg.pad = 1);
}

TEST_F(call, inject)
{
	int fd = self->guest.cpu.fd;
	struct mote_event good = { .valid = 1, .type = MOTE_EVENT_EXCEPTION, .vector = 13,
				   .has_error = 1, .error = 4 };

#define EVENT(err, change) REFUSED(err, mote_inject, fd, struct mote_event, good, change)
	EVENT(-EINVAL, arg.valid = 0);
	EVENT(-EINVAL, arg.valid = 2);
	EVENT(-EINVAL, arg.type = 1);
	EVENT(-EINVAL, arg.type = 4);
	EVENT(-EINVAL, arg.type = 255);
	EVENT(-EINVAL, arg.vector = 32);
	EVENT(-EINVAL, arg.vector = 2);
	EVENT(-EINVAL, arg.vector = 6);	/* #UD has no error code */
	EVENT(-EINVAL, arg.has_error = 2);
	EVENT(-EINVAL, arg.type = MOTE_EVENT_INTERRUPT);
	EVENT(-EINVAL, arg.type = MOTE_EVENT_NMI; arg.has_error = 0; arg.error = 0);
	guest_start(&self->guest, GUEST_LONG, &guest_out);
	EVENT(-EAGAIN, arg = ((struct mote_event) { .valid = 1, .vector = 0x40 }));
	EVENT(0, (void)0);
	EVENT(-EBUSY, (void)0);
}

TEST_F(call, debug)
{
	int fd = self->guest.cpu.fd;
	struct mote_debug good = { .exceptions = ~MOTE_DEBUG_NEVER,
				   .flags = MOTE_DEBUG_DRS | MOTE_DEBUG_HOLD | MOTE_DEBUG_UNWATCHED };

#define DEBUG(err, change) REFUSED(err, mote_set_debug, fd, struct mote_debug, good, change)
	DEBUG(0, (void)0);
	DEBUG(-EINVAL, arg.exceptions |= 1u << 2);
	DEBUG(-EINVAL, arg.exceptions |= 1u << 8);
	DEBUG(-EINVAL, arg.exceptions |= 1u << 18);
	DEBUG(-EINVAL, arg.flags |= 8);
	DEBUG(-EINVAL, arg.flags |= 1u << 31);
	EXPECT_EQ(-EFAULT, mote_set_debug(fd, NULL));
	EXPECT_EQ(-ENOTTY, mote_set_debug(self->guest.machine.fd, &good));
}

/* The VM-exit reason, and EXITCODE; and what is the host's. */
TEST_F(call, field)
{
	const bool is_vmx = self->info.vendor == MOTE_VENDOR_VMX;
	struct mote_field good = { .number = is_vmx ? 0x4402 : 0x70 };
	/* Host CR0, RIP and ES; addresses of bitmaps and the virtual-APIC page; a field's high half. */
	static const __u32 vmx[] = { 0x6c00, 0x6c16, 0x0c00, 0x2000, 0x2004, 0x2012, 0x2801 };
	/* Addresses of the maps and of AVIC's page, the middle of a word, what is for nobody. */
	static const __u32 svm[] = { 0x40, 0x48, 0x98, 0x74, 0xe0, 0x3f8 };
	const __u32 *refused = is_vmx ? vmx : svm;
	int fd = self->guest.cpu.fd;

#define FIELD(err, change) REFUSED(err, mote_get_field, fd, struct mote_field, good, change)
	FIELD(0, (void)0);
	FIELD(-EINVAL, arg.pad = 1);
	FIELD(-EINVAL, arg.number = ~0u);
	FIELD(-EINVAL, arg.number |= 0x8000);
	for (size_t i = 0; i < (is_vmx ? sizeof(vmx) : sizeof(svm)) / sizeof(*vmx); i++)
		FIELD(-EINVAL, arg.number = refused[i]);
	/* A nested page table's address is not there, what it says of it is. */
	good.number = is_vmx ? 0x201a : 0xb0;
	ASSERT_EQ(0, mote_get_field(fd, &good));
	EXPECT_GT(0x1000, good.value);
	EXPECT_EQ(is_vmx ? 6 : 0, good.value & 7);
	EXPECT_EQ(-EFAULT, mote_get_field(fd, NULL));
	EXPECT_EQ(-ENOTTY, mote_get_field(self->guest.machine.fd, &good));
}

TEST_F(call, state)
{
	static unsigned char image[16384] __attribute__((aligned(64)));
	struct mote_state good = { .mask = 0x7f };
	int fd = self->guest.cpu.fd;

	guest_start(&self->guest, GUEST_LONG, &guest_out);
	ASSERT_EQ(0, mote_get_state(fd, &good));
#define GET(err, change) REFUSED(err, mote_get_state, fd, struct mote_state, good, change)
#define SET(err, change) REFUSED(err, mote_set_state, fd, struct mote_state, good, change)
	GET(-EINVAL, arg.mask = 0x100);
	GET(-EINVAL, arg.mask = ~MOTE_STATE_XSAVE);
	GET(-EINVAL, arg.reserved[7] = 1);
	GET(-ENOSPC, arg.mask = MOTE_STATE_XSAVE; arg.xsave = (unsigned long)image;
	    arg.xsave_size = 64);
	GET(-EFAULT, arg.mask = MOTE_STATE_XSAVE; arg.xsave = 8; arg.xsave_size = 16384);
	SET(0, (void)0);
	SET(-EINVAL, arg.mask = 0x100);
	SET(-EINVAL, arg.reserved[0] = 1);
	SET(-EINVAL, arg.segs.seg[MOTE_CS].attr |= 0x100);
	SET(-EINVAL, arg.segs.gdt.pad[0] = 1);
	SET(-EINVAL, arg.segs.idt.pad[2] = 1);
	SET(-EINVAL, arg.crs.cr8 = 16);
	SET(-EINVAL, arg.crs.xcr0 = 0);
	SET(-EINVAL, arg.crs.xcr0 = 5);
	SET(-EINVAL, arg.crs.xcr0 = ~0ull);
	SET(-EINVAL, arg.crs.flags = 2);
	SET(-EINVAL, arg.drs.dr6 = 1ull << 32);
	SET(-EINVAL, arg.drs.dr7 = 1ull << 32);
	SET(-EINVAL, arg.msrs.lstar = 1ull << 63);
	SET(-EINVAL, arg.msrs.kernel_gs_base = 1ull << 63);
	SET(-EINVAL, arg.msrs.sysenter_eip = 1ull << 63);
	SET(-EINVAL, arg.msrs.pat = 2);
	SET(-EINVAL, arg.msrs.efer |= 2);
	SET(-EINVAL, arg.msrs.reserved[0] = 1);
	SET(-EINVAL, arg.events.injected.valid = 2);
	SET(-EINVAL, arg.events.nmi_pending = 3);
	SET(-EINVAL, arg.events.nmi_blocked = 2);
	SET(-EINVAL, arg.events.shadow = 3);
	SET(-EINVAL, arg.events.halted = 2);
	SET(-EINVAL, arg.events.pad = 1);
	SET(-EINVAL, arg.mask = MOTE_STATE_XSAVE; arg.xsave = (unsigned long)image;
	    arg.xsave_size = 64);
	EXPECT_EQ(MOTE_EXIT_PIO, guest_run(&self->guest));
}

/* An XSAVE image is taken with the components that there are, and no other. */
TEST_F(call, xsave_image)
{
	static unsigned char image[16384] __attribute__((aligned(64)));
	struct mote_state state = { .mask = MOTE_STATE_XSAVE, .xsave_size = sizeof(image),
				    .xsave = (unsigned long)image };
	int fd = self->guest.cpu.fd;

	ASSERT_EQ(0, mote_get_state(fd, &state));
	EXPECT_EQ(0, mote_set_state(fd, &state));
	image[512 + 7] |= 0x80;
	EXPECT_EQ(-EINVAL, mote_set_state(fd, &state));
	image[512 + 7] = 0;
	EXPECT_EQ(0, mote_set_state(fd, &state));
	image[27] |= 0x80; /* a bit of MXCSR that no CPU has */
	mote_set_state(fd, &state);
	guest_start(&self->guest, GUEST_LONG, &guest_out);
	EXPECT_EQ(MOTE_EXIT_PIO, guest_run(&self->guest));
}

TEST_F(call, run)
{
	struct mote_run *run = self->guest.run;
	int fd = self->guest.cpu.fd;

	guest_start(&self->guest, GUEST_LONG, &guest_out);
	for (int bit = 18; bit < 31; bit++) {
		run->set = 1u << bit;
		EXPECT_EQ(-EINVAL, mote_run(fd)) TH_LOG("bit %d", bit);
	}
	run->set = MOTE_SET_COMPLETE;
	EXPECT_EQ(-EINVAL, mote_run(fd));
	run->set = 0;
	EXPECT_EQ(MOTE_EXIT_PIO, guest_run(&self->guest));
	EXPECT_EQ(-ENOTTY, mote_run(self->guest.machine.fd));
	EXPECT_EQ(-ENOTTY, mote_run(self->guest.fd));
}

/* ---- every integer of every struct --------------------------------------------------- */

static const __u64 edges[16] = {
	0, 1, 2, 0x7f, 0xff, 0xfff, 0x1000, 0x7fffffff, 0x80000000, 0xffffffff, 0x100000000,
	0x7fffffffffff, 0x800000000000, 0x7fffffffffffffff, 0x8000000000000000, ~0ull,
};

/* Each place of 4 and of 8 bytes of @good becomes each edge; what comes of it is called. */
static void at_edges(const void *good, size_t size, void (*call)(struct guest *, void *),
		     struct guest *guest)
{
	for (size_t at = 0; at + 4 <= size; at += 4)
		for (int i = 0; i < 16; i++) {
			__u64 arg[128] = { 0 };

			memcpy(arg, good, size);
			memcpy((char *)arg + at, &edges[i], at % 8 || at + 8 > size || i & 1 ? 4 : 8);
			call(guest, arg);
		}
}

static void close_if(int fd)
{
	if (fd >= 0)
		close(fd);
}

static void edge_vm(struct guest *guest, void *arg) { close_if(mote_create_vm(guest->fd, arg)); }
static void edge_vcpu(struct guest *guest, void *arg)
{
	close_if(mote_create_vcpu(guest->machine.fd, arg));
}
static void edge_slot(struct guest *guest, void *arg)
{
	struct mote_slot none = { .slot = ((struct mote_slot *)arg)->slot };

	if (!mote_set_slot(guest->machine.fd, arg) && none.slot)
		mote_set_slot(guest->machine.fd, &none);
}
static void edge_dirty(struct guest *guest, void *arg) { mote_get_dirty(guest->machine.fd, arg); }
static void edge_filter(struct guest *guest, void *arg)
{
	mote_set_filter(guest->machine.fd, arg);
}
static void edge_cpuid(struct guest *guest, void *arg) { mote_set_cpuid(guest->cpu.fd, arg); }
static void edge_inject(struct guest *guest, void *arg) { mote_inject(guest->cpu.fd, arg); }
static void edge_debug(struct guest *guest, void *arg) { mote_set_debug(guest->cpu.fd, arg); }
static void edge_field(struct guest *guest, void *arg) { mote_get_field(guest->cpu.fd, arg); }
static void edge_get(struct guest *guest, void *arg) { mote_get_state(guest->cpu.fd, arg); }
static void edge_set(struct guest *guest, void *arg)
{
	struct mote_state *state = arg, reset = { .mask = 0x7f };

	mote_get_state(guest->cpu.fd, &reset);
	/* Bochs's AMD processor panics at some of what then runs: virtual-8086 mode, triple faults. */
	if (!mote_set_state(guest->cpu.fd, state) && !host_is_trinity())
		mote_run(guest->cpu.fd);
	guest->run->set = 0;
	mote_set_state(guest->cpu.fd, &reset);
}

/* Whatever it does, it harms nobody, and the guest that was there runs on. */
TEST_F(call, edges)
{
	static __u64 room[1024];
	struct mote_slot slot = { .slot = 7, .gpa = 0x10000000, .size = 0x10000, .hva = GOOD_HVA };
	struct mote_dirty dirty = { .slot = 7, .nr = 16, .bitmap = (unsigned long)room };
	struct mote_filter filter = { .nr = 1, .rules = (unsigned long)room };
	struct mote_cpuid_table table = { .nr = 1, .entries = (unsigned long)room };
	struct mote_event event = { .valid = 1, .type = 3, .vector = 6 };
	struct mote_vm_config vm = { 0 };
	struct mote_vcpu_config vcpu = { .id = 60 };
	struct mote_state state = { .mask = 0x7f };
	struct mote_debug debug = { 0 };
	struct mote_field field = { .number = 0x70 };
	struct guest *guest = &self->guest;

	guest_start(guest, GUEST_LONG, &guest_out);
	at_edges(&vm, sizeof(vm), edge_vm, guest);
	at_edges(&slot, sizeof(slot), edge_slot, guest);
	guest_add_memory(guest, 0, 0, GUEST_SIZE, guest->ram, 0);
	at_edges(&dirty, sizeof(dirty), edge_dirty, guest);
	at_edges(&filter, sizeof(filter), edge_filter, guest);
	at_edges(&table, sizeof(table), edge_cpuid, guest);
	at_edges(&event, sizeof(event), edge_inject, guest);
	at_edges(&vcpu, sizeof(vcpu), edge_vcpu, guest);
	at_edges(&state, sizeof(state), edge_get, guest);
	guest_start(guest, GUEST_LONG, &guest_out);
	guest_get(guest, &state, 0x7f);
	/* Not a guest that spins: one that ends at once, wherever it is. */
	memset(guest->ram + GUEST_CODE, 0xf4, 0x1000);
	at_edges(&state, sizeof(state), edge_set, guest);
	at_edges(&debug, sizeof(debug), edge_debug, guest);
	at_edges(&field, sizeof(field), edge_field, guest);
	mote_set_debug(guest->cpu.fd, &(struct mote_debug) { 0 });
	guest_start(guest, GUEST_LONG, &guest_out);
	EXPECT_EQ(MOTE_EXIT_PIO, guest_run(guest));
}

MOTE_TEST_MAIN
