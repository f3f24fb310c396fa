// SPDX-License-Identifier: GPL-2.0
/*
 * Disks whose images are not raw, or not here: qemu-storage-daemon, which is started for each, knows the
 * formats and NBD, and serves the disk by NBD (nbd_client.c) at a socket that nobody else can reach.  What
 * the format says of other files, as a qcow2 overlay of its base, is opened by it, too.
 *
 * The format is what the owner says or the file is called, never what the file looks like alone: a
 * guest could have written that to a raw disk, with the name of any file of the host's in it.
 */
#include <json-c/json.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "disk.h"
#include "keep.h"
#include "nbd.h"
#include "runner.h"

#define KEPT "disk server"
#define KEY "key"
#define FORMAT_LUKS "luks"
/* For so long, in seconds, requests wait for an NBD server that has gone. */
#define RECONNECT_S 60

#define EXPORT "nbd,id=guest,node-name=" NBD_NAME ",writable="

static void add_text(struct json_object *object, const char *key, const char *text)
{
	json_object_object_add(object, key, json_object_new_string(text));
}

static struct json_object *describe_server(const struct nbd *nbd)
{
	struct json_object *file = json_object_new_object(), *server = json_object_new_object();

	add_text(server, "type", nbd->is_unix ? "unix" : "inet");
	add_text(server, nbd->is_unix ? "path" : "host", nbd->host);
	if (!nbd->is_unix)
		add_text(server, "port", nbd->port);
	add_text(file, "driver", "nbd");
	add_text(file, "export", nbd->export);
	json_object_object_add(file, "reconnect-delay", json_object_new_int(RECONNECT_S));
	json_object_object_add(file, "server", server);
	return file;
}

static struct json_object *describe_file(const struct disk *disk)
{
	struct json_object *file;
	struct nbd nbd;

	if (nbd_parse(disk->path, &nbd))
		return describe_server(&nbd);
	file = json_object_new_object();
	add_text(file, "driver", "file");
	add_text(file, "filename", disk->path);
	return file;
}

static struct json_object *describe_image(const struct disk *disk)
{
	struct json_object *node = json_object_new_object(), *encrypt;

	add_text(node, "driver", disk->format);
	add_text(node, "node-name", NBD_NAME);
	add_text(node, "discard", "unmap");
	json_object_object_add(node, "read-only", json_object_new_boolean(disk->readonly));
	json_object_object_add(node, "file", describe_file(disk));
	if (!disk->key)
		return node;
	encrypt = node;
	if (strcmp(disk->format, FORMAT_LUKS)) {
		encrypt = json_object_new_object();
		add_text(encrypt, "format", FORMAT_LUKS);
		json_object_object_add(node, "encrypt", encrypt);
	}
	add_text(encrypt, "key-secret", KEY);
	return node;
}

/* The file's bytes, all of them. */
static struct json_object *describe_key(const char *path)
{
	struct json_object *key = json_object_new_object();

	add_text(key, "qom-type", "secret");
	add_text(key, "id", KEY);
	add_text(key, "file", path);
	return key;
}

static int start_daemon(struct vm *vm, struct image_file *image, const struct disk *disk)
{
	struct json_object *node = describe_image(disk), *key = disk->key ? describe_key(disk->key) : NULL;
	char server[32];
	const struct { char *option; const char *value; } options[] = {
		{ "--object", key ? json_object_to_json_string(key) : NULL },
		{ "--blockdev", json_object_to_json_string(node) },
		{ "--nbd-server", server },
		{ "--export", disk->readonly ? EXPORT "off" : EXPORT "on" },
	};
	char *arguments[2 + 2 * ARRAY_SIZE(options)] = { "qemu-storage-daemon" };
	unsigned int nr = 1;

	snprintf(server, sizeof(server), "addr.type=fd,addr.str=%d", DAEMON_SOCKET);
	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		if (!options[i].value)
			continue;
		arguments[nr++] = options[i].option;
		arguments[nr++] = (char *)options[i].value;
	}
	image->daemon = (struct daemon) { .is_patient = true };
	image->fd = daemon_start(vm, &image->daemon, disk->path, daemon_for_disks, "qemu-system-common",
				 arguments);
	json_object_put(node);
	json_object_put(key);
	return image->fd < 0 ? -1 : 0;
}

/* Has it said why? */
static bool end(struct image_file *image)
{
	close(image->fd);
	image->fd = -1;
	return daemon_end(&image->daemon);
}

static void end_kept(void *thing)
{
	end(thing);
}

/* What is not raw says so by its first bytes, if it is here. */
static int start(struct vm *vm, struct image_file *image, const struct disk *disk)
{
	if (!nbd_is_address(disk->path) && disk_check_format(disk))
		return -1;
	if (start_daemon(vm, image, disk))
		return -1;
	if (!nbd_agree(image->fd, disk->readonly, &image->size)) {
		if (!end(image))
			complain("the disk %s: qemu-storage-daemon does not serve it", disk->path);
		return -1;
	}
	image->sector = disk->sector ? disk->sector : SECTOR;
	image->size -= image->size % image->sector;
	if (image->size)
		return 0;
	complain("the disk %s has no room: a sector has %u bytes", disk->path, image->sector);
	end(image);
	return -1;
}

int disk_server_open(struct vm *vm, struct image_file *image, const struct disk *disk)
{
	struct pollfd connection = { .events = POLLIN };

	if (!keep_take(KEPT, disk->path, image, sizeof(*image)))
		return start(vm, image, disk);
	/* Nothing has been asked for: what can be read is the end. */
	connection.fd = image->fd;
	daemon_hear(vm, &image->daemon);
	if (!poll(&connection, 1, 0))
		return 0;
	complain("the disk %s: qemu-storage-daemon has ended, which a machine that begins again does not "
		 "start", disk->path);
	end(image);
	return -1;
}

void disk_server_close(struct image_file *image, const struct disk *disk)
{
	daemon_leave(&image->daemon);
	keep(KEPT, disk->path, image, sizeof(*image), end_kept);
	image->fd = -1;
}
