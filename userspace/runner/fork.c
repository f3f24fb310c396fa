// SPDX-License-Identifier: GPL-2.0
/*
 * mote fork: a machine that runs is copied as if it were migrated, into a file of which its copies
 * have private mappings.
 */
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client.h"
#include "migrate.h"
#include "runner.h"

const char fork_usage[] =
	"usage: mote fork [OPTION]... NAME\n"
	"\n"
	"Makes copies of a VM that runs, in the background, and prints their names. They begin where it\n"
	"was at one moment, for which it stands still, and share the memory that they do not write.\n"
	"What it and they do from then on is their own: their network cards and UUIDs are new, and\n"
	"disks have to be read only (--disk FILE,ro), or theirs (--disks). NAME is the whole name.\n"
	"\n"
	"  --count N      so many, from 1 to 256 (1)\n"
	"  --same         their network cards have the addresses of the VM's\n"
	"  --disks DIR    disks that it writes to are copied to DIR, which is made, by a file system\n"
	"                 that can share their blocks (btrfs, XFS)\n"
	"  --paused       they do not go on before mote resume\n"
	"  --name NAME    of the first one; as the VM, unless given; others have a number behind it\n"
	"  --serial WHAT  socket (mote console) or none\n"
	"  --timeout S    end them after so many seconds\n"
	"  --sandbox WHAT on or off, as for mote run\n"
	"  --json         print their names as JSON\n"
	"  --help         this text\n"
	"\n"
	"Exit status: 0; 1 there are no copies, as one cannot run; 2 no such VM, or it cannot be copied.\n";

/* The guest may stand still for so long, as far as that can be foreseen. */
#define DOWNTIME_MS 100

/* The machine's own word for why not comes last, and is the one that is said. */
struct json_object *copy_machine(int fd, struct snapshot *snapshot,
				 int (*meanwhile)(const struct snapshot *snapshot, void *data,
						  char why[DISKS_WHY]), void *data)
{
	struct json_object *arguments = json_object_new_object();
	char why[WIRE_TEXT_MOST];
	int ends[2];
	bool sent;

	json_object_object_add(arguments, "downtime_ms", json_object_new_uint64(DOWNTIME_MS));
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends)) {
		complain("cannot copy the VM: %m");
		json_object_put(arguments);
		return NULL;
	}
	client_is_patient(fd);
	sent = client_send(fd, "copy", arguments, &ends[1], 1);
	close(ends[1]);
	if (!sent) {
		complain("the VM has ended, or does not answer");
		close(ends[0]);
		return NULL;
	}
	if (!receive_machine(snapshot, ends[0], why)) {
		if (meanwhile && meanwhile(snapshot, data, why))
			receive_refuse(snapshot, why);
		else
			receive_copy(snapshot);
	}
	return client_hear(fd);
}

/**
 * struct copies - of a machine's own disks, which are to be made
 * @disks: where; NULL: none are
 * @nr: for so many copies of the machine
 */
struct copies {
	const struct disk_set *disks;
	unsigned int nr;
};

struct disk_set copy_disks(const struct disk_set *disks, unsigned int number)
{
	struct disk_set set = *disks;

	snprintf(set.end, sizeof(set.end), "-%u", number);
	return set;
}

static int copy_all_disks(const struct snapshot *snapshot, void *data, char why[DISKS_WHY])
{
	const struct copies *copies = data;
	int err = 0;

	for (unsigned int i = 1; i <= copies->nr && copies->disks && !err; i++) {
		const struct disk_set set = copy_disks(copies->disks, i);

		err = disks_copy_of(snapshot, &set, true, why);
	}
	return err;
}

int copy_open(struct snapshot *snapshot, const char *name, const struct disk_set *disks, unsigned int nr)
{
	struct copies copies = { .disks = disks, .nr = nr };
	char found[NAME_MOST + 1];
	int fd = client_open(name, true, found);
	struct json_object *answer;

	*snapshot = SNAPSHOT_NONE;
	answer = fd < 0 ? NULL : copy_machine(fd, snapshot, copy_all_disks, &copies);
	json_object_put(answer);
	if (fd >= 0)
		close(fd);
	return answer ? 0 : -1;
}

void copies_leave_terminal(struct options *options)
{
	options->detach = true;
	if (core_path(options))
		options->on_panic = "end";
	if (options->serial && !strcmp(options->serial, "stdio"))
		options->serial = NULL;
	if (options->nr_consoles && !strcmp(options->consoles[0], "stdio"))
		options->consoles[0] = "socket";
}

static void report(struct json_object *names, const char *parent, bool json)
{
	struct json_object *root = json_object_new_object();

	for (size_t i = 0; !json && i < json_object_array_length(names); i++)
		printf("%s\n", json_object_get_string(json_object_array_get_idx(names, i)));
	json_object_object_add(root, "name", json_object_new_string(parent));
	json_object_object_add(root, "copies", names);
	if (json)
		print_json(json_object_get(root));
	json_object_put(root);
}

int copies_run(struct options *options, const char *parent, unsigned int nr, const char *directory,
	       const struct disk_set *disks)
{
	struct json_object *names = json_object_new_array();
	char name[NAME_MOST + 1];
	int status = EXIT_OK;

	/* Of several only the first one can have just that name. */
	options->is_named &= nr == 1;
	for (unsigned int i = 0; i < nr && status == EXIT_OK; i++) {
		const struct disk_set own = copy_disks(disks, i + 1);

		if (directory)
			disks_use(options, directory, &own);
		status = detach_run(options, name);
		if (status == EXIT_OK)
			json_object_array_add(names, json_object_new_string(name));
	}
	if (status == EXIT_OK) {
		report(names, parent, options->json);
		return EXIT_OK;
	}
	for (size_t i = 0; i < json_object_array_length(names); i++)
		client_tell(json_object_get_string(json_object_array_get_idx(names, i)), "kill", NULL);
	json_object_put(names);
	return EXIT_PROBLEM;
}
