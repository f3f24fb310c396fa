// SPDX-License-Identifier: GPL-2.0
/* eventfds in and out of a VM: none that is written is lost, none is heard of after its end. */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "guest.h"
#include "selftest.h"
#include "x2apic.h"

FIXTURE(eventfd)
{
	struct guest guest;
	int vm;
	int fd;
};

FIXTURE_SETUP(eventfd)
{
	guest_create_vm(&self->guest, MOTE_VM_LAPIC);
	guest_create_cpu(&self->guest, 0);
	self->vm = self->guest.machine.fd;
	self->fd = eventfd(0, EFD_NONBLOCK);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(eventfd)
{
	close(self->fd);
	guest_destroy(&self->guest);
}

/* ---- in ------------------------------------------------------------------------ */

GUEST(sleeper, 64, X2APIC_ON "out %al, $0x80; 1: sti; hlt; cli\n" EOI "jmp 1b\n");

#define MESSAGES 300
static volatile int taken;

static void *write_often(void *fd)
{
	for (int i = 0; i < MESSAGES; i++) {
		while (taken < i)
			sched_yield();
		eventfd_write((long)fd, 1 + i % 3);
	}
	return NULL;
}

TEST_F(eventfd, interrupts)
{
	struct mote_irqfd irqfd = { .fd = self->fd, .msi = { 0xfee00000, 0x61 } };
	struct guest_frame frame;
	struct mote_state state;
	pthread_t thread;

	guest_start(&self->guest, GUEST_LONG, &guest_sleeper);
	ASSERT_EQ(MOTE_EXIT_PIO, guest_run(&self->guest));
	ASSERT_EQ(0, mote_irqfd(self->vm, &irqfd));
	EXPECT_EQ(-EEXIST, mote_irqfd(self->vm, &irqfd));
	taken = 0;
	ASSERT_EQ(0, pthread_create(&thread, NULL, write_often, (void *)(long)self->fd));
	for (int i = 0; i < MESSAGES; i++) {
		ASSERT_EQ(MOTE_EXIT_PIO, guest_run(&self->guest));
		ASSERT_TRUE(guest_frame(&self->guest, GUEST_LONG, &frame));
		ASSERT_EQ(0x61, frame.vector);
		taken = i + 1;
	}
	pthread_join(thread, NULL);
	/* The next would have been in IRR. */
	guest_get(&self->guest, &state, MOTE_STATE_APIC);
	EXPECT_EQ(0, state.apic.reg[0x23]);

	irqfd.flags = MOTE_EVENTFD_REMOVE;
	ASSERT_EQ(0, mote_irqfd(self->vm, &irqfd));
	EXPECT_EQ(-ENOENT, mote_irqfd(self->vm, &irqfd));
	eventfd_write(self->fd, 1);
	guest_get(&self->guest, &state, MOTE_STATE_APIC);
	EXPECT_EQ(0, state.apic.reg[0x23]);
	/* What was written before is sent when it is added. */
	irqfd.flags = 0;
	ASSERT_EQ(0, mote_irqfd(self->vm, &irqfd));
	guest_get(&self->guest, &state, MOTE_STATE_APIC);
	EXPECT_EQ(2, state.apic.reg[0x23]);
}

/* ---- out ----------------------------------------------------------------------- */

GUEST(writer, 64, "mov $100, %ebp; mov $0x1234, %edx\n"
      "1: mov %ebp, %eax; out %al, %dx; out %ax, %dx; out %eax, %dx; dec %ebp; jnz 1b\n"
      "out %al, $0x80\n");

static __u64 count_of(int fd)
{
	eventfd_t count = 0;

	return eventfd_read(fd, &count) ? 0 : count;
}

/* Run to the OUT at port 0x80; how many exits came before it. */
static int run_writer(struct guest *guest)
{
	int exits = 0;

	guest_start(guest, GUEST_LONG, &guest_writer);
	while (guest_run(guest) == MOTE_EXIT_PIO && guest->run->pio.port == 0x1234)
		exits++;
	return guest->run->pio.port == 0x80 ? exits : -1;
}

TEST_F(eventfd, ports)
{
	struct mote_ioeventfd any = { .fd = self->fd, .port = 0x1234 };
	struct mote_ioeventfd words = { .fd = self->fd, .port = 0x1234, .size = 2 };
	struct mote_ioeventfd seven = {
		.fd = self->fd, .flags = MOTE_IOEVENTFD_MATCH, .port = 0x1234, .size = 4, .value = 7,
	};

	EXPECT_EQ(300, run_writer(&self->guest));
	ASSERT_EQ(0, mote_ioeventfd(self->vm, &any));
	EXPECT_EQ(0, run_writer(&self->guest));
	EXPECT_EQ(300, count_of(self->fd));
	/* It would not be clear whose a write is. */
	EXPECT_EQ(-EEXIST, mote_ioeventfd(self->vm, &any));
	EXPECT_EQ(-EEXIST, mote_ioeventfd(self->vm, &words));
	EXPECT_EQ(-EEXIST, mote_ioeventfd(self->vm, &seven));
	any.flags = MOTE_EVENTFD_REMOVE;
	ASSERT_EQ(0, mote_ioeventfd(self->vm, &any));
	EXPECT_EQ(-ENOENT, mote_ioeventfd(self->vm, &any));
	EXPECT_EQ(300, run_writer(&self->guest));
	EXPECT_EQ(0, count_of(self->fd));

	ASSERT_EQ(0, mote_ioeventfd(self->vm, &words));
	ASSERT_EQ(0, mote_ioeventfd(self->vm, &seven));
	EXPECT_EQ(300 - 100 - 1, run_writer(&self->guest));
	EXPECT_EQ(101, count_of(self->fd));
	seven.value = 8;
	ASSERT_EQ(0, mote_ioeventfd(self->vm, &seven));
	EXPECT_EQ(300 - 100 - 2, run_writer(&self->guest));
	EXPECT_EQ(102, count_of(self->fd));
}

GUEST(sweeper, 64, "mov $0x4000, %edx; 1: xor %eax, %eax; out %eax, %dx; inc %eax; out %eax, %dx\n"
      "inc %edx; cmp $0x4200, %edx; jb 1b; out %al, $0x80\n");

/* As many as there may be, made in another order than they are kept in: each is found, and no other. */
TEST_F(eventfd, many_ports)
{
	struct mote_ioeventfd one = { .fd = self->fd, .flags = MOTE_IOEVENTFD_MATCH, .size = 4 };
	const __u32 most = 1024;

	for (__u32 i = 0; i < most; i++) {
		one.port = 0x4000 + (i * 389 % most) / 2;
		one.value = i * 389 % most % 2;
		ASSERT_EQ(0, mote_ioeventfd(self->vm, &one));
	}
	one.port = 0x3000;
	EXPECT_EQ(-ENOSPC, mote_ioeventfd(self->vm, &one));
	one.flags |= MOTE_EVENTFD_REMOVE;
	EXPECT_EQ(-ENOENT, mote_ioeventfd(self->vm, &one));
	one.port = 0x4000 + 3;
	one.value = 1;
	EXPECT_EQ(0, mote_ioeventfd(self->vm, &one));
	EXPECT_EQ(-ENOENT, mote_ioeventfd(self->vm, &one));
	/* All but the one that was removed are taken. */
	guest_start(&self->guest, GUEST_LONG, &guest_sweeper);
	EXPECT_EQ(MOTE_EXIT_PIO, guest_run(&self->guest));
	EXPECT_EQ(0x4003, self->guest.run->pio.port);
	EXPECT_EQ(MOTE_EXIT_PIO, guest_run(&self->guest));
	EXPECT_EQ(0x80, self->guest.run->pio.port);
	EXPECT_EQ(most - 1, count_of(self->fd));
}

static volatile bool over;

static void *add_and_remove(void *vm)
{
	struct mote_ioeventfd other = { .fd = eventfd(0, 0), .port = 0x2000 };

	for (unsigned int i = 0; !over; i++) {
		other.port = 0x2000 + i % 8;
		other.flags = 0;
		mote_ioeventfd((long)vm, &other);
		other.flags = MOTE_EVENTFD_REMOVE;
		mote_ioeventfd((long)vm, &other);
	}
	close(other.fd);
	return NULL;
}

/* Others come and go while the guest writes: what is there all the time loses nothing. */
TEST_F(eventfd, under_load)
{
	struct mote_ioeventfd any = { .fd = self->fd, .port = 0x1234 };
	pthread_t thread;

	ASSERT_EQ(0, mote_ioeventfd(self->vm, &any));
	over = false;
	ASSERT_EQ(0, pthread_create(&thread, NULL, add_and_remove, (void *)(long)self->vm));
	for (int i = 0; i < 20; i++)
		ASSERT_EQ(0, run_writer(&self->guest));
	over = true;
	pthread_join(thread, NULL);
	EXPECT_EQ(20 * 300, count_of(self->fd));
}

/* ---- refused --------------------------------------------------------------------- */

#define REFUSED(err, call, type, good, change)					\
	do {									\
		type arg = good;						\
		change;								\
		EXPECT_EQ(err, call(self->vm, &arg)) TH_LOG("%s", #change);	\
	} while (0)

TEST_F(eventfd, arguments)
{
	struct mote_irqfd in = { .fd = self->fd, .msi = { 0xfee00000, 0x61 } };
	struct mote_ioeventfd out = { .fd = self->fd, .port = 0x80 };

#define IN(err, change) REFUSED(err, mote_irqfd, struct mote_irqfd, in, change)
#define OUT(err, change) REFUSED(err, mote_ioeventfd, struct mote_ioeventfd, out, change)
	IN(-EBADF, arg.fd = -1);
	IN(-EINVAL, arg.fd = 1);
	IN(-EINVAL, arg.flags = 2);
	IN(-EINVAL, arg.msi.address = 0x1000);
	IN(-EINVAL, arg.msi.pad = 1);
	IN(-ENOENT, arg.flags = MOTE_EVENTFD_REMOVE);
	OUT(-EBADF, arg.fd = -1);
	OUT(-EINVAL, arg.fd = 1);
	OUT(-EINVAL, arg.flags = 4);
	OUT(-EINVAL, arg.port = 0x10000);
	OUT(-EINVAL, arg.size = 3);
	OUT(-EINVAL, arg.size = 8);
	OUT(-EINVAL, arg.value = 1);
	OUT(-EINVAL, arg.flags = MOTE_IOEVENTFD_MATCH);
	OUT(-EINVAL, (arg.flags = MOTE_IOEVENTFD_MATCH, arg.size = 1, arg.value = 256));
	OUT(-EINVAL, arg.pad = 1);
	OUT(-ENOENT, arg.flags = MOTE_EVENTFD_REMOVE);
}

MOTE_TEST_MAIN
