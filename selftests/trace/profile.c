// SPDX-License-Identifier: GPL-2.0
/*
 * mote trace profile, and flame --stacks: chains of Debian's kernel are those that they have to be, whatever
 * it is doing; formats; files of another kernel; a machine that runs.
 */
#include <ctype.h>
#include <stdlib.h>

#include "kselftest_harness.h"
#include "boot.h"
#include "trace.h"

#define OUT "/tmp/profile.out"
#define NAMED "XDG_RUNTIME_DIR=/tmp "
#define DEBIAN(options, append)								\
	"mote run --timeout 7000 --memory 256M --initrd ../boot/initrd " options		\
	" --append 'console=ttyS0 quiet panic=-1 cpus=1 least=200000 " append "' ../boot/vmlinuz"

/* Lines of a sample, as mote trace shows it. */
struct sample {
	char head[128];
	char name[128][128];
	unsigned long long ip;	/* the innermost */
	int nr;
};

static bool next_sample(FILE *file, struct sample *sample)
{
	unsigned long long ip;
	char line[256];

	/* At the end the last one stays. */
	if (!fgets(sample->head, sizeof(sample->head), file))
		return false;
	sample->nr = 0;
	while (fgets(line, sizeof(line), file) && line[0] == '\t' && sample->nr < 128)
		if (sscanf(line, " %llx %127s", &ip, sample->name[sample->nr]) == 2 && !sample->nr++)
			sample->ip = ip;
	return sample->nr;
}

/* Whoever boots Debian needs `make images`. */
#define NEEDS_DEBIAN()									\
	do {										\
		if (!is_time_for_systems())						\
			SKIP(return, NO_TIME);						\
		if (access("../boot/vmlinuz", R_OK))					\
			SKIP(return, "not on this machine: there are no images");	\
	} while (0)

FIXTURE(profile)
{
	struct command command;
};

FIXTURE_SETUP(profile)
{
}

FIXTURE_TEARDOWN(profile)
{
	sh("rm -f " OUT);
}

/* Of all that the clock finds in the kernel, nearly all is whole; the last port access is the guest's end. */
TEST_F(profile, debian)
{
	static const char *const end[] = {
		"write_port", "vfs_write", "ksys_write", "do_syscall_64", "entry_SYSCALL_64_after_hwframe",
		"[user]",
	};
	unsigned int nr_kernel = 0, nr_whole = 0;
	static struct sample sample;
	FILE *file;

	NEEDS_DEBIAN();
	command_run(&self->command,
		    "mote trace profile --event interrupt --event timer --event pio --as samples -o " OUT
		    " -- " DEBIAN("", "end=2a") " < /dev/null");
	ASSERT_EQ(STATUS_DEBUG(0x2a), self->command.status) TH_LOG("%s", self->command.err);
	file = fopen(OUT, "r");
	ASSERT_NE(NULL, file);
	while (next_sample(file, &sample)) {
		/* Before the kernel there is what unpacks it. */
		if (sample.ip < 0xffffffff80000000)
			continue;
		nr_kernel++;
		nr_whole += !strstr(sample.head, " cut");
	}
	fclose(file);
	TH_LOG("%u samples of the kernel, %u of them whole", nr_kernel, nr_whole);
	EXPECT_LE(1000, nr_kernel);
	EXPECT_LE(nr_kernel * 95 / 100, nr_whole);
	ASSERT_EQ(ARRAY_SIZE(end), sample.nr);
	for (size_t i = 0; i < ARRAY_SIZE(end); i++)
		EXPECT_STREQ(end[i], sample.name[i]);
}

/* A kernel that runs is sampled from the first exit on, by its own names or a file's, if that is its own. */
TEST_F(profile, machine_that_runs)
{
	static const struct {
		const char *options;
		int status;
		const char *says;
	} runs[] = {
		{ "--event all --duration 2 --as folded", 0, NULL },
		{ "--event all --duration 2 --as folded --symbols /tmp/good.map", 0, NULL },
		{ "--symbols /tmp/bad.map", 2, "is of another kernel: its addresses" },
		{ "--symbols ./sequence", 2, "is of another kernel: its build id" },
	};
	struct command *command = &self->command;

	NEEDS_DEBIAN();
	sh("(sleep 7000) | " NAMED DEBIAN("--name profiled", "end=shell") " > /tmp/console & "
	   "until grep -q 'all is well' /tmp/console; do sleep 1; done");
	/* The host has the same kernel, elsewhere (KASLR); and what would be another one's. */
	ASSERT_EQ(0, sh("grep -v '\\[' /proc/kallsyms > /tmp/good.map && sed 's/ init_uts_ns$/&_not/;"
			" s/ _stext$/ init_uts_ns/' /tmp/good.map > /tmp/bad.map"));
	for (size_t i = 0; i < ARRAY_SIZE(runs); i++) {
		command_run(command, NAMED "mote trace profile --name profiled %s > " OUT, runs[i].options);
		EXPECT_EQ(runs[i].status, command->status) TH_LOG("%s", command->err);
		if (runs[i].status) {
			EXPECT_NE(NULL, strstr(command->err, runs[i].says)) TH_LOG("%s", command->err);
			continue;
		}
		EXPECT_EQ(0, sh("grep -q '^secondary_startup_64_no_verify;.*;do_idle;' " OUT));
	}
	command_run(command, NAMED "mote trace latency --name profiled --duration 1 --json");
	EXPECT_EQ('{', command->out[0]);
	EXPECT_EQ(0, sh(NAMED "mote stop --force profiled"));
}

/* Guests that are not of mote run have no more than addresses; what there is adds up, in each format. */
TEST_F(profile, formats)
{
	static const char *const formats[] = { "table", "svg", "folded", "chrome", "samples" };
	struct json_object *root, *events;
	struct command *command = &self->command;

	for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
		command_run(command, "mote trace flame --stacks --as %s -o " OUT " -- ./sequence 20",
			    formats[i]);
		EXPECT_EQ(0, command->status) TH_LOG("%s: %s", formats[i], command->err);
		EXPECT_NE(NULL, strstr(command->err, "no machine of mote run"));
		EXPECT_EQ(0, sh("test -s " OUT));
	}
	command_run(command, "mote trace flame --stacks --count --as folded -o " OUT " -- ./sequence 20");
	EXPECT_EQ(20, counted(command->out, "cpuid"));
	EXPECT_EQ(0, sh("awk -F '[; ]' '$1 == \"cpuid\" { n += $NF } END { exit n != 20 }' " OUT));
	command_run(command, "mote trace flame --stacks --count --json -- ./sequence 20 | grep '^{'");
	root = json_tokener_parse(command->out);
	EXPECT_STREQ("all exits", member(root, "name"));
	json_object_put(root);
	command_run(command, "mote trace flame --stacks --as chrome -o " OUT " -- ./sequence 20");
	root = json_object_from_file(OUT);
	EXPECT_TRUE(json_object_object_get_ex(root, "traceEvents", &events));
	EXPECT_LT(100, json_object_array_length(events));
	json_object_put(root);
	EXPECT_EQ(0, sh("mote trace flame --stacks -- ./sequence 20 2> /dev/null | grep -q '</svg>'"));
	EXPECT_EQ(0, sh("mote trace profile --frequency 2000 -- ./sequence cpuid 100000 2> /dev/null | "
			"grep -q ' samples in '"));
}

/* Instructions that a sample takes. */
TEST_F(profile, price)
{
	const char *lab = getenv("MOTE_LAB");
	struct json_object *root;

	if (!lab || strcmp(lab, "svm") == 0)
		SKIP(return, "not on this hardware: its clock does not count instructions");
	NEEDS_DEBIAN();
	command_run(&self->command, "mote trace profile --json -o " OUT " -- " DEBIAN("", "end=2a")
		    " < /dev/null");
	root = json_object_from_file(OUT);
	ASSERT_NE(NULL, root);
	/* One is ten ns. */
	TH_LOG("%llu ns a sample", number(root, "overhead_ns"));
	EXPECT_GE(50000, number(root, "overhead_ns"));
	json_object_put(root);
}

MOTE_TEST_MAIN
