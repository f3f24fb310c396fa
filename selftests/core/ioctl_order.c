// SPDX-License-Identifier: GPL-2.0
/* The set-up calls of one VM in every order: each succeeds, or fails as docs/abi.md says. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "guest.h"
#include "selftest.h"

#define LEAF 0x40000000

asm(".set LEAF, 0x40000000");
GUEST(ask, 64, "mov $LEAF, %eax; cpuid; out %al, $0x80; hlt");

enum call { SLOT, FILTER, VCPU, CPUID, STATE, RUN, NR_CALLS };

/**
 * struct setup - a VM on its way
 * @guest: what there is of it; memory and /dev/mote from the start
 * @done: which calls have succeeded, bits as in &enum call
 */
struct setup {
	struct guest guest;
	unsigned int done;
};

static bool has(const struct setup *setup, enum call call)
{
	return setup->done & 1u << call;
}

static int set_filter(int vm)
{
	struct mote_filter_rule rule = {
		LEAF, LEAF, MOTE_FILTER_FORWARD, MOTE_FILTER_READ | MOTE_FILTER_WRITE,
	};
	struct mote_filter filter = {
		.kind = MOTE_FILTER_CPUID, .nr = 1, .rules = (unsigned long)&rule,
	};

	return mote_set_filter(vm, &filter);
}

static int set_cpuid(int vcpu)
{
	struct mote_cpuid_entry row = { .leaf = LEAF, .ebx = 0x1234 };
	struct mote_cpuid_table table = { .nr = 1, .entries = (unsigned long)&row };

	return mote_set_cpuid(vcpu, &table);
}

/* Where there is no vCPU yet, @vcpu is another file. */
static int set_state(struct guest *guest, int vcpu)
{
	struct mote_state state = { .mask = MOTE_STATE_GPRS };

	if (vcpu != guest->cpu.fd)
		return mote_set_state(vcpu, &state);
	guest_start(guest, GUEST_LONG, &guest_ask);
	return 0;
}

static int call(struct setup *setup, enum call which, int vcpu)
{
	struct guest *guest = &setup->guest;
	struct mote_slot slot = { .size = GUEST_SIZE, .hva = (unsigned long)guest->ram };

	switch (which) {
	case SLOT:
		return mote_set_slot(guest->machine.fd, &slot);
	case FILTER:
		return set_filter(guest->machine.fd);
	case VCPU:
		return mote_cpu_create(&guest->cpu, &guest->machine, 0);
	case CPUID:
		return set_cpuid(vcpu);
	case STATE:
		return set_state(guest, vcpu);
	default:
		return vcpu == guest->cpu.fd ? guest_run(guest) : mote_run(vcpu);
	}
}

/* The exit that a run ends with. */
static int expected_exit(const struct setup *setup)
{
	/* Neither at the reset vector nor without a slot is there any memory. */
	if (!has(setup, STATE) || !has(setup, SLOT))
		return MOTE_EXIT_MMIO;
	return has(setup, FILTER) ? MOTE_EXIT_CPUID : MOTE_EXIT_PIO;
}

static int expected(const struct setup *setup, enum call which)
{
	if (which == FILTER)
		return has(setup, VCPU) ? -EBUSY : 0;
	return which == RUN ? expected_exit(setup) : 0;
}

/* One call; those on a vCPU that is not there meet the VM's file, and none. */
static void step(struct __test_metadata *_metadata, struct setup *setup, enum call which)
{
	struct guest *guest = &setup->guest;
	int ret, want;

	if (which >= CPUID && !has(setup, VCPU)) {
		EXPECT_EQ(-EBADF, call(setup, which, -1));
		EXPECT_EQ(-ENOTTY, call(setup, which, guest->machine.fd));
		return;
	}
	want = expected(setup, which);
	if (which == VCPU) {
		ret = call(setup, which, -1);
		guest->run = guest->cpu.run;
	} else {
		ret = call(setup, which, guest->cpu.fd);
	}
	EXPECT_EQ(want, ret) TH_LOG("call %d after %#x", which, setup->done);
	if (ret >= 0)
		setup->done |= 1u << which;
}

/* What did not succeed in its turn does now, and the guest runs. */
static void complete(struct __test_metadata *_metadata, struct setup *setup)
{
	struct guest *guest = &setup->guest;

	if (!has(setup, CPUID))
		step(_metadata, setup, CPUID);
	step(_metadata, setup, STATE);
	step(_metadata, setup, RUN);
	if (has(setup, FILTER)) {
		EXPECT_EQ(LEAF, guest->run->gpr[MOTE_RAX]);
	} else {
		EXPECT_EQ(0x80, guest->run->pio.port);
		EXPECT_EQ(0x1234, guest->run->gpr[MOTE_RBX]);
	}
}

static void permutation(struct __test_metadata *_metadata, struct setup *setup, int number)
{
	enum call left[NR_CALLS];
	struct mote_vm_config config = { MOTE_VM_HLT_EXIT };
	struct guest *guest = &setup->guest;

	for (int i = 0; i < NR_CALLS; i++)
		left[i] = i;
	setup->done = 0;
	guest->cpu.fd = -2;
	guest->machine.fd = mote_create_vm(guest->fd, &config);
	ASSERT_LE(0, guest->machine.fd);
	for (int n = NR_CALLS; n; n--) {
		int pick = number % n;

		number /= n;
		step(_metadata, setup, left[pick]);
		left[pick] = left[n - 1];
	}
	complete(_metadata, setup);
	mote_cpu_destroy(&guest->cpu);
	close(guest->machine.fd);
}

/* For the time-out, which only tests with a fixture can have. */
FIXTURE(ioctl_order) {};
FIXTURE_SETUP(ioctl_order) {}
FIXTURE_TEARDOWN(ioctl_order) {}

TEST_F(ioctl_order, all_permutations)
{
	struct setup setup = { 0 };
	struct mote_info info;
	struct guest other;
	/* Where loops are to be short every seventh: 7 has no part in 6!, so all calls come in all places. */
	int number, step = guest_scale(2) == 1 ? 7 : 1, factorial = 1;

	for (int n = 2; n <= NR_CALLS; n++)
		factorial *= n;
	/* Another VM keeps the CPUs in virtualization operation: that is what takes long. */
	guest_create(&other);
	setup.guest.fd = mote_open();
	setup.guest.ram = mmap(NULL, GUEST_SIZE, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, (void *)setup.guest.ram);
	for (number = 0; number < factorial; number += step) {
		permutation(_metadata, &setup, number);
		ASSERT_TRUE(_metadata->passed) TH_LOG("permutation %d", number);
	}
	guest_destroy(&other);
	ASSERT_EQ(0, mote_get_info(setup.guest.fd, &info));
	EXPECT_EQ(0, info.nr_vms);
}

MOTE_TEST_MAIN
