// SPDX-License-Identifier: GPL-2.0
/*
 * Policies of a running machine (docs/policy.md): the links of BPF programs that decide its exits.  What they
 * do is between the kernel and who has loaded them; here they are held, so that each ends with the machine.
 */
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "policies.h"
#include "runner.h"
#include "vm.h"

/**
 * struct policy - one of them
 * @name: of it, for removing it
 * @link: its file descriptor; closed, the program is not asked any more
 */
struct policy {
	char name[NAME_MOST + 1];
	int link;
};

/**
 * struct policies - those of a machine, in the order in which they are asked
 * @nr: how many
 * @policy: each
 */
struct policies {
	unsigned int nr;
	struct policy policy[POLICIES_MOST];
};

static struct policy *find(struct vm *vm, const char *name)
{
	for (unsigned int i = 0; vm->policies && i < vm->policies->nr; i++)
		if (!strcmp(vm->policies->policy[i].name, name))
			return &vm->policies->policy[i];
	return NULL;
}

const char *policies_add(struct vm *vm, const char *name, int link)
{
	struct policy *policy;

	if (!is_name(name))
		return "a policy's name has letters, digits, dots, dashes and underscores, at most 64";
	if (find(vm, name))
		return "the VM has a policy of that name (mote policy list)";
	if (!vm->policies)
		vm->policies = calloc(1, sizeof(*vm->policies));
	if (!vm->policies)
		return "the runner has no memory";
	if (vm->policies->nr == POLICIES_MOST)
		return "the VM has as many policies as there can be";
	policy = &vm->policies->policy[vm->policies->nr++];
	strcpy(policy->name, name);
	policy->link = link;
	return NULL;
}

const char *policies_remove(struct vm *vm, const char *name)
{
	struct policy *policy = find(vm, name), *last;

	if (!policy)
		return "the VM has no policy of that name (mote policy list)";
	close(policy->link);
	/* The others keep their order. */
	last = &vm->policies->policy[--vm->policies->nr];
	for (; policy < last; policy++)
		*policy = policy[1];
	return NULL;
}

struct json_object *policies_json(const struct vm *vm)
{
	struct json_object *names = json_object_new_array();

	for (unsigned int i = 0; vm->policies && i < vm->policies->nr; i++)
		json_object_array_add(names, json_object_new_string(vm->policies->policy[i].name));
	return names;
}

void policies_destroy(struct vm *vm)
{
	for (unsigned int i = 0; vm->policies && i < vm->policies->nr; i++)
		close(vm->policies->policy[i].link);
	free(vm->policies);
	vm->policies = NULL;
}
