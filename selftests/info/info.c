// SPDX-License-Identifier: GPL-2.0
/* MOTE_GET_INFO on a good host, and what /dev/mote refuses. */
#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "libmote.h"
#include "selftest.h"

#define FEATURE(name) (1ull << MOTE_FEATURE_##name)

FIXTURE(host)
{
	int fd;
	struct mote_info info;
};

FIXTURE_SETUP(host)
{
	self->fd = mote_open();
	ASSERT_LE(0, self->fd);
	memset(&self->info, 0xa5, sizeof(self->info));
	ASSERT_EQ(0, mote_get_info(self->fd, &self->info));
}

FIXTURE_TEARDOWN(host)
{
	close(self->fd);
}

TEST_F(host, version)
{
	EXPECT_EQ(MOTE_ABI_VERSION, self->info.abi_version);
	ASSERT_NE(NULL, memchr(self->info.version, 0, sizeof(self->info.version)));
	EXPECT_STREQ(MOTE_VERSION, (const char *)self->info.version);
}

TEST_F(host, vendor_is_that_of_cpuid)
{
	unsigned int eax, ebx, ecx, edx;

	EXPECT_EQ(mote_cpuid_vendor(), self->info.vendor);
	ASSERT_EQ(1, __get_cpuid(1, &eax, &ebx, &ecx, &edx));
	EXPECT_EQ(eax, self->info.cpu_signature);
}

TEST_F(host, floor_features)
{
	EXPECT_EQ(FEATURE(NPT) | FEATURE(UNRESTRICTED),
		  self->info.features & (FEATURE(NPT) | FEATURE(UNRESTRICTED)));
	EXPECT_EQ(0, self->info.features >> MOTE_NR_FEATURES);
}

/* A feature is never claimed that CPUID 0x8000000a denies (APM 3, "Appendix E"). */
TEST_F(host, svm_features_are_those_of_cpuid)
{
	static const struct {
		__u64 feature;
		unsigned int edx;
	} rows[] = {
		{ FEATURE(NPT), 1u << 0 },
		{ FEATURE(NRIP), 1u << 3 },
		{ FEATURE(CLEAN_BITS), 1u << 5 },
		{ FEATURE(FLUSH_BY_ASID), 1u << 6 },
		{ FEATURE(DECODE_ASSISTS), 1u << 7 },
		{ FEATURE(PAUSE_FILTER), 1u << 10 },
		{ FEATURE(VGIF), 1u << 16 },
		{ FEATURE(VNMI), 1u << 25 },
	};
	unsigned int eax, ebx, ecx, edx;

	if (self->info.vendor != MOTE_VENDOR_SVM)
		SKIP(return, "not on this hardware: no AMD-V");
	ASSERT_EQ(1, __get_cpuid(0x8000000a, &eax, &ebx, &ecx, &edx));
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (self->info.features & rows[i].feature) {
			EXPECT_NE(0, edx & rows[i].edx) TH_LOG("row %zu", i);
		}
	}
	EXPECT_GE(ebx, self->info.nr_asids);
	EXPECT_EQ(eax & 0xff, self->info.revision);
}

TEST_F(host, no_obstacle)
{
	static const struct mote_obstacle none[MOTE_MAX_OBSTACLES];

	EXPECT_EQ(0, self->info.nr_obstacles);
	EXPECT_EQ(0, memcmp(none, self->info.obstacles, sizeof(none)));
}

TEST_F(host, every_cpu_is_probed)
{
	EXPECT_EQ(sysconf(_SC_NPROCESSORS_ONLN), self->info.cpus_online);
}

TEST_F(host, limits_are_sane)
{
	EXPECT_LE(1, self->info.max_vms);
	EXPECT_LE(1, self->info.max_vcpus);
	EXPECT_LE(1, self->info.max_slots);
	EXPECT_EQ(0, self->info.nr_vms);
	EXPECT_LE(36, self->info.gpa_bits);
	EXPECT_GE(52, self->info.gpa_bits);
	EXPECT_LE(1, self->info.nr_asids);
	EXPECT_LE(1000, self->info.tsc_khz);
}

TEST_F(host, xcr0_is_what_the_processor_has)
{
	unsigned int eax, ebx, ecx, edx;

	if (!(self->info.features & FEATURE(XSAVE))) {
		EXPECT_EQ(0, self->info.xcr0 & ~1ull);
		return;
	}
	ASSERT_EQ(1, __get_cpuid_count(0xd, 0, &eax, &ebx, &ecx, &edx));
	EXPECT_EQ(1, self->info.xcr0 & 1);
	EXPECT_EQ(0, self->info.xcr0 & ~(((__u64)edx << 32) | eax));
}

TEST_F(host, what_is_unused_is_zero)
{
	static const __u64 zero[sizeof(self->info.reserved) / sizeof(__u64)];

	EXPECT_EQ(0, self->info.pad);
	EXPECT_EQ(0, memcmp(zero, self->info.reserved, sizeof(zero)));
	for (size_t i = strlen((char *)self->info.version); i < sizeof(self->info.version); i++) {
		EXPECT_EQ(0, self->info.version[i]);
	}
}

TEST_F(host, the_answer_repeats)
{
	struct mote_info again;

	for (int i = 0; i < 100; i++) {
		ASSERT_EQ(0, mote_get_info(self->fd, &again));
		ASSERT_EQ(0, memcmp(&again, &self->info, sizeof(again)));
	}
}

TEST_F(host, unknown_ioctls)
{
	static const unsigned long unknown[] = {
		0, ~0u,
		_IO(MOTE_IOC, 0xff),
		_IO(MOTE_IOC, _IOC_NR(MOTE_GET_INFO)),
		_IOW(MOTE_IOC, _IOC_NR(MOTE_GET_INFO), struct mote_info),
		_IOR(MOTE_IOC, _IOC_NR(MOTE_GET_INFO), char[sizeof(struct mote_info) - 8]),
		_IOR(MOTE_IOC, _IOC_NR(MOTE_GET_INFO), char[sizeof(struct mote_info) + 8]),
		_IOR(0xae, _IOC_NR(MOTE_GET_INFO), struct mote_info),
	};

	for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
		errno = 0;
		EXPECT_EQ(-1, ioctl(self->fd, unknown[i], &self->info));
		EXPECT_EQ(ENOTTY, errno) TH_LOG("ioctl %#lx", unknown[i]);
	}
}

TEST_F(host, bad_pointers)
{
	long page = sysconf(_SC_PAGESIZE);
	char *two = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	void *read_only = mmap(NULL, page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ASSERT_NE(MAP_FAILED, two);
	ASSERT_NE(MAP_FAILED, read_only);
	ASSERT_EQ(0, munmap(two + page, page));
	void *const bad[] = {
		NULL,
		(void *)8,
		two + page,
		two + page - 8,
		read_only,
		(void *)0x7ffffffff000,
		(void *)0x8000000000000000,
		(void *)0xffffffff81000000,
		(void *)-1,
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		errno = 0;
		EXPECT_EQ(-1, ioctl(self->fd, MOTE_GET_INFO, bad[i]));
		EXPECT_EQ(EFAULT, errno) TH_LOG("pointer %p", bad[i]);
	}
}

TEST_F(host, nothing_to_read_write_or_map)
{
	char byte = 0;

	EXPECT_EQ(-1, read(self->fd, &byte, 1));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, write(self->fd, &byte, 1));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(MAP_FAILED, mmap(NULL, 4096, PROT_READ, MAP_SHARED, self->fd, 0));
	EXPECT_EQ(ENODEV, errno);
}

/* The call as a 32-bit program makes it: same number, same layout. */
TEST_F(host, a_32_bit_caller_sees_the_same)
{
	struct mote_info *low = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
				     MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	struct command config;
	long ret;

	ASSERT_NE(MAP_FAILED, low);
	command_run(&config, "grep -qs ia32_ /proc/kallsyms");
	if (config.status)
		SKIP(return, "not on this kernel: no 32-bit system calls");
	asm volatile("int $0x80" : "=a"(ret)
		     : "a"(54 /* ioctl */), "b"(self->fd), "c"(MOTE_GET_INFO), "d"(low)
		     : "memory", "r8", "r9", "r10", "r11");
	EXPECT_EQ(0, (int)ret);
	EXPECT_EQ(0, memcmp(low, &self->info, sizeof(*low)));
}

TEST_F(host, other_users_may_not)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		if (setgid(65534) || setuid(65534))
			_exit(2);
		_exit(open(MOTE_DEVICE, O_RDWR) < 0 && errno == EACCES ? 0 : 1);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
}

MOTE_TEST_MAIN
