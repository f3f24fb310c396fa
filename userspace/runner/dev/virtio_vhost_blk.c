// SPDX-License-Identifier: GPL-2.0
/*
 * Virtio block devices whose images are not raw, or not here: qemu-storage-daemon, which is started
 * for each, knows the formats and NBD, and serves the queue.  VIRTIO 1.2, "Block Device".  What the
 * format says of other files, as a qcow2 overlay of its base, is opened by it, too.
 *
 * The format is what the owner says or the file is called, never what the file looks like alone: a
 * guest could have written that to a raw disk, with the name of any file of the host's in it.
 */
#include <json-c/json.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_ids.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon.h"
#include "disk.h"
#include "nbd.h"
#include "runner.h"
#include "vhost.h"

#define NODE "disk"
#define KEY "key"
#define FORMAT_LUKS "luks"
/* For so long, in seconds, requests wait for an NBD server that has gone. */
#define RECONNECT_S 60
/* As far as the daemon's is known here. */
#define CONFIG_SIZE 60

#define FEATURE(name) (1ull << VIRTIO_BLK_F_##name)
#define FEATURES (FEATURE(SEG_MAX) | FEATURE(RO) | FEATURE(BLK_SIZE) | FEATURE(FLUSH) |	\
		  FEATURE(TOPOLOGY) | FEATURE(DISCARD) | FEATURE(WRITE_ZEROES) | VHOST_FEATURES)

struct vhost_blk {
	struct virtio virtio;
	struct virtio_blk_config config;
	struct vhost_user user;
};

static struct vhost_blk *blk_of(struct virtio *virtio)
{
	return container_of(virtio, struct vhost_blk, virtio);
}

static int blk_start(struct virtio *virtio)
{
	return vhost_user_start(&blk_of(virtio)->user);
}

static bool blk_reset(struct virtio *virtio)
{
	return vhost_user_stop(&blk_of(virtio)->user);
}

static void blk_destroy(struct virtio *virtio)
{
	struct vhost_blk *blk = blk_of(virtio);

	vhost_user_destroy(&blk->user);
	free(blk);
}

static const struct virtio_ops ops = {
	.name = "virtio-blk", .id = VIRTIO_ID_BLOCK, .class = 0x010000, .nr_queues = 1,
	.start = blk_start, .reset = blk_reset, .destroy = blk_destroy,
};

/* ---- the daemon ---------------------------------------------------------------------- */

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
	add_text(node, "node-name", NODE);
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

static struct json_object *describe_export(const struct disk *disk)
{
	struct json_object *export = json_object_new_object(), *socket = json_object_new_object();
	char fd[12];

	snprintf(fd, sizeof(fd), "%d", DAEMON_SOCKET);
	add_text(socket, "type", "fd");
	add_text(socket, "str", fd);
	add_text(export, "type", "vhost-user-blk");
	add_text(export, "id", "guest");
	add_text(export, "node-name", NODE);
	json_object_object_add(export, "writable", json_object_new_boolean(!disk->readonly));
	if (disk->sector)
		json_object_object_add(export, "logical-block-size", json_object_new_int(disk->sector));
	json_object_object_add(export, "addr", socket);
	return export;
}

static int start_daemon(struct vhost_blk *blk, const struct disk *disk)
{
	struct json_object *node = describe_image(disk), *export = describe_export(disk);
	struct json_object *key = disk->key ? describe_key(disk->key) : NULL;
	const struct { char *option; struct json_object *value; } options[] = {
		{ "--object", key }, { "--blockdev", node }, { "--export", export },
	};
	char *arguments[2 + 2 * ARRAY_SIZE(options)] = { "qemu-storage-daemon" };
	unsigned int nr = 1;

	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		if (!options[i].value)
			continue;
		arguments[nr++] = options[i].option;
		arguments[nr++] = (char *)json_object_to_json_string(options[i].value);
	}
	blk->user.daemon.is_patient = true;
	blk->user.source.fd = daemon_start(blk->virtio.pci.device.vm, &blk->user.daemon, "--disk",
					   daemon_for_disks, "qemu-system-common", arguments);
	for (size_t i = 0; i < ARRAY_SIZE(options); i++)
		json_object_put(options[i].value);
	return blk->user.source.fd < 0 ? -1 : 0;
}

static int get_daemon(struct vhost_blk *blk, const struct disk *disk)
{
	if (vhost_user_take(blk->virtio.pci.device.vm, &blk->user))
		return 0;
	if (!nbd_is_address(disk->path) && disk_check_format(disk))
		return -1;
	return start_daemon(blk, disk);
}

/* ---- making one ------------------------------------------------------------------------ */

int virtio_vhost_blk_create(struct vm *vm, const struct disk *disk)
{
	struct vhost_blk *blk;

	blk = calloc(1, sizeof(*blk));
	if (!blk) {
		complain("no memory for the disk %s", disk->path);
		return -1;
	}
	blk->virtio.pci.device.vm = vm;
	blk->virtio.config = &blk->config;
	blk->virtio.config_size = CONFIG_SIZE;
	blk->virtio.nr_outside = 1;
	blk->user = (struct vhost_user) {
		.source.fd = -1, .virtio = &blk->virtio, .name = disk->path, .wants_config = true,
	};
	if (!get_daemon(blk, disk) && !vhost_user_create(vm, &blk->user) &&
	    !vhost_user_get_config(&blk->user, &blk->config, CONFIG_SIZE)) {
		blk->virtio.features = blk->user.features & FEATURES;
		if (!virtio_create(vm, &blk->virtio, &ops))
			return 0;
	}
	blk_destroy(&blk->virtio);
	return -1;
}
