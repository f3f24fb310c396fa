// SPDX-License-Identifier: GPL-2.0
/* The mote command: mote doctor, mote info, and how it answers wrong usage. */
#include <json-c/json.h>
#include <string.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "libmote.h"
#include "selftest.h"

/* The member @key of a JSON object as a string, "" if there is none. */
static const char *member(struct json_object *object, const char *key)
{
	struct json_object *value;

	return json_object_object_get_ex(object, key, &value) ? json_object_get_string(value) : "";
}

static long number(struct json_object *object, const char *key)
{
	struct json_object *value;

	return json_object_object_get_ex(object, key, &value) ? json_object_get_int64(value) : -1;
}

TEST(doctor_finds_nothing_in_the_way)
{
	struct command doctor;

	command_run(&doctor, "mote doctor");
	EXPECT_EQ(0, doctor.status) TH_LOG("%s", doctor.out);
	EXPECT_STREQ("", doctor.err);
	EXPECT_NE(NULL, strstr(doctor.out, "\nSandbox "));
	EXPECT_NE(NULL, strstr(doctor.out, "Virtual machines can be created."));
	EXPECT_EQ(NULL, strchr(doctor.out, '\033'));
}

/* What some options want: here a program, there a file of a package that no host of the lab has. */
TEST(doctor_looks_at_what_options_want)
{
	struct command doctor;

	ASSERT_EQ(0, sh("mkdir bin && printf '#!/bin/sh\n' > bin/virtiofsd && chmod +x bin/virtiofsd"));
	command_run(&doctor, "PATH=$PATH:bin mote doctor");
	EXPECT_EQ(0, doctor.status);
	EXPECT_NE(NULL, strstr(doctor.out, "\n--share          ok       bin/virtiofsd\n")) {
		TH_LOG("%s", doctor.out);
	}
	sh("rm -r bin");
	command_run(&doctor, "mote doctor");
	EXPECT_EQ(0, doctor.status);
	EXPECT_NE(NULL, strstr(doctor.out, "\n--share          warn     "
			       "virtiofsd: No such file or directory\n"
			       "                          apt-get install qemu-system-common\n"));
	EXPECT_NE(NULL, strstr(doctor.out, "apt-get install seabios\n"));
}

TEST(doctor_as_json)
{
	struct json_object *root, *checks;
	struct command doctor;

	command_run(&doctor, "mote doctor --json");
	EXPECT_EQ(0, doctor.status);
	root = json_tokener_parse(doctor.out);
	ASSERT_NE(NULL, root);
	EXPECT_STREQ("true", member(root, "ok"));
	EXPECT_STREQ(mote_vendor_name(mote_cpuid_vendor()), member(root, "vendor"));
	ASSERT_TRUE(json_object_object_get_ex(root, "checks", &checks));
	ASSERT_LE(5, json_object_array_length(checks));
	for (size_t i = 0; i < json_object_array_length(checks); i++) {
		struct json_object *row = json_object_array_get_idx(checks, i);

		EXPECT_STRNE("", member(row, "check"));
		EXPECT_STRNE("", member(row, "found"));
		EXPECT_STRNE("problem", member(row, "state"));
	}
	json_object_put(root);
}

TEST(doctor_without_the_module)
{
	struct command doctor, info;

	ASSERT_EQ(0, unload_mote());
	command_run(&doctor, "mote doctor");
	command_run(&info, "mote info");
	ASSERT_EQ(0, sh("modprobe mote"));
	EXPECT_EQ(1, doctor.status);
	EXPECT_NE(NULL, strstr(doctor.out, "run `modprobe mote`")) TH_LOG("%s", doctor.out);
	EXPECT_EQ(1, info.status);
	EXPECT_STREQ("", info.out);
	EXPECT_NE(NULL, strstr(info.err, "run `modprobe mote`"));
}

TEST(doctor_without_permission)
{
	struct command doctor;

	command_run_as(&doctor, 65534, "mote doctor");
	EXPECT_EQ(1, doctor.status);
	EXPECT_NE(NULL, strstr(doctor.out, "you may not use it")) TH_LOG("%s", doctor.out);
}

/* Of the same source, but that its ABI has another number. */
TEST(a_module_of_another_abi)
{
	char line[128];
	struct command doctor, run, kvm;

	command_run(&doctor, "./other-abi doctor");
	EXPECT_EQ(1, doctor.status);
	snprintf(line, sizeof(line), "\nModule           problem  speaks ABI %d, this program ABI 4711\n"
		 "                          install both from the same source", MOTE_ABI_VERSION);
	EXPECT_NE(NULL, strstr(doctor.out, line)) TH_LOG("%s", doctor.out);
	EXPECT_NE(NULL, strstr(doctor.out, "\nVirtual machines cannot be created")) TH_LOG("%s", doctor.out);
	ASSERT_EQ(0, sh("truncate -s 512 sector"));
	command_run(&run, "./other-abi run --flat sector");
	unlink("sector");
	EXPECT_EQ(2, run.status);
	EXPECT_STREQ("", run.out);
	snprintf(line, sizeof(line), "mote: the module speaks ABI %d, this is of ABI 4711: "
		 "install both of one version\n", MOTE_ABI_VERSION);
	EXPECT_STREQ(line, run.err);
	command_run(&kvm, "./other-abi kvm -- bash");
	EXPECT_EQ(1, kvm.status);
	EXPECT_STREQ(line, kvm.err);
}

TEST(info_as_json_is_get_info)
{
	struct json_object *root, *features, *obstacles;
	struct command info;
	struct mote_info raw;
	int fd = mote_open();

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, mote_get_info(fd, &raw));
	close(fd);
	command_run(&info, "mote info --json");
	EXPECT_EQ(0, info.status);
	root = json_tokener_parse(info.out);
	ASSERT_NE(NULL, root);
	EXPECT_STREQ((const char *)raw.version, member(root, "version"));
	EXPECT_STREQ(mote_vendor_name(raw.vendor), member(root, "vendor"));
	EXPECT_EQ(raw.abi_version, number(root, "abi_version"));
	EXPECT_EQ(raw.cpus_online, number(root, "cpus_online"));
	EXPECT_EQ(raw.max_vcpus, number(root, "max_vcpus"));
	EXPECT_EQ(raw.gpa_bits, number(root, "gpa_bits"));
	EXPECT_EQ((long)raw.xcr0, number(root, "xcr0"));
	ASSERT_TRUE(json_object_object_get_ex(root, "obstacles", &obstacles));
	EXPECT_EQ(0, json_object_array_length(obstacles));
	ASSERT_TRUE(json_object_object_get_ex(root, "features", &features));
	EXPECT_EQ(MOTE_NR_FEATURES, json_object_object_length(features));
	for (unsigned int bit = 0; bit < MOTE_NR_FEATURES; bit++) {
		EXPECT_STREQ(raw.features >> bit & 1 ? "true" : "false",
			     member(features, mote_feature_name(bit)));
	}
	json_object_put(root);
}

/* This host twice, and once without a feature; what is printed is taken by mote run. */
TEST(a_cpu_that_hosts_have)
{
	static const char *const bad[] = {
		"--portable", "--portable /nosuchfile", "--portable none.json", "--portable odd.json",
		"--json --portable here.json",
	};
	struct command info, run;

	ASSERT_EQ(0, sh("mote info --json > here.json && sed '/\"pae\",/d' here.json > there.json && "
			"echo {} > none.json && sed 's/\"pae\"/\"a,b\"/' here.json > odd.json"));
	command_run(&info, "mote info --portable here.json here.json");
	EXPECT_EQ(0, info.status) TH_LOG("%s", info.err);
	EXPECT_EQ(0, strncmp(info.out, "+fpu,", 5));
	EXPECT_NE(NULL, strstr(info.out, ",+pae,"));
	EXPECT_EQ(NULL, strchr(info.out, '-'));
	command_run(&info, "mote info --portable here.json there.json");
	EXPECT_EQ(0, info.status) TH_LOG("%s", info.err);
	EXPECT_NE(NULL, strstr(info.out, ",-pae,"));
	EXPECT_EQ(NULL, strstr(info.out, "+pae"));
	info.out[strcspn(info.out, "\n")] = 0;
	/* xor %al, %al; mov $0xf4, %dx; out %al, %dx */
	ASSERT_EQ(0, sh("printf '\\060\\300\\272\\364\\000\\356' > code"));
	command_run(&run, "mote run --cpu %s --flat code", info.out);
	EXPECT_EQ(1, run.status) TH_LOG("%s", run.err);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		command_run(&info, "mote info %s", bad[i]);
		EXPECT_EQ(2, info.status) TH_LOG("%s", bad[i]);
		EXPECT_STREQ("", info.out);
		EXPECT_EQ(0, strncmp(info.err, "mote: ", 6));
		EXPECT_EQ(strlen(info.err) - 1, strcspn(info.err, "\n"));
	}
	sh("rm -f here.json there.json none.json odd.json code");
}

TEST(help_and_version)
{
	static const char *const lines[] = {
		"mote --help", "mote -h", "mote --version", "mote doctor --help", "mote info --help",
		"mote info",
	};
	struct command command;

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		command_run(&command, "%s", lines[i]);
		EXPECT_EQ(0, command.status) TH_LOG("%s", lines[i]);
		EXPECT_STRNE("", command.out);
		EXPECT_STREQ("", command.err);
	}
	command_run(&command, "mote --version");
	EXPECT_NE(NULL, strstr(command.out, MOTE_VERSION));
}

/* One line on stderr, nothing on stdout, status 2. */
TEST(wrong_usage)
{
	static const char *const lines[] = {
		"mote", "mote ''", "mote nosuchverb", "mote --nosuchoption", "mote -x",
		"mote doctor extra", "mote doctor --nosuch", "mote doctor -x", "mote info --json=1",
		"mote info --json extra", "mote attach web --disk disk.img", "mote detach web disk.img",
	};
	struct command command;

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		command_run(&command, "%s", lines[i]);
		EXPECT_EQ(2, command.status) TH_LOG("%s", lines[i]);
		EXPECT_STREQ("", command.out);
		EXPECT_EQ(0, strncmp(command.err, "mote: ", 6));
		EXPECT_EQ(strlen(command.err) - 1, strcspn(command.err, "\n"));
		EXPECT_NE(NULL, strstr(command.err, "--help"));
	}
}

TEST(output_that_cannot_be_written)
{
	struct command command;

	command_run(&command, "mote info > /dev/full");
	EXPECT_EQ(1, command.status);
	EXPECT_NE(NULL, strstr(command.err, "cannot write"));
}

MOTE_TEST_MAIN
