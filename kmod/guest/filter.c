// SPDX-License-Identifier: GPL-2.0
/*
 * Filters: what user space wants done about ports, MSRs, CPUID leaves and
 * hypercalls.  Pure functions over an array of rules that ascends.
 */
#include <linux/errno.h>

#include "guest.h"

#define BOTH (MOTE_FILTER_READ | MOTE_FILTER_WRITE)

static bool filter_is_rule(u32 kind, const struct mote_filter_rule *rule)
{
	if (rule->first > rule->last || rule->action > MOTE_FILTER_FORWARD || !rule->access ||
	    rule->access & ~BOTH)
		return false;
	/* Only ports and MSRs can be read and written. */
	return kind == MOTE_FILTER_PORT ? rule->last <= 0xffff :
					  kind == MOTE_FILTER_MSR || rule->access == BOTH;
}

int mote_filter_check(u32 kind, const struct mote_filter_rule *rules, u32 nr)
{
	u32 i;

	if (kind >= MOTE_NR_FILTERS || nr > MOTE_MAX_RULES)
		return -EINVAL;
	for (i = 0; i < nr; i++)
		if (!filter_is_rule(kind, &rules[i]) || (i && rules[i].first <= rules[i - 1].last))
			return -EINVAL;
	return 0;
}

u32 mote_filter_find(const struct mote_filter_rule *rules, u32 nr, u32 number, u32 access)
{
	if (!nr)
		return MOTE_FILTER_DEFAULT;
	/* The last rule that starts at or before the number. */
	for (; nr > 1; nr -= nr / 2)
		if (rules[nr / 2].first <= number)
			rules += nr / 2;
	if (number < rules->first || number > rules->last || !(rules->access & access))
		return MOTE_FILTER_DEFAULT;
	return rules->action;
}
