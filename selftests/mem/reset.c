// SPDX-License-Identifier: GPL-2.0
/* A machine that goes back to where it was, by libmote's reset.h: all of it, whatever it has done. */
#include "kselftest_harness.h"
#include "mem.h"
#include "reset.h"
#include "selftest.h"

#define SEED GUEST_FREE

/*
 * From a seed in memory: a thousand words at random places of the memory, and registers of many
 * kinds. What it has done it says by port 0x80, and it goes on.
 */
GUEST(chaos, 64,
      "1: mov GUEST_FREE, %rax\n"
      "mov $1000, %ecx\n"
      "2: mov %rax, %rdx; shl $13, %rdx; xor %rdx, %rax\n"
      "mov %rax, %rdx; shr $7, %rdx; xor %rdx, %rax\n"
      "mov %rax, %rdx; shl $17, %rdx; xor %rdx, %rax\n"
      "mov %eax, %ebx; and $0x1ffff8, %ebx\n"
      "add %rax, 0x100000(%rbx)\n"
      "movq %rax, %xmm0; paddq %xmm0, %xmm1; pshufd $0x1b, %xmm1, %xmm2\n"
      "lea (%rdi, %rax), %rdi; xor %rdi, %rsi; rol %cl, %rsi; mov %rsi, %r8; not %r8; imul %rax, %r9\n"
      "dec %ecx; jnz 2b\n"
      "mov %rax, %cr2; mov %rax, %dr0; fld1; fldpi; fmulp\n"
      "out %al, $0x80\n"
      "jmp 1b\n");

FIXTURE(reset)
{
	struct guest guest;
	struct mote_cpu *cpus[1];
};

FIXTURE_SETUP(reset)
{
	guest_create(&self->guest);
	self->cpus[0] = &self->guest.cpu;
}

FIXTURE_TEARDOWN(reset)
{
	mote_machine_forget(&self->guest.machine);
	guest_destroy(&self->guest);
}

#define KEEP() mote_machine_keep(&self->guest.machine, self->cpus, 1)
#define RESET() mote_machine_reset(&self->guest.machine)

static unsigned char image[2][65536] __attribute__((aligned(64)));

/* All that there is of registers. */
static void registers(struct guest *guest, struct mote_state *state, unsigned char *xsave)
{
	memset(state, 0, sizeof(*state));
	memset(xsave, 0, sizeof(image[0]));
	*state = (struct mote_state) {
		.mask = MOTE_STATE_ALL, .xsave_size = sizeof(image[0]), .xsave = (unsigned long)xsave,
	};
	mote_get_state(guest->cpu.fd, state);
	state->xsave = 0;
	state->tsc.value = 0;
}

TEST_F(reset, only_what_was_written)
{
	struct guest *guest = &self->guest;
	__u64 value = 7;
	long nr;

	guest_start(guest, GUEST_LONG, &guest_server);
	ASSERT_EQ(MOTE_EXIT_PIO, server_run(guest));
	/* What the last exit wants is done before: it is completed, and no more. */
	guest->run->set = MOTE_SET_COMPLETE;
	guest->run->immediate_exit = 1;
	ASSERT_EQ(-EINTR, mote_run(guest->cpu.fd));
	guest->run->immediate_exit = 0;
	memset(guest->ram + 0x100000, 1, 0x200000);
	ASSERT_EQ(0, KEEP());
	EXPECT_EQ(0, RESET());
	for (unsigned int i = 0; i < 3; i++) {
		ASSERT_EQ(MOTE_EXIT_PIO, server_run(guest));
		ASSERT_EQ(0, guest_poke(guest, 0x100000, 2));
		ASSERT_EQ(0, guest_poke(guest, 0x100008, 2));
		ASSERT_EQ(0, guest_poke(guest, 0x2ff000, 2));
		guest_peek(guest, 0x180000);
		/* And this process, on both sides of a boundary. */
		ASSERT_EQ(0, mote_machine_write(&guest->machine, 0x1ffffc, &value, sizeof(value)));
		/* With AMD's nested paging a walk writes to page tables (APM 2, "Nested Table Walk"). */
		nr = RESET();
		EXPECT_TRUE(nr >= 4 && nr <= 4 + 6) TH_LOG("%ld pages", nr);
		for (unsigned int at = 0x100000; at < 0x300000; at++)
			if (guest->ram[at] != 1)
				value = 0;
		EXPECT_EQ(7, value);
		EXPECT_EQ(0, RESET());
	}
	mote_machine_forget(&guest->machine);
	EXPECT_EQ(-ENOENT, RESET());
	EXPECT_EQ(NULL, guest->machine.written);
}

/* 100,000 times in make check-long: memory and registers are what they were, and so is what comes of them. */
TEST_F(reset, as_it_was)
{
	struct mote_state kept, ended, now;
	struct guest *guest = &self->guest;
	unsigned char *memory = memory_get(GUEST_SIZE), *after = memory_get(GUEST_SIZE);
	long rounds = guest_rounds(400, 100000);
	static unsigned char end[65536] __attribute__((aligned(64)));
	__u64 seed = 0x123456789abcdef, other;

	ASSERT_TRUE(memory && after);
	guest_start(guest, GUEST_LONG, &guest_chaos);
	ASSERT_EQ(0, mote_machine_write(&guest->machine, SEED, &seed, sizeof(seed)));
	ASSERT_EQ(0, KEEP());
	registers(guest, &kept, image[0]);
	memcpy(memory, guest->ram, GUEST_SIZE);
	ASSERT_EQ(MOTE_EXIT_PIO, server_run(guest));
	registers(guest, &ended, end);
	memcpy(after, guest->ram, GUEST_SIZE);
	EXPECT_NE(0, memcmp(&ended.gprs, &kept.gprs, sizeof(kept.gprs)));
	EXPECT_NE(0, memcmp(end, image[0], sizeof(end)));
	for (long i = 0; i < rounds; i++) {
		ASSERT_LT(300, RESET());
		registers(guest, &now, image[1]);
		ASSERT_EQ(0, memcmp(memory, guest->ram, GUEST_SIZE));
		ASSERT_EQ(0, memcmp(&kept, &now, sizeof(now)));
		ASSERT_EQ(0, memcmp(image[0], image[1], sizeof(image[0])));
		/* Every second time it does something else; and else the same as ever. */
		other = seed + i;
		if (i % 2)
			ASSERT_EQ(0, mote_machine_write(&guest->machine, SEED, &other, sizeof(other)));
		ASSERT_EQ(MOTE_EXIT_PIO, server_run(guest));
		registers(guest, &now, image[1]);
		ASSERT_EQ(i % 2, !!memcmp(after, guest->ram, GUEST_SIZE));
		ASSERT_EQ(i % 2, !!memcmp(&ended, &now, sizeof(now)));
	}
	munmap(memory, GUEST_SIZE);
	munmap(after, GUEST_SIZE);
}

/* Slots are as they were, those that were logged before, too; and what is wrong is refused. */
TEST_F(reset, refused)
{
	struct mote_dirty dirty = { .slot = 1, .nr = 64, .bitmap = (unsigned long)image };
	struct guest *guest = &self->guest;
	unsigned char *memory = memory_get(2 * MIB);

	EXPECT_EQ(-ENOENT, RESET());
	guest_start(guest, GUEST_LONG, &guest_server);
	ASSERT_EQ(0, slot_set(guest, 1, MOTE_SLOT_LOG_DIRTY, REGION, 2 * MIB, memory));
	ASSERT_EQ(0, slot_set(guest, 2, MOTE_SLOT_READONLY, REGION + 2 * MIB, 4096, memory));
	ASSERT_EQ(MOTE_EXIT_PIO, server_run(guest));
	ASSERT_EQ(0, guest_poke(guest, REGION, 5));
	ASSERT_EQ(0, KEEP());
	EXPECT_EQ(-EEXIST, KEEP());
	/* What it has in its log from before was not written since. */
	EXPECT_EQ(0, RESET());
	EXPECT_EQ(5, memory[0]);
	mote_machine_forget(&guest->machine);
	mote_machine_forget(&guest->machine);
	EXPECT_EQ(0, mote_get_dirty(guest->machine.fd, &dirty));
	dirty.slot = 2;
	EXPECT_EQ(-EINVAL, mote_get_dirty(guest->machine.fd, &dirty));
	dirty.slot = 0;
	EXPECT_EQ(-EINVAL, mote_get_dirty(guest->machine.fd, &dirty));
	munmap(memory, 2 * MIB);
}

/* What an exit would have become is nothing to a guest that has not made it. */
TEST_F(reset, exits_that_are_left)
{
	struct guest *guest = &self->guest;

	guest_start(guest, GUEST_LONG, &guest_server);
	ASSERT_EQ(0, KEEP());
	for (unsigned int i = 0; i < 2; i++) {
		ASSERT_EQ(MOTE_EXIT_PIO, server_run(guest));
		EXPECT_EQ(GUEST_CODE, guest->run->rip);
		guest->run->gpr[MOTE_RBX] = 0xdead;
		guest->run->rip = 0xdead;
		guest->run->set = 1u << MOTE_RBX | MOTE_SET_RIP | MOTE_SET_COMPLETE;
		EXPECT_LE(0, RESET());
	}
	ASSERT_EQ(MOTE_EXIT_PIO, server_run(guest));
	EXPECT_EQ(0, guest->run->gpr[MOTE_RBX]);
}

MOTE_TEST_MAIN
