// SPDX-License-Identifier: GPL-2.0
/* mote-trace, which `mote trace` and `mote policy` become: what needs libbpf. */
#include <string.h>

#include "runner.h"
#include "tool.h"

int main(int argc, char **argv)
{
	output_begin();
	return output_end(!strcmp(argv[0], "policy") ? policy_run(argc, argv) : trace_run(argc, argv));
}
