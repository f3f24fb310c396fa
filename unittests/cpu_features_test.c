// SPDX-License-Identifier: GPL-2.0
/* CPU features by name: all that libmote shows to a guest can be hidden, and is found again by its name. */
#include "../userspace/libmote/cpuid.c"

#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

#include "complaints.h"
#include "vm.h"

#define ROWS_MOST 64

static struct mote_cpuid_entry rows[ROWS_MOST], nothing[1];
static unsigned int nr;

/* Of a CPU that has everything. */
static void cpuid_all(__u32 leaf, __u32 subleaf, __u32 regs[4])
{
	memset(regs, 0xff, 4 * sizeof(regs[0]));
	regs[EAX] &= leaf == 4 && subleaf > 2 ? ~0x1fu : ~0u;
}

static struct json_object *show_everything(void)
{
	static const struct mote_info info = {
		.xcr0 = ~0ull, .cr4 = ~0u, .efer = ~0u, .gpa_bits = 48, .gva_bits = 48,
	};

	nr = make_table(rows, ROWS_MOST, &info, cpuid_all);
	return cpu_features_names(rows, nr);
}

static void each_has_a_name(void)
{
	struct json_object *names = show_everything();
	struct cpu_features features = { 0 };
	char name[FEATURE_NAME_MOST];

	CHECK(json_object_array_length(names) > 100);
	CHECK(cpu_features_missing(rows, nr, nothing, 1, name));
	for (size_t i = 0; i < json_object_array_length(names); i++) {
		struct json_object *one = json_object_array_get_idx(names, i);

		snprintf(name, sizeof(name), "-%s", json_object_get_string(one));
		CHECK(!cpu_features_parse("names", name, &features));
	}
	CHECK(!cpu_features_apply(&features, rows, nr));
	CHECK(!cpu_features_missing(rows, nr, nothing, 1, name));
	json_object_put(names);
	names = cpu_features_names(rows, nr);
	EQ(0, json_object_array_length(names));
	json_object_put(names);
	EQ(0, nr_complaints);
}

int main(void)
{
	static const struct unit_test tests[] = {
		{ "each feature that is shown has a name", each_has_a_name },
	};

	return run_all(tests, ARRAY_SIZE(tests));
}
