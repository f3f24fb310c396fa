// SPDX-License-Identifier: GPL-2.0
/*
 * The status of a keyboard controller at which nobody types: boot loaders look at it for as long as they
 * wait.  The first looks behind each access to it are the runner's, which has answers for its commands.
 */
#include <policy.bpf.h>

#define DATA 0x60
#define STATUS 0x64 /* reads; writes are commands */
#define IDLE 0x14 /* nothing to read, and has passed its test (8042 data sheet, "Status Register") */
#define WAS_COMMAND 0x08
#define LOOKS 16

static __u32 looks = LOOKS;
static __u8 was_command;

MOTE_POLICY(keyboard)
{
	if (exit->kind != MOTE_FILTER_PORT || (exit->number != DATA && exit->number != STATUS))
		return 0;
	if (exit->number == DATA || exit->access == MOTE_ACCESS_WRITE || exit->size != 1 || exit->flags) {
		looks = LOOKS;
		if (exit->access == MOTE_ACCESS_WRITE)
			was_command = exit->number == STATUS ? WAS_COMMAND : 0;
	} else if (looks) {
		looks--;
	} else {
		exit->gpr[MOTE_RAX] = (exit->gpr[MOTE_RAX] & ~0xffull) | IDLE | was_command;
		exit->action = MOTE_POLICY_COMPLETE;
	}
	return 0;
}

char _license[] SEC("license") = "GPL";
