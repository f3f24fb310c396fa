// SPDX-License-Identifier: GPL-2.0
/* A guest seen from outside: where its memory is, and looking for a kernel in it.  See guest.h. */
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "client.h"
#include "guest.h"
#include "guest_walk.h"
#include "tool.h"

#define PAGE 4096u
#define COPY_MOST (64u << 20)

/* ---- whose it is --------------------------------------------------------------------- */

pid_t machine_pid(const char *name)
{
	struct json_object *answer;
	char found[NAME_MOST + 1];
	int fd = client_open(name, true, found);
	pid_t pid = 0;

	if (fd < 0)
		return 0;
	answer = client_ask(fd, "status", NULL);
	if (answer)
		pid = answer_number(answer, "pid");
	json_object_put(answer);
	close(fd);
	return pid;
}

static void take_slots(struct guest *guest, struct json_object *answer)
{
	struct json_object *slots = NULL;

	json_object_object_get_ex(answer, "slots", &slots);
	for (size_t i = 0; slots && i < json_object_array_length(slots) && i < TRACE_SLOTS_MOST; i++) {
		struct json_object *slot = json_object_array_get_idx(slots, i);

		guest->slot[i] = (struct trace_slot) {
			.gpa = answer_number(slot, "gpa"), .size = answer_number(slot, "size"),
			.hva = answer_number(slot, "hva"),
		};
	}
	if (slots)
		snprintf(guest->name, sizeof(guest->name), "%s", answer_text(answer, "name"));
}

struct guest *guest_find(pid_t pid)
{
	struct guest *guest = calloc(1, sizeof(*guest));
	struct json_object *all = guest ? vms_ask("slots") : NULL;

	if (!guest)
		return NULL;
	guest->pid = pid;
	for (size_t i = 0; all && i < json_object_array_length(all); i++) {
		struct json_object *answer = json_object_array_get_idx(all, i);

		if (answer_number(answer, "pid") == (unsigned long long)pid)
			take_slots(guest, answer);
	}
	json_object_put(all);
	return guest;
}

void guest_free(struct guest *guest)
{
	for (size_t i = 0; i < guest->nr_tables; i++) {
		free((void *)guest->tables[i].ips);
		free((void *)guest->tables[i].entries);
	}
	if (guest->symbols)
		symbols_close(guest->symbols);
	free(guest);
}

/* ---- memory ---------------------------------------------------------------------------- */

long guest_read(const void *context, __u64 gpa, void *to, __u32 size)
{
	const struct guest *guest = context;

	for (int i = 0; i < TRACE_SLOTS_MOST; i++) {
		const struct trace_slot *slot = &guest->slot[i];
		struct iovec local = { to, size }, remote = { (void *)(slot->hva + (gpa - slot->gpa)), size };

		if (gpa - slot->gpa < slot->size)
			return process_vm_readv(guest->pid, &local, 1, &remote, 1, 0) != (ssize_t)size;
	}
	return -1;
}

int guest_read_virtual(const struct guest *guest, uint64_t gva, void *to, size_t size)
{
	struct guest_walk walk = {
		.read = guest_read, .context = guest,
		.cr3 = vmcoreinfo_number(guest->info, "SYMBOL(swapper_pg_dir)", 16) - START_KERNEL_MAP +
		       vmcoreinfo_number(guest->info, "NUMBER(phys_base)", 10),
		.cr4 = vmcoreinfo_number(guest->info, "NUMBER(pgtable_l5_enabled)", 10) ? GUEST_CR4_LA57 : 0,
	};

	for (size_t done = 0; done < size;) {
		size_t piece = PAGE - (gva + done) % PAGE;
		__u64 gpa = guest_walk(&walk, gva + done);

		piece = piece < size - done ? piece : size - done;
		if (gpa == GUEST_NOWHERE || guest_read(guest, gpa, to + done, piece))
			return -EFAULT;
		done += piece;
	}
	return 0;
}

void *guest_copy(const struct guest *guest, uint64_t gva, size_t size)
{
	char *copy = size <= COPY_MOST ? malloc(size + 1) : NULL;

	if (!copy || guest_read_virtual(guest, gva, copy, size)) {
		free(copy);
		return NULL;
	}
	copy[size] = '\0';
	return copy;
}

/* ---- VMCOREINFO ------------------------------------------------------------------------- */

/* As many pages are looked at in one go. */
#define PAGES 1024u
#define PAGEMAP_PRESENT (1ull << 63)

static int take_info(struct guest *guest, __u64 gpa, size_t size)
{
	char *note = calloc(1, VMCOREINFO_MOST + 1);
	int err = !note || guest_read(guest, gpa, note, size) ? -EFAULT : 0;

	if (!err)
		memcpy(guest->info, note + VMCOREINFO_HEAD, size - VMCOREINFO_HEAD);
	free(note);
	return err;
}

/* Of some pages of a slot, those that are there, in their order. */
static int look_at(struct guest *guest, const struct trace_slot *slot, __u64 offset, const uint64_t *pagemap,
		   unsigned int nr)
{
	static unsigned char signs[PAGES][VMCOREINFO_SIGN];
	struct iovec remote[PAGES], local;
	unsigned int nr_there = 0;
	ssize_t got;

	for (unsigned int i = 0; i < nr; i++)
		if (pagemap[i] & PAGEMAP_PRESENT)
			remote[nr_there++] = (struct iovec) {
				(void *)(slot->hva + offset + i * PAGE), VMCOREINFO_SIGN
			};
	local = (struct iovec) { signs, nr_there * VMCOREINFO_SIGN };
	got = nr_there ? process_vm_readv(guest->pid, &local, 1, remote, nr_there, 0) : 0;
	if (got < 0)
		return -errno;
	for (unsigned int i = 0; i < got / VMCOREINFO_SIGN; i++) {
		size_t size = vmcoreinfo_size(signs[i]);

		if (size)
			return take_info(guest, slot->gpa + ((__u64)remote[i].iov_base - slot->hva), size);
	}
	return -ENOENT;
}

static int look_in_slot(struct guest *guest, int pagemap_fd, const struct trace_slot *slot)
{
	uint64_t pagemap[PAGES];
	int err = -ENOENT;

	for (__u64 at = 0; at < slot->size && err == -ENOENT; at += PAGES * PAGE) {
		ssize_t got = pread(pagemap_fd, pagemap, sizeof(pagemap),
				    (slot->hva + at) / PAGE * sizeof(pagemap[0]));
		unsigned int nr = got > 0 ? got / sizeof(pagemap[0]) : 0;

		if (nr > (slot->size - at) / PAGE)
			nr = (slot->size - at) / PAGE;
		err = look_at(guest, slot, at, pagemap, nr);
	}
	return err;
}

int guest_find_info(struct guest *guest)
{
	int fd, err = -ENOENT;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/pagemap", guest->pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	for (int i = 0; i < TRACE_SLOTS_MOST && err == -ENOENT; i++)
		err = look_in_slot(guest, fd, &guest->slot[i]);
	close(fd);
	return err;
}
