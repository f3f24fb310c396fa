// SPDX-License-Identifier: GPL-2.0
/* mote-trace, which `mote trace` becomes. */
#include "runner.h"
#include "tool.h"

int main(int argc, char **argv)
{
	output_begin();
	return output_end(trace_run(argc, argv));
}
