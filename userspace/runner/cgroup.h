/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The cgroup (v2) of a machine: its runner is in it, and the daemons of its devices, and nobody
 * else.  One that has none gets it below the root, or beside the group where its runner is; where
 * systemd runs it is a scope of systemd's, for which systemd is asked, as it is for all changes.
 */
#ifndef CGROUP_H
#define CGROUP_H

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/types.h>

#define CGROUPS "/sys/fs/cgroup"

/**
 * struct cgroup - a group
 * @path: below %CGROUPS, "/web" or "/"
 * @is_units: it is a unit's of systemd
 */
struct cgroup {
	char path[PATH_MAX];
	bool is_units;
};

/**
 * struct setting - what is set in a group
 * @option: in whose name
 * @controller: which the group has to have for it
 * @file: in the group
 * @value: what is written there
 * @property: the same as systemd has it, NAME=VALUE
 */
struct setting {
	const char *option;
	const char *controller;
	const char *file;
	char value[80];
	char property[PATH_MAX + 64];
};

/**
 * cgroup_find() - the group that a machine has of its own
 * @group: out
 * @runner: its process
 * Return: 1; 0 if its group has others in it, too; -1 after a complaint
 */
int cgroup_find(struct cgroup *group, pid_t runner);

/**
 * cgroup_make() - make a group for a machine that has none
 * @group: as cgroup_find() has left it
 * @name: the machine's
 * @runner: its process, with which all that it has started come into the group
 * @settings: what will be set
 * @nr: how many there are
 *
 * The group goes with the last process in it.
 * Return: 0, or -1 after a complaint, and there is no group.
 */
int cgroup_make(struct cgroup *group, const char *name, pid_t runner, const struct setting *settings,
		unsigned int nr);

/* Set these; 0, or -1 after a complaint. */
int cgroup_set(const struct cgroup *group, const struct setting *settings, unsigned int nr);

/* One of its files, to be read; NULL: it has none of that name. */
FILE *cgroup_open(const struct cgroup *group, const char *file);

#endif /* CGROUP_H */
