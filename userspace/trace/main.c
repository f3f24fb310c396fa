// SPDX-License-Identifier: GPL-2.0
/* mote-trace, which `mote trace`, `mote policy` and `mote watch` become: what needs libbpf or libelf. */
#include <string.h>

#include "runner.h"
#include "tool.h"

int main(int argc, char **argv)
{
	output_begin();
	if (!strcmp(argv[0], "policy"))
		return output_end(policy_run(argc, argv));
	if (!strcmp(argv[0], "watch"))
		return output_end(watch_run(argc, argv));
	return output_end(trace_run(argc, argv));
}
