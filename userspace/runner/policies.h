/* SPDX-License-Identifier: GPL-2.0 */
/* The policies of a running machine: BPF programs that decide its exits.  The supervisor's alone. */
#ifndef POLICIES_H
#define POLICIES_H

struct json_object;
struct vm;

#define POLICIES_MOST 16

/**
 * policies_add() - hold one until the machine ends
 * @vm: of it
 * @name: for removing it
 * @link: of a BPF program; taken if it is added
 * Return: NULL, or why not
 */
const char *policies_add(struct vm *vm, const char *name, int link);
/* Let one go; NULL, or why not. */
const char *policies_remove(struct vm *vm, const char *name);
/* Their names, in the order in which they are asked. */
struct json_object *policies_json(const struct vm *vm);
void policies_destroy(struct vm *vm);

#endif /* POLICIES_H */
