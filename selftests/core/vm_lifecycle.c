// SPDX-License-Identifier: GPL-2.0
/* Lives of VMs and vCPUs: many, shared, raced for, called in any order. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "guest.h"
#include "selftest.h"

GUEST(count, 64, "1: inc %rax; out %al, $0x80; jmp 1b");
GUEST(spin, 64, "sti; 1: inc %rax; jmp 1b");

/* 64 VMs at once, each with a number of its own, run in turns. */
TEST(many_vms)
{
	static struct guest guests[64];

	for (int i = 0; i < 64; i++) {
		guest_create(&guests[i]);
		guest_start(&guests[i], GUEST_LONG, &guest_count);
		guests[i].run->gpr[MOTE_RAX] = i << 8;
		guests[i].run->set = 1u << MOTE_RAX;
	}
	for (int round = 1; round < 5; round++)
		for (int i = 0; i < 64; i++) {
			ASSERT_EQ(MOTE_EXIT_PIO, guest_run(&guests[i]));
			ASSERT_EQ((i << 8) + round, guests[i].run->gpr[MOTE_RAX]);
		}
	for (int i = 0; i < 64; i++)
		guest_destroy(&guests[i]);
}

/* How many VMs a user without privilege can have, who has been given the device. */
static int vms_of_nobody(int fd, unsigned int max)
{
	struct mote_vm_config config = { 0 };
	unsigned int nr = 0;
	int err = 0;

	if (setuid(65534))
		return -1;
	while (nr <= max && (err = mote_create_vm(fd, &config)) >= 0)
		nr++;
	return err == -ENOSPC && nr == max / 8 ? 0 : -1;
}

/* One user does not take the VMs of all others. */
TEST(vms_of_one_user)
{
	struct mote_vm_config config = { 0 };
	int go[2], status, fd = open("/dev/mote", O_RDWR), vm;
	struct mote_info info;
	char answer = 1;
	pid_t pid;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, mote_get_info(fd, &info));
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, go));
	pid = fork();
	if (!pid) {
		answer = vms_of_nobody(fd, info.max_vms);
		if (write(go[1], &answer, 1) != 1 || read(go[1], &answer, 1) != 1)
			_exit(1);
		_exit(0);
	}
	ASSERT_EQ(1, read(go[0], &answer, 1));
	EXPECT_EQ(0, answer);
	vm = mote_create_vm(fd, &config);
	EXPECT_LE(0, vm);
	close(vm);
	ASSERT_EQ(1, write(go[0], "", 1));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	close(fd);
}

#define LOGS 40
#define LOG_SLOT (1ull << 38)	/* whose log is 8 MiB */

/* The dirty logs of a user's VMs have an end before the host's memory has. */
TEST(logs_of_one_user)
{
	unsigned long long most = 1ull * sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE) / 8;
	struct mote_vm_config config = { 0 };
	int fd = open("/dev/mote", O_RDWR), vms[LOGS], err = 0;
	unsigned int nr;

	ASSERT_LE(0, fd);
	if (most / (LOG_SLOT / 4096 / 8) >= LOGS)
		SKIP(return, "not on this hardware: it has more memory than is logged here");
	for (nr = 0; nr < LOGS; nr++) {
		struct mote_slot slot = { .size = LOG_SLOT, .flags = MOTE_SLOT_LOG_DIRTY };

		vms[nr] = mote_create_vm(fd, &config);
		ASSERT_LE(0, vms[nr]);
		err = mote_set_slot(vms[nr], &slot);
		if (err)
			break;
	}
	EXPECT_EQ(-ENOMEM, err);
	EXPECT_GE(most / (LOG_SLOT / 4096 / 8), nr);
	EXPECT_LE(1, nr);
	for (unsigned int i = 0; i <= nr && i < LOGS; i++)
		close(vms[i]);
	/* What is given back can be had again. */
	vms[0] = mote_create_vm(fd, &config);
	EXPECT_EQ(0, mote_set_slot(vms[0], &(struct mote_slot) {
		.size = LOG_SLOT, .flags = MOTE_SLOT_LOG_DIRTY }));
	close(vms[0]);
	close(fd);
}

/* As many vCPUs in a VM as may be, and none more. */
TEST(many_vcpus)
{
	static const struct rlimit files = { 2048, 4096 };
	static struct mote_cpu cpus[1024];
	struct mote_info info;
	struct guest guest;

	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &files));
	guest_create_vm(&guest, 0);
	ASSERT_EQ(0, mote_get_info(guest.fd, &info));
	ASSERT_GE(1024, info.max_vcpus);
	ASSERT_LE(255, info.max_vcpus);
	for (__u32 i = 0; i < info.max_vcpus; i++)
		ASSERT_EQ(0, mote_cpu_create(&cpus[i], &guest.machine, i));
	EXPECT_EQ(-EEXIST, mote_create_vcpu(guest.machine.fd,
					    &(struct mote_vcpu_config) { .id = 3 }));
	EXPECT_EQ(-EINVAL, mote_create_vcpu(guest.machine.fd,
					    &(struct mote_vcpu_config) { .id = info.max_vcpus }));
	for (__u32 i = 0; i < info.max_vcpus; i++)
		mote_cpu_destroy(&cpus[i]);
}

/* The vCPU outlives the closed VM and the closed /dev/mote; the slot's memory stays. */
TEST(closed_in_any_order)
{
	struct guest guest;

	guest_create(&guest);
	guest_start(&guest, GUEST_LONG, &guest_count);
	close(guest.machine.fd);
	close(guest.fd);
	for (int i = 0; i < 3; i++)
		ASSERT_EQ(MOTE_EXIT_PIO, guest_run(&guest));
	EXPECT_EQ(3, guest.run->gpr[MOTE_RAX]);
	/* The run page outlives the vCPU's file. */
	close(guest.cpu.fd);
	EXPECT_EQ(3, guest.run->gpr[MOTE_RAX]);
	munmap(guest.run, MOTE_RUN_SIZE);
}

/* Another process may not use them: neither a child nor one that the files are sent to. */
TEST(only_for_its_owner)
{
	struct mote_slot slot = { .slot = 3 };
	struct mote_state state = { .mask = MOTE_STATE_GPRS };
	struct mote_event event = { .valid = 1, .type = MOTE_EVENT_NMI, .vector = 2 };
	struct guest guest;
	int status;
	pid_t pid;

	guest_create(&guest);
	guest_start(&guest, GUEST_LONG, &guest_count);
	pid = fork();
	if (!pid) {
		int bad = 0;

		bad |= mote_run(guest.cpu.fd) != -EIO;
		bad |= (mote_get_state(guest.cpu.fd, &state) != -EIO) << 1;
		bad |= (mote_set_state(guest.cpu.fd, &state) != -EIO) << 2;
		bad |= (mote_inject(guest.cpu.fd, &event) != -EIO) << 3;
		bad |= (mote_set_slot(guest.machine.fd, &slot) != -EIO) << 4;
		bad |= (mote_create_vcpu(guest.machine.fd,
					 &(struct mote_vcpu_config) { .id = 9 }) != -EIO) << 5;
		_exit(bad);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status) TH_LOG("status %#x", status);
	EXPECT_EQ(MOTE_EXIT_PIO, guest_run(&guest));
	guest_destroy(&guest);
}

/* A file that comes by a socket from another process is of no use either, and closes well. */
TEST(sent_to_another_process)
{
	char control[CMSG_SPACE(sizeof(int))] = { 0 }, byte = 0;
	struct iovec vec = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr message = {
		.msg_iov = &vec, .msg_iovlen = 1,
		.msg_control = control, .msg_controllen = sizeof(control),
	};
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	int pair[2], status;
	pid_t pid;

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	pid = fork();
	if (!pid) {
		struct guest guest;

		guest_create(&guest);
		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(header), &guest.cpu.fd, sizeof(int));
		_exit(sendmsg(pair[0], &message, 0) != 1);
	}
	ASSERT_EQ(1, recvmsg(pair[1], &message, 0));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	int fd;

	memcpy(&fd, CMSG_DATA(header), sizeof(int));
	EXPECT_EQ(-EIO, mote_run(fd));
	EXPECT_EQ(0, close(fd));
}

/* The run page: one page, shared, at offset 0. */
TEST(mapping_the_run_page)
{
	struct guest guest;
	int fd;

	guest_create(&guest);
	fd = guest.cpu.fd;
	EXPECT_EQ(MAP_FAILED, mmap(NULL, 8192, PROT_READ, MAP_SHARED, fd, 0));
	EXPECT_EQ(MAP_FAILED, mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 4096));
	EXPECT_EQ(MAP_FAILED, mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0));
	EXPECT_EQ(MAP_FAILED, mmap(NULL, 4096, PROT_READ, MAP_SHARED, guest.machine.fd, 0));
	void *again = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);

	ASSERT_NE(MAP_FAILED, again);
	guest.run->gpr[5] = 0x5555;
	EXPECT_EQ(0x5555, ((struct mote_run *)again)->gpr[5]);
	for (size_t i = sizeof(struct mote_run); i < MOTE_RUN_SIZE; i++)
		ASSERT_EQ(0, ((unsigned char *)again)[i]);
	munmap(again, 4096);
	guest_destroy(&guest);
}

/* One of the set-up calls on a VM that may lack all that the others would have made. */
static void set_up(void *hva, int step, int vm, int *cpu)
{
	struct mote_slot slot = { .slot = 0, .size = GUEST_SIZE, .hva = (unsigned long)hva };
	struct mote_filter filter = { .kind = MOTE_FILTER_MSR };
	struct mote_vcpu_config config = { .id = 0 };
	struct mote_cpuid_table table = { .nr = 0 };
	struct mote_state state = { .mask = 0x7f };
	struct mote_event event = { .valid = 1, .type = MOTE_EVENT_NMI, .vector = 2 };

	switch (step) {
	case 0:
		mote_set_slot(vm, &slot);
		break;
	case 1:
		mote_set_filter(vm, &filter);
		break;
	case 2:
		*cpu = mote_create_vcpu(vm, &config);
		break;
	case 3:
		mote_set_cpuid(*cpu, &table);
		break;
	case 4:
		mote_get_state(*cpu, &state);
		mote_set_state(*cpu, &state);
		break;
	case 5:
		mote_inject(*cpu, &event);
		break;
	case 6:
		mote_run(*cpu);
		break;
	}
}

/* Orders of the seven set-up calls, all that there is time for: errors, exits, but never more. */
TEST(any_order)
{
	void *hva = mmap(NULL, GUEST_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int order[7], dev = mote_open();
	time_t end = time(NULL) + guest_scale(5);
	struct mote_info info;

	memset(hva, 0xf4, GUEST_SIZE); /* HLT */
	for (int i = 0; i < 5040 && time(NULL) < end; i++) {
		int vm = mote_create_vm(dev, &(struct mote_vm_config) { MOTE_VM_HLT_EXIT });
		int cpu = -1;
		long left = i * 1013l % 5040;

		ASSERT_LE(0, vm);
		for (int i = 0; i < 7; i++)
			order[i] = i;
		for (int i = 7; i > 0; i--) {
			int pick = left % i, step = order[pick];

			left /= i;
			order[pick] = order[i - 1];
			set_up(hva, step, vm, &cpu);
		}
		close(cpu);
		close(vm);
	}
	ASSERT_EQ(0, mote_get_info(dev, &info));
	EXPECT_EQ(0, info.nr_vms);
	close(dev);
}

/* ---- threads --------------------------------------------------------------------- */

FIXTURE(threads)
{
};

FIXTURE_SETUP(threads)
{
}

FIXTURE_TEARDOWN(threads)
{
}

static volatile bool over;

static void *scribble(void *data)
{
	volatile struct mote_run *run = data;
	volatile __u64 *page = data;
	unsigned int seed = 1;

	while (!over) {
		page[rand_r(&seed) % 64] = (__u64)rand_r(&seed) << 32 | rand_r(&seed);
		/* So that runs go on: not immediate_exit, and half of the time a request that is valid. */
		run->immediate_exit = 0;
		if (rand_r(&seed) % 2)
			run->set &= 0xffff | MOTE_SET_RIP | MOTE_SET_RFLAGS | MOTE_SET_COMPLETE;
	}
	return NULL;
}

/* Someone writes into the run page all the time: any outcome, no harm, and the state stays good. */
TEST_F(threads, scribbled_run_page)
{
	struct mote_state good;
	pthread_t thread;
	struct guest guest;
	int runs = 0;

	if (host_is_trinity())
		SKIP(return, "not on this hardware: Bochs panics at a guest's triple fault");
	guest_create(&guest);
	guest_start(&guest, GUEST_LONG, &guest_count);
	guest_get(&guest, &good, 0x7f);
	over = false;
	ASSERT_EQ(0, pthread_create(&thread, NULL, scribble, guest.run));
	for (long i = 0; i < guest_scale(100000); i++) {
		if (mote_run(guest.cpu.fd))
			continue;
		runs++;
		if (i % 16 == 0)
			guest_set(&guest, &good);
	}
	over = true;
	pthread_join(thread, NULL);
	EXPECT_NE(0, runs);
	memset(guest.run, 0, MOTE_RUN_SIZE);
	guest_start(&guest, GUEST_LONG, &guest_count);
	EXPECT_EQ(MOTE_EXIT_PIO, guest_run(&guest));
	guest_destroy(&guest);
}

static int shared_dev, shared_vm, shared_cpu;

/* Creates, duplicates, maps, runs and closes what others use just now. */
static void *race(void *data)
{
	unsigned int seed = (long)data;
	time_t end = time(NULL) + guest_scale(20);

	for (long i = 0; i < guest_scale(25000) && (is_long_run() || time(NULL) < end); i++) {
		struct mote_vcpu_config vcpu = { .id = rand_r(&seed) % 64 };
		struct mote_vm_config config = { 0 };
		struct mote_slot slot = { .slot = rand_r(&seed) % 4 };
		struct mote_state state = { .mask = 0x7f };
		void *page;
		int fd;

		switch (rand_r(&seed) % 8) {
		case 0:
			fd = mote_create_vm(shared_dev, &config);
			if (fd >= 0)
				fd = dup2(fd, shared_vm) < 0 ? fd : (close(fd), -1);
			break;
		case 1:
			fd = mote_create_vcpu(shared_vm, &vcpu);
			if (fd >= 0)
				fd = dup2(fd, shared_cpu) < 0 ? fd : (close(fd), -1);
			break;
		case 2:
			mote_run(shared_cpu);
			break;
		case 3:
			page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, shared_cpu, 0);
			if (page != MAP_FAILED) {
				*(volatile __u8 *)page = 1;
				munmap(page, 4096);
			}
			break;
		case 4:
			fd = dup(shared_cpu);
			mote_get_state(fd, &state);
			close(fd);
			break;
		case 5:
			mote_get_state(shared_cpu, &state);
			mote_set_state(shared_cpu, &state);
			break;
		case 6:
			mote_set_slot(shared_vm, &slot);
			break;
		case 7:
			close(dup(shared_vm));
			break;
		}
	}
	return NULL;
}

/* CVE-2019-6974 and its like: four threads on the same three descriptors. */
TEST_F(threads, races)
{
	struct mote_info info;
	struct guest guest;
	pthread_t threads[4];

	guest_create(&guest);
	shared_dev = guest.fd;
	shared_vm = guest.machine.fd;
	shared_cpu = guest.cpu.fd;
	for (long i = 0; i < 4; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, race, (void *)(i + 1)));
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	munmap(guest.run, MOTE_RUN_SIZE);
	close(shared_cpu);
	close(shared_vm);
	ASSERT_EQ(0, mote_get_info(shared_dev, &info));
	EXPECT_EQ(0, info.nr_vms);
}

/* Killed in the middle of a run, a process leaves nothing behind. */
TEST(killed_while_running)
{
	struct mote_info info;
	int fd = mote_open(), status;

	for (int i = 0; i < 10; i++) {
		pid_t pid = fork();

		if (!pid) {
			struct guest guest;

			guest_create(&guest);
			guest_start(&guest, GUEST_LONG, &guest_spin);
			guest_run(&guest);
			_exit(0);
		}
		usleep(1000 * i);
		kill(pid, SIGKILL);
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_TRUE(WIFSIGNALED(status));
	}
	for (int i = 0; i < LOST_S * 100; i++) {
		ASSERT_EQ(0, mote_get_info(fd, &info));
		if (!info.nr_vms)
			break;
		usleep(10000);
	}
	EXPECT_EQ(0, info.nr_vms);
}

MOTE_TEST_MAIN
