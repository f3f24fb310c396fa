// SPDX-License-Identifier: GPL-2.0
/* mote info: what the processor and the module offer, as the module sees it. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "libmote.h"
#include "options.h"
#include "runner.h"
#include "vm.h"

const char info_usage[] =
	"usage: mote info [--json]\n"
	"       mote info --portable FILE...\n"
	"\n"
	"Shows what the processor and the module offer to virtual machines.\n"
	"\n"
	"  --json      the same as JSON\n"
	"  --portable  print for mote run --cpu what lets a machine move between this host and those\n"
	"              whose mote info --json is in FILEs: it is told of features that all of them have\n"
	"  --help      this text\n"
	"\n"
	"Exit status: 0, or 1 if the module cannot be asked, or 2 if the command was\n"
	"used wrongly.\n";

static const char *const feature_help[MOTE_NR_FEATURES] = {
	[MOTE_FEATURE_NPT] = "nested paging (needed)",
	[MOTE_FEATURE_UNRESTRICTED] = "real mode runs natively (needed)",
	[MOTE_FEATURE_ASID] = "tagged TLB",
	[MOTE_FEATURE_NRIP] = "lengths of intercepted instructions",
	[MOTE_FEATURE_DECODE_ASSISTS] = "bytes of faulting instructions",
	[MOTE_FEATURE_FLUSH_BY_ASID] = "TLB flush of one guest alone",
	[MOTE_FEATURE_NPT_2M] = "nested pages of 2 MiB",
	[MOTE_FEATURE_NPT_1G] = "nested pages of 1 GiB",
	[MOTE_FEATURE_NPT_AD] = "accessed and dirty bits in nested pages",
	[MOTE_FEATURE_TSC_SCALING] = "a TSC frequency of the guest's own",
	[MOTE_FEATURE_PREEMPTION_TIMER] = "VMX-preemption timer",
	[MOTE_FEATURE_TPR_SHADOW] = "CR8 without exits",
	[MOTE_FEATURE_VNMI] = "NMI blocking tracked in hardware",
	[MOTE_FEATURE_VGIF] = "virtual global interrupt flag",
	[MOTE_FEATURE_PAUSE_FILTER] = "exits from pause loops",
	[MOTE_FEATURE_CLEAN_BITS] = "cached guest state",
	[MOTE_FEATURE_XSAVE] = "XSAVE for guests",
	[MOTE_FEATURE_PML] = "dirty logs written by the processor",
};

/* The numbers of struct mote_info that are shown as they are. */
struct number {
	const char *key;
	const char *label;
	uint64_t value;
};

#define NR_NUMBERS 11
#define CPU_FEATURES "cpu_features"
#define HOSTS_MOST 64

static void collect_numbers(const struct mote_info *info, struct number numbers[NR_NUMBERS])
{
	const struct number all[NR_NUMBERS] = {
		{ "abi_version", "ABI", info->abi_version },
		{ "cpus_online", "CPUs", info->cpus_online },
		{ "tsc_khz", "TSC, kHz", info->tsc_khz },
		{ "gpa_bits", "Guest-physical bits", info->gpa_bits },
		{ "nr_asids", "TLB tags", info->nr_asids },
		{ "max_vms", "VMs at most", info->max_vms },
		{ "nr_vms", "VMs now", info->nr_vms },
		{ "max_vcpus", "vCPUs in a VM", info->max_vcpus },
		{ "max_slots", "Memory slots in a VM", info->max_slots },
		{ "revision", "Revision", info->revision },
		{ "nr_obstacles", "Obstacles", info->nr_obstacles },
	};

	memcpy(numbers, all, sizeof(all));
}

static bool has_feature(const struct mote_info *info, unsigned int bit)
{
	return info->features >> bit & 1;
}

static void print_text(const char *label, const char *value)
{
	paint(PLAIN, 24, label);
	puts(value);
}

/* Family and model as the manuals count them: extended fields added (CPUID leaf 1, EAX). */
static void describe_cpu(char *text, size_t size, uint32_t signature)
{
	uint32_t family = signature >> 8 & 0xf, model = signature >> 4 & 0xf;

	if (family == 6 || family == 15)
		model |= signature >> 12 & 0xf0;
	if (family == 15)
		family += signature >> 20 & 0xff;
	snprintf(text, size, "family 0x%x, model 0x%x, stepping %u", family, model,
		 signature & 0xf);
}

static void print_table(const struct mote_info *info)
{
	struct number numbers[NR_NUMBERS];
	char text[64];

	print_text("Module", (const char *)info->version);
	print_text("Extension", mote_vendor_name(info->vendor));
	describe_cpu(text, sizeof(text), info->cpu_signature);
	print_text("Processor", text);
	collect_numbers(info, numbers);
	for (size_t i = 0; i < NR_NUMBERS; i++) {
		snprintf(text, sizeof(text), "%" PRIu64, numbers[i].value);
		print_text(numbers[i].label, text);
	}
	snprintf(text, sizeof(text), "0x%" PRIx64, (uint64_t)info->xcr0);
	print_text("XCR0 of guests", text);

	putchar('\n');
	for (unsigned int bit = 0; bit < MOTE_NR_FEATURES; bit++) {
		bool has = has_feature(info, bit);

		paint(PLAIN, 18, mote_feature_name(bit));
		paint(has ? GREEN : PLAIN, 6, has ? "yes" : "no");
		puts(feature_help[bit] ? feature_help[bit] : "");
	}
}

static struct json_object *obstacles_json(const struct mote_info *info)
{
	struct json_object *list = json_object_new_array();

	for (unsigned int i = 0; i < info->nr_obstacles && i < MOTE_MAX_OBSTACLES; i++) {
		const struct mote_obstacle *obstacle = &info->obstacles[i];
		struct json_object *row = json_object_new_object();

		json_object_object_add(row, "code",
				       json_object_new_string(mote_obstacle_name(obstacle->code)));
		json_object_object_add(row, "cpu", json_object_new_uint64(obstacle->cpu));
		json_object_object_add(row, "cpus", json_object_new_uint64(obstacle->cpus));
		json_object_object_add(row, "detail", json_object_new_uint64(obstacle->detail));
		json_object_array_add(list, row);
	}
	return list;
}

static void print_info_json(const struct mote_info *info, struct json_object *cpu_features)
{
	struct json_object *root = json_object_new_object();
	struct json_object *features = json_object_new_object();
	struct number numbers[NR_NUMBERS];

	json_object_object_add(root, "version",
			       json_object_new_string((const char *)info->version));
	json_object_object_add(root, "vendor",
			       json_object_new_string(mote_vendor_name(info->vendor)));
	collect_numbers(info, numbers);
	for (size_t i = 0; i < NR_NUMBERS; i++)
		json_object_object_add(root, numbers[i].key,
				       json_object_new_uint64(numbers[i].value));
	json_object_object_add(root, "cpu_signature", json_object_new_uint64(info->cpu_signature));
	json_object_object_add(root, "xcr0", json_object_new_uint64(info->xcr0));
	for (unsigned int bit = 0; bit < MOTE_NR_FEATURES; bit++)
		json_object_object_add(features, mote_feature_name(bit),
				       json_object_new_boolean(has_feature(info, bit)));
	json_object_object_add(root, "features", features);
	json_object_object_add(root, CPU_FEATURES, json_object_get(cpu_features));
	json_object_object_add(root, "obstacles", obstacles_json(info));
	print_json(root);
}

/* ---- a CPU that several hosts have ----------------------------------------------------- */

static bool has_name(struct json_object *names, const char *name)
{
	for (size_t i = 0; i < json_object_array_length(names); i++)
		if (!strcmp(name, json_object_get_string(json_object_array_get_idx(names, i))))
			return true;
	return false;
}

/* What --cpu would not take is not printed for it. */
static bool is_known(struct json_object *value)
{
	struct cpu_features features = { 0 };
	char wish[FEATURE_NAME_MOST + 1];

	return json_object_is_type(value, json_type_string) &&
	       snprintf(wish, sizeof(wish), "+%s", json_object_get_string(value)) < (int)sizeof(wish) &&
	       !strchr(wish, ',') && !cpu_features_parse("mote info", wish, &features);
}

/* A host's names; NULL after a complaint. */
static struct json_object *names_of(const char *path)
{
	struct json_object *root = object_read(path), *names = NULL;

	if (root && !(json_object_object_get_ex(root, CPU_FEATURES, &names) &&
		      json_object_is_type(names, json_type_array))) {
		complain("%s: no " CPU_FEATURES ": not by mote info --json of this version", path);
		names = NULL;
	}
	for (size_t i = 0; names && i < json_object_array_length(names); i++)
		if (!is_known(json_object_array_get_idx(names, i))) {
			complain("%s: " CPU_FEATURES ": one is none that this version knows", path);
			names = NULL;
		}
	json_object_get(names);
	json_object_put(root);
	return names;
}

/* The same whichever of the hosts prints it, but for the order. */
static void print_portable(struct json_object *const *hosts, unsigned int nr)
{
	struct json_object *said = json_object_new_array();

	for (unsigned int i = 0; i < nr; i++)
		for (size_t j = 0; j < json_object_array_length(hosts[i]); j++) {
			struct json_object *name = json_object_array_get_idx(hosts[i], j);
			bool all_have = true;

			if (has_name(said, json_object_get_string(name)))
				continue;
			for (unsigned int k = 0; k < nr; k++)
				all_have &= has_name(hosts[k], json_object_get_string(name));
			printf("%s%c%s", json_object_array_length(said) ? "," : "", all_have ? '+' : '-',
			       json_object_get_string(name));
			json_object_array_add(said, json_object_get(name));
		}
	putchar('\n');
	json_object_put(said);
}

/* @here and the hosts of @nr files. */
static int portable(struct json_object *here, char **files, unsigned int nr)
{
	struct json_object *hosts[HOSTS_MOST + 1] = { here };
	unsigned int got = 1;

	while (got <= nr && (hosts[got] = names_of(files[got - 1])))
		got++;
	if (got > nr)
		print_portable(hosts, got);
	for (unsigned int i = 1; i < got; i++)
		json_object_put(hosts[i]);
	return got > nr ? EXIT_OK : EXIT_USAGE;
}

/* ---- all of it --------------------------------------------------------------------------- */

static int ask(struct mote_info *info, struct mote_cpuid_table *cpuid)
{
	int fd = mote_open();
	int err = fd < 0 ? fd : mote_get_info(fd, info);

	if (!err)
		err = mote_get_cpuid(fd, cpuid);
	if (fd >= 0)
		close(fd);
	if (err == -ENOENT || err == -ENODEV)
		complain("there is no " MOTE_DEVICE ": run `modprobe mote` (mote doctor says more)");
	else if (err)
		complain("cannot use " MOTE_DEVICE ": %s (mote doctor says more)", strerror(-err));
	return err;
}

enum { JSON = 1 << 0, PORTABLE = 1 << 1 };

/* -1: they are as many as --portable takes; else the exit status. */
static int check_files(unsigned int said, char **files, int nr)
{
	if (said & PORTABLE && (said & JSON || nr < 1 || nr > HOSTS_MOST))
		complain("info --portable takes 1 to %d files (try mote info --help)", HOSTS_MOST);
	else if (!(said & PORTABLE) && nr)
		complain("info takes no argument: %s (try mote info --help)", files[0]);
	else
		return -1;
	return EXIT_USAGE;
}

int info_run(const struct verb *verb, int argc, char **argv)
{
	static const struct option options[] = {
		{ "json", no_argument, NULL, 'j' }, { "portable", no_argument, NULL, 'p' },
		{ "help", no_argument, NULL, 'h' }, { 0 },
	};
	struct mote_cpuid_entry rows[MOTE_MAX_CPUID];
	struct mote_cpuid_table cpuid = { .nr = MOTE_MAX_CPUID, .entries = (unsigned long)rows };
	unsigned int said = 0;
	int status = parse_flags(verb, argc, argv, options, true, &said);
	struct json_object *names;
	struct mote_info info;

	if (status < 0)
		status = check_files(said, argv + optind, argc - optind);
	if (status >= 0)
		return status;
	if (ask(&info, &cpuid))
		return EXIT_PROBLEM;
	names = cpu_features_names(rows, cpuid.nr);
	status = EXIT_OK;
	if (said & PORTABLE)
		status = portable(names, argv + optind, argc - optind);
	else if (said & JSON)
		print_info_json(&info, names);
	else
		print_table(&info);
	json_object_put(names);
	return status;
}
