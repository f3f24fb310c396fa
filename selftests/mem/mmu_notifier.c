// SPDX-License-Identifier: GPL-2.0
/* Whatever the owner does to its memory, the guest sees exactly that. */
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "kselftest_harness.h"
#include "mem.h"
#include "selftest.h"

#define SIZE (8 * MIB)
/* Not at the start of a large page. */
#define SOME (3 * MIB + 5 * PAGE)

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif

FIXTURE(mmu_notifier)
{
	struct guest guest;
	unsigned char *memory;
};

/* The same with the host's large pages and without. */
FIXTURE_VARIANT(mmu_notifier)
{
	int advice;
};

FIXTURE_VARIANT_ADD(mmu_notifier, small) { .advice = MADV_NOHUGEPAGE };
FIXTURE_VARIANT_ADD(mmu_notifier, large) { .advice = MADV_HUGEPAGE };

FIXTURE_SETUP(mmu_notifier)
{
	ASSERT_TRUE(server_start(&self->guest));
	self->memory = memory_get(SIZE);
	ASSERT_NE(NULL, self->memory);
	madvise(self->memory, SIZE, variant->advice);
	ASSERT_EQ(0, slot_set(&self->guest, 1, 0, REGION, SIZE, self->memory));
}

FIXTURE_TEARDOWN(mmu_notifier)
{
	guest_destroy(&self->guest);
	munmap(self->memory, SIZE);
}

static __u64 *word(unsigned char *memory, size_t offset)
{
	return (__u64 *)(memory + offset);
}

/* What a failed access says: the owner's address and why. */
#define EXPECT_MEMORY(job, offset, why)							\
	do {										\
		struct mote_run e = { 0 };						\
											\
		EXPECT_EQ(MOTE_EXIT_MEMORY, guest_try(&self->guest, job, REGION + (offset), &e)); \
		EXPECT_EQ(REGION + (offset), e.memory.gpa);				\
		EXPECT_EQ((unsigned long)self->memory + (offset), e.memory.hva);	\
		EXPECT_EQ(why, e.memory.error);						\
	} while (0)

TEST_F(mmu_notifier, demand_zero)
{
	EXPECT_EQ(0, guest_peek(&self->guest, REGION + SOME));
	EXPECT_EQ(0, guest_poke(&self->guest, REGION + SOME, 1));
	EXPECT_EQ(1, *word(self->memory, SOME));
	*word(self->memory, SOME) = 2;
	EXPECT_EQ(2, guest_peek(&self->guest, REGION + SOME));
	EXPECT_EQ(0, guest_poke(&self->guest, REGION + 2 * SOME, 3));
	EXPECT_EQ(3, *word(self->memory, 2 * SOME));
}

TEST_F(mmu_notifier, dontneed)
{
	int i;

	for (i = 0; i < 20; i++) {
		EXPECT_EQ(0, guest_poke(&self->guest, REGION + SOME, i + 1));
		EXPECT_EQ(0, guest_poke(&self->guest, REGION + SOME + PAGE, i + 1));
		ASSERT_EQ(0, madvise(self->memory + SOME, PAGE, MADV_DONTNEED));
		EXPECT_EQ(0, guest_peek(&self->guest, REGION + SOME));
		EXPECT_EQ(i + 1, guest_peek(&self->guest, REGION + SOME + PAGE));
	}
	ASSERT_EQ(0, madvise(self->memory, SIZE, MADV_DONTNEED));
	EXPECT_EQ(0, guest_peek(&self->guest, REGION + SOME + PAGE));
}

TEST_F(mmu_notifier, munmap)
{
	memset(self->memory, 0x11, SIZE);
	EXPECT_EQ(0x1111111111111111ul, guest_peek(&self->guest, REGION + SOME));
	ASSERT_EQ(0, munmap(self->memory + SOME, PAGE));
	EXPECT_MEMORY(JOB_READ, SOME, -EFAULT);
	EXPECT_MEMORY(JOB_WRITE, SOME + 16, -EFAULT);
	EXPECT_EQ(0x1111111111111111ul, guest_peek(&self->guest, REGION + SOME + PAGE));
	EXPECT_EQ(0x1111111111111111ul, guest_peek(&self->guest, REGION + SOME - 8));
	ASSERT_EQ(self->memory + SOME,
		  mmap(self->memory + SOME, PAGE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	EXPECT_EQ(0, guest_peek(&self->guest, REGION + SOME));
	EXPECT_EQ(0, guest_poke(&self->guest, REGION + SOME, 9));
	EXPECT_EQ(9, *word(self->memory, SOME));
}

TEST_F(mmu_notifier, mprotect)
{
	memset(self->memory, 0x22, SIZE);
	EXPECT_EQ(0, guest_poke(&self->guest, REGION + SOME, 1));
	ASSERT_EQ(0, mprotect(self->memory, SIZE, PROT_READ));
	EXPECT_EQ(1, guest_peek(&self->guest, REGION + SOME));
	EXPECT_MEMORY(JOB_WRITE, SOME, -EFAULT);
	EXPECT_EQ(1, guest_peek(&self->guest, REGION + SOME));
	ASSERT_EQ(0, mprotect(self->memory, SIZE, PROT_NONE));
	EXPECT_MEMORY(JOB_READ, SOME, -EFAULT);
	EXPECT_MEMORY(JOB_EXEC, SOME, -EFAULT);
	ASSERT_EQ(0, mprotect(self->memory, SIZE, PROT_READ | PROT_WRITE));
	EXPECT_EQ(1, guest_peek(&self->guest, REGION + SOME));
	EXPECT_EQ(0, guest_poke(&self->guest, REGION + SOME, 2));
	EXPECT_EQ(2, *word(self->memory, SOME));
}

/* The guest executes what it can read. */
TEST_F(mmu_notifier, execute)
{
	self->memory[SOME] = 0xc3; /* RET */
	EXPECT_EQ(0, guest_try(&self->guest, JOB_EXEC, REGION + SOME, NULL));
	ASSERT_EQ(0, mprotect(self->memory, SIZE, PROT_READ));
	EXPECT_EQ(0, guest_try(&self->guest, JOB_EXEC, REGION + SOME, NULL));
}

TEST_F(mmu_notifier, mremap)
{
	unsigned char *other = memory_get(SIZE);

	ASSERT_NE(NULL, other);
	memset(self->memory, 0x33, SIZE);
	EXPECT_EQ(0, guest_poke(&self->guest, REGION + SOME, 1));
	ASSERT_EQ(other, mremap(self->memory, SIZE, SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, other));
	EXPECT_MEMORY(JOB_READ, SOME, -EFAULT);
	ASSERT_EQ(0, slot_set(&self->guest, 1, 0, REGION, SIZE, other));
	EXPECT_EQ(1, guest_peek(&self->guest, REGION + SOME));
	munmap(other, SIZE);
}

/* A child's copy is neither the guest's nor changed by it. */
TEST_F(mmu_notifier, fork)
{
	int to[2], from[2], status;
	char byte = 0;
	pid_t pid;

	memset(self->memory, 0x44, SIZE);
	EXPECT_EQ(0, guest_poke(&self->guest, REGION + SOME, 1));
	ASSERT_EQ(0, pipe(to) | pipe(from));
	pid = fork();
	if (!pid) {
		bool right = *word(self->memory, SOME) == 1;

		*word(self->memory, SOME + PAGE) = 2;
		right &= write(from[1], "w", 1) == 1 && read(to[0], &byte, 1) == 1;
		right &= *word(self->memory, SOME) == 1;
		/* The files of its parent's VM are of no use to it. */
		right &= mote_run(self->guest.cpu.fd) == -EIO;
		right &= slot_set(&self->guest, 1, 0, 0, 0, NULL) == -EIO;
		_exit(!right);
	}
	ASSERT_EQ(1, read(from[0], &byte, 1));
	EXPECT_EQ(0x4444444444444444ul, guest_peek(&self->guest, REGION + SOME + PAGE));
	EXPECT_EQ(0, guest_poke(&self->guest, REGION + SOME, 3));
	EXPECT_EQ(3, *word(self->memory, SOME));
	ASSERT_EQ(1, write(to[1], "g", 1));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(3, guest_peek(&self->guest, REGION + SOME));
}

static int file_new(const char *name, size_t size)
{
	int fd = memfd_create(name, 0);

	if (fd >= 0 && ftruncate(fd, size)) {
		close(fd);
		fd = -1;
	}
	return fd;
}

TEST_F(mmu_notifier, shared_file)
{
	int fd = file_new("shared", SIZE);
	__u64 value = 0;

	ASSERT_LE(0, fd);
	ASSERT_EQ(self->memory, mmap(self->memory, SIZE, PROT_READ | PROT_WRITE,
				     MAP_SHARED | MAP_FIXED, fd, 0));
	madvise(self->memory, SIZE, variant->advice);
	EXPECT_EQ(0, guest_peek(&self->guest, REGION + SOME));
	EXPECT_EQ(0, guest_poke(&self->guest, REGION + SOME, 1));
	ASSERT_EQ(8, pread(fd, &value, 8, SOME));
	EXPECT_EQ(1, value);
	value = 2;
	ASSERT_EQ(8, pwrite(fd, &value, 8, SOME));
	EXPECT_EQ(2, guest_peek(&self->guest, REGION + SOME));

	/* Beyond the end of the file there is nothing; then there is again. */
	ASSERT_EQ(0, ftruncate(fd, PAGE));
	EXPECT_MEMORY(JOB_READ, SOME, -EFAULT);
	EXPECT_EQ(0, guest_peek(&self->guest, REGION));
	ASSERT_EQ(0, ftruncate(fd, SIZE));
	EXPECT_EQ(0, guest_peek(&self->guest, REGION + SOME));
	EXPECT_EQ(0, guest_poke(&self->guest, REGION + SOME, 3));
	ASSERT_EQ(0, fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, SIZE));
	EXPECT_EQ(0, guest_peek(&self->guest, REGION + SOME));
	close(fd);
}

TEST_F(mmu_notifier, private_file)
{
	int fd = file_new("private", SIZE);
	__u64 value = 5;

	ASSERT_LE(0, fd);
	ASSERT_EQ(8, pwrite(fd, &value, 8, SOME));
	ASSERT_EQ(self->memory, mmap(self->memory, SIZE, PROT_READ | PROT_WRITE,
				     MAP_PRIVATE | MAP_FIXED, fd, 0));
	EXPECT_EQ(5, guest_peek(&self->guest, REGION + SOME));
	EXPECT_EQ(0, guest_poke(&self->guest, REGION + SOME, 6));
	EXPECT_EQ(6, *word(self->memory, SOME));
	ASSERT_EQ(8, pread(fd, &value, 8, SOME));
	EXPECT_EQ(5, value);
	close(fd);
}

/* A file that cannot be written: reads are fine. */
TEST_F(mmu_notifier, read_only_file)
{
	int fd = open("/proc/self/exe", O_RDONLY);
	__u64 value = 0;

	ASSERT_LE(0, fd);
	ASSERT_EQ(self->memory, mmap(self->memory, PAGE, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0));
	ASSERT_EQ(8, pread(fd, &value, 8, 0));
	EXPECT_EQ(value, guest_peek(&self->guest, REGION));
	EXPECT_MEMORY(JOB_WRITE, 0, -EFAULT);
	close(fd);
}

/* Memory of devices is refused, however it is mapped. */
TEST_F(mmu_notifier, device_memory)
{
	int fd = open("/dev/mem", O_RDWR);
	void *where;

	if (fd < 0)
		SKIP(return, "not on this kernel: no /dev/mem");
	where = mmap(self->memory, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
	close(fd);
	if (where == MAP_FAILED)
		SKIP(return, "not on this kernel: /dev/mem cannot be mapped");
	EXPECT_MEMORY(JOB_READ, 0, -EFAULT);
	EXPECT_MEMORY(JOB_WRITE, 0, -EFAULT);
}

/* Freed lazily, then written again: what was written last stays. */
TEST_F(mmu_notifier, free_and_write)
{
	size_t i;

	memset(self->memory, 0x55, SIZE);
	for (i = 0; i < SIZE; i += PAGE)
		ASSERT_EQ(0, guest_poke(&self->guest, REGION + i, 1));
	ASSERT_EQ(0, madvise(self->memory, SIZE, MADV_FREE));
	for (i = 0; i < SIZE; i += 2 * PAGE)
		ASSERT_EQ(0, guest_poke(&self->guest, REGION + i, i | 2));
	/* Pages that nobody has written since go now. */
	madvise(self->memory, SIZE, MADV_PAGEOUT);
	for (i = 0; i < SIZE; i += 2 * PAGE) {
		ASSERT_EQ(i | 2, guest_peek(&self->guest, REGION + i));
		ASSERT_EQ(i | 2, *word(self->memory, i));
	}
	for (i = PAGE; i < SIZE; i += 2 * PAGE) {
		__u64 value = guest_peek(&self->guest, REGION + i);

		ASSERT_TRUE(value == 1 || value == 0);
		ASSERT_EQ(value, *word(self->memory, i));
	}
}

/* The host makes large pages of small ones and breaks them up again. */
TEST_F(mmu_notifier, collapse_and_split)
{
	size_t i;

	madvise(self->memory, SIZE, MADV_HUGEPAGE);
	for (i = 0; i < SIZE; i += PAGE)
		ASSERT_EQ(0, guest_poke(&self->guest, REGION + i, i));
	if (madvise(self->memory, SIZE, MADV_COLLAPSE) && errno == EINVAL)
		SKIP(return, "not on this kernel: no MADV_COLLAPSE");
	for (i = 0; i < SIZE; i += PAGE)
		ASSERT_EQ(i, guest_peek(&self->guest, REGION + i));
	for (i = 0; i < SIZE; i += 2 * MIB)
		ASSERT_EQ(0, mprotect(self->memory + i, PAGE, PROT_READ));
	for (i = 0; i < SIZE; i += PAGE)
		ASSERT_EQ(i % (2 * MIB) ? 0 : MOTE_EXIT_MEMORY,
			  guest_poke(&self->guest, REGION + i, i + 1));
	for (i = 0; i < SIZE; i += PAGE)
		ASSERT_EQ(i % (2 * MIB) ? i + 1 : i, *word(self->memory, i));
}

static bool set_file(const char *name, const char *text)
{
	int fd = open(name, O_WRONLY);
	bool done = fd >= 0 && write(fd, text, strlen(text)) > 0;

	if (fd >= 0)
		close(fd);
	return done;
}

static long get_number(const char *name)
{
	char text[32] = "";
	int fd = open(name, O_RDONLY);

	if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0)
		text[0] = 0;
	if (fd >= 0)
		close(fd);
	return atol(text);
}

/* Equal pages become one; a write parts them. */
TEST_F(mmu_notifier, ksm)
{
	int i;

	if (access("/sys/kernel/mm/ksm/run", W_OK))
		SKIP(return, "not on this kernel: no KSM");
	memset(self->memory, 0x66, SIZE);
	EXPECT_EQ(0, guest_poke(&self->guest, REGION + SOME, 0x6666666666666666ul));
	ASSERT_EQ(0, madvise(self->memory, SIZE, MADV_MERGEABLE));
	set_file("/sys/kernel/mm/ksm/sleep_millisecs", "1");
	set_file("/sys/kernel/mm/ksm/pages_to_scan", "2000");
	ASSERT_TRUE(set_file("/sys/kernel/mm/ksm/run", "1"));
	for (i = 0; i < LOST_S * 100 && get_number("/sys/kernel/mm/ksm/pages_sharing") < 1000; i++) {
		ASSERT_EQ(0x6666666666666666ul,
			  guest_peek(&self->guest, REGION + i % 2048 * PAGE));
		usleep(10000);
	}
	EXPECT_LE(1000, get_number("/sys/kernel/mm/ksm/pages_sharing"));
	EXPECT_EQ(0x6666666666666666ul, guest_peek(&self->guest, REGION + SOME));
	EXPECT_EQ(0, guest_poke(&self->guest, REGION + SOME, 1));
	EXPECT_EQ(1, *word(self->memory, SOME));
	EXPECT_EQ(0x6666666666666666ul, guest_peek(&self->guest, REGION + SOME + PAGE));
	*word(self->memory, SOME + PAGE) = 2;
	EXPECT_EQ(2, guest_peek(&self->guest, REGION + SOME + PAGE));
	set_file("/sys/kernel/mm/ksm/run", "2");
	EXPECT_EQ(1, guest_peek(&self->guest, REGION + SOME));
}

TEST_F(mmu_notifier, hugetlb)
{
	void *where;

	if (!set_file("/proc/sys/vm/nr_hugepages", "4"))
		SKIP(return, "not on this kernel: no hugetlb");
	where = mmap(self->memory, SIZE, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_HUGETLB, -1, 0);
	if (where == MAP_FAILED) {
		set_file("/proc/sys/vm/nr_hugepages", "0");
		SKIP(return, "not on this hardware: memory is too small or in pieces");
	}
	EXPECT_EQ(0, guest_peek(&self->guest, REGION + SOME));
	EXPECT_EQ(0, guest_poke(&self->guest, REGION + SOME, 1));
	EXPECT_EQ(1, *word(self->memory, SOME));
	EXPECT_EQ(0, guest_poke(&self->guest, REGION + 6 * MIB, 2));
	EXPECT_EQ(2, *word(self->memory, 6 * MIB));
	/* Moved by a page, it can be mapped by small pages only. */
	ASSERT_EQ(0, slot_set(&self->guest, 1, 0, REGION + PAGE, SIZE, self->memory));
	EXPECT_EQ(1, guest_peek(&self->guest, REGION + SOME + PAGE));
	ASSERT_EQ(0, munmap(self->memory, SIZE));
	EXPECT_EQ(MOTE_EXIT_MEMORY, guest_try(&self->guest, JOB_READ, REGION + SOME, NULL));
	set_file("/proc/sys/vm/nr_hugepages", "0");
}

static void ignore(int signal)
{
}

TEST_F(mmu_notifier, poisoned_page)
{
	struct mote_run exit;

	/* Some kernels tell at once whoever has written to the page. */
	signal(SIGBUS, ignore);
	*word(self->memory, SOME) = 1;
	EXPECT_EQ(1, guest_peek(&self->guest, REGION + SOME));
	if (madvise(self->memory + (SOME & -PAGE), PAGE, MADV_HWPOISON))
		SKIP(return, "not on this kernel: no memory failure handling");
	ASSERT_EQ(MOTE_EXIT_MEMORY, guest_try(&self->guest, JOB_READ, REGION + SOME, &exit));
	EXPECT_EQ(-EHWPOISON, exit.memory.error);
	EXPECT_EQ(0, guest_peek(&self->guest, REGION + SOME + PAGE));
}

/* ---- userfaultfd: pages that somebody else supplies ------------------------------- */

struct supplier {
	int fd;
	unsigned char *memory;
	unsigned char page[PAGE];
	struct guest *guest;
	pthread_t waits;
	bool done;
};

static void *supply(void *context)
{
	struct supplier *supplier = context;
	struct uffd_msg message;
	struct uffdio_copy copy;

	if (read(supplier->fd, &message, sizeof(message)) != sizeof(message) ||
	    message.event != UFFD_EVENT_PAGEFAULT)
		return NULL;
	copy = (struct uffdio_copy) {
		.dst = message.arg.pagefault.address & -PAGE,
		.src = (unsigned long)supplier->page, .len = PAGE,
	};
	supplier->done = !ioctl(supplier->fd, UFFDIO_COPY, &copy);
	return NULL;
}

static int userfaultfd_new(void *memory, size_t size)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = {
		.range = { .start = (unsigned long)memory, .len = size },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	int fd = syscall(__NR_userfaultfd, O_CLOEXEC);

	if (fd >= 0 && (ioctl(fd, UFFDIO_API, &api) || ioctl(fd, UFFDIO_REGISTER, &reg))) {
		close(fd);
		fd = -1;
	}
	return fd;
}

/* The guest reads a page that is not there: it has what that thread supplies. */
static void read_supplied(struct __test_metadata *_metadata, FIXTURE_DATA(mmu_notifier) * self,
			  void *(*supplier_thread)(void *), unsigned char byte)
{
	struct supplier supplier = { .memory = self->memory, .guest = &self->guest };
	pthread_t thread;

	supplier.fd = userfaultfd_new(self->memory, SIZE);
	if (supplier.fd < 0)
		SKIP(return, "not on this kernel: no userfaultfd");
	memset(supplier.page, byte, PAGE);
	ASSERT_EQ(0, pthread_create(&thread, NULL, supplier_thread, &supplier));
	EXPECT_EQ(byte * 0x0101010101010101ul, guest_peek(&self->guest, REGION + SOME));
	pthread_join(thread, NULL);
	EXPECT_TRUE(supplier.done);
	close(supplier.fd);
}

TEST_F(mmu_notifier, userfaultfd)
{
	read_supplied(_metadata, self, supply, 0x77);
}

/* He who brings the page may change slots first, the fault's own among them. */
static void *supply_and_change(void *context)
{
	struct supplier *supplier = context;
	struct pollfd poll_fd = { .fd = supplier->fd, .events = POLLIN };

	if (poll(&poll_fd, 1, 20000) != 1 ||
	    slot_set(supplier->guest, 2, 0, 2 * REGION, SIZE, supplier->memory) ||
	    slot_set(supplier->guest, 2, 0, 0, 0, NULL) ||
	    slot_set(supplier->guest, 1, 0, 0, 0, NULL) ||
	    slot_set(supplier->guest, 1, 0, REGION, SIZE, supplier->memory))
		return NULL;
	return supply(context);
}

TEST_F(mmu_notifier, slots_change_in_a_fault)
{
	read_supplied(_metadata, self, supply_and_change, 0x66);
}

/* A signal ends MOTE_RUN also while it waits for a page that has not come yet. */
static void *interrupt(void *context)
{
	struct supplier *supplier = context;
	struct pollfd poll_fd = { .fd = supplier->fd, .events = POLLIN };

	if (poll(&poll_fd, 1, 20000) == 1)
		usleep(100000);
	supplier->guest->run->immediate_exit = 1;
	pthread_kill(supplier->waits, SIGUSR1);
	return NULL;
}

TEST_F(mmu_notifier, signal_in_a_fault)
{
	struct supplier supplier = {
		.memory = self->memory, .guest = &self->guest, .waits = pthread_self(),
	};
	struct mote_run *run = self->guest.run;
	pthread_t thread;

	supplier.fd = userfaultfd_new(self->memory, SIZE);
	if (supplier.fd < 0)
		SKIP(return, "not on this kernel: no userfaultfd");
	signal(SIGUSR1, ignore);
	ASSERT_EQ(0, pthread_create(&thread, NULL, interrupt, &supplier));
	run->gpr[MOTE_RCX] = JOB_READ;
	run->gpr[MOTE_RBX] = REGION + SOME;
	run->set |= 1u << MOTE_RCX | 1u << MOTE_RBX;
	EXPECT_EQ(-EINTR, guest_run(&self->guest));
	pthread_join(thread, NULL);
	run->immediate_exit = 0;
	/* The guest is where it was, and goes on when the page is there. */
	memset(supplier.page, 0x55, PAGE);
	ASSERT_EQ(0, pthread_create(&thread, NULL, supply, &supplier));
	ASSERT_EQ(MOTE_EXIT_PIO, server_run(&self->guest));
	EXPECT_EQ(0x5555555555555555ul, run->gpr[MOTE_RAX]);
	pthread_join(thread, NULL);
	close(supplier.fd);
}

/* Whoever waits for a page that never comes can be killed. */
TEST_F(mmu_notifier, killed_in_a_fault)
{
	int fd, status;
	pid_t pid = fork();

	if (!pid) {
		unsigned char *memory = memory_get(SIZE);
		struct guest guest;

		if (!server_start(&guest) || slot_set(&guest, 1, 0, REGION, SIZE, memory))
			_exit(1);
		fd = userfaultfd_new(memory, SIZE);
		if (fd < 0)
			_exit(2);
		guest_peek(&guest, REGION);
		_exit(3);
	}
	usleep(300000);
	kill(pid, SIGKILL);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	if (WIFEXITED(status) && WEXITSTATUS(status) == 2)
		SKIP(return, "not on this kernel: no userfaultfd");
	EXPECT_TRUE(WIFSIGNALED(status));
}

MOTE_TEST_MAIN
