// SPDX-License-Identifier: GPL-2.0
/* mote info: what the processor and the module offer, as the module sees it. */
#include <errno.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "libmote.h"
#include "runner.h"

const char info_usage[] =
	"usage: mote info [--json]\n"
	"\n"
	"Shows what the processor and the module offer to virtual machines.\n"
	"\n"
	"  --json  the same as JSON\n"
	"  --help  this text\n"
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
};

/* The numbers of struct mote_info that are shown as they are. */
struct number {
	const char *key;
	const char *label;
	uint64_t value;
};

#define NR_NUMBERS 11

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

static void print_info_json(const struct mote_info *info)
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
	json_object_object_add(root, "obstacles", obstacles_json(info));
	print_json(root);
}

static int ask(struct mote_info *info)
{
	int fd = mote_open();
	int err = fd < 0 ? fd : mote_get_info(fd, info);

	if (fd >= 0)
		close(fd);
	if (err == -ENOENT || err == -ENODEV)
		complain("there is no " MOTE_DEVICE ": run `modprobe mote` (mote doctor says more)");
	else if (err)
		complain("cannot use " MOTE_DEVICE ": %s (mote doctor says more)", strerror(-err));
	return err;
}

int info_run(const struct verb *verb, int argc, char **argv)
{
	struct mote_info info;
	bool json = false;
	int status = parse_json_only(verb, argc, argv, &json);

	if (status >= 0)
		return status;
	if (ask(&info))
		return EXIT_PROBLEM;
	if (json)
		print_info_json(&info);
	else
		print_table(&info);
	return EXIT_OK;
}
