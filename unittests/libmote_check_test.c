// SPDX-License-Identifier: GPL-2.0
/* mote_check_text(), mote_check_section(): every check has both. */
#include <stdio.h>
#include <string.h>

#include "libmote.h"

int main(void)
{
	unsigned int check, bad = 0;

	printf("TAP version 13\n1..1\n");
	for (check = MOTE_CHECK_NONE; check <= MOTE_NR_CHECKS; check++) {
		const char *text = mote_check_text(check), *section = mote_check_section(check);

		if (!text || strlen(text) < 8 || !section ||
		    (check > MOTE_CHECK_NO_MEMORY && check < MOTE_NR_CHECKS && strlen(section) < 8)) {
			printf("# check %u\n", check);
			bad++;
		}
	}
	printf("%s 1 - every check in words\n", bad ? "not ok" : "ok");
	return !!bad;
}
