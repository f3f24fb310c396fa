// SPDX-License-Identifier: GPL-2.0
/* Opening a machine that was saved, which is taken for a stranger's: see snapshot.h. */
#define XXH_INLINE_ALL
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "runner.h"
#include "snapshot.h"

/* NULL, or what is wrong. */
static const char *check_head(const struct snapshot_head *head, __u64 size)
{
	if (memcmp(head->magic, SNAPSHOT_MAGIC, sizeof(head->magic)))
		return "it is no machine of mote's";
	if (head->version != SNAPSHOT_VERSION)
		return "it is of another version than this mote reads";
	if (head->pad || head->size > SNAPSHOT_STATE_MOST || head->size != size - sizeof(*head))
		return "it is not whole";
	return NULL;
}

/* The bytes behind the head, in memory of their own; NULL, and then what is wrong. */
static void *read_file(int fd, size_t *size, const char **why)
{
	struct snapshot_head head;
	struct stat stat;
	void *data;

	*why = "it is not whole";
	if (fstat(fd, &stat) || !read_at(fd, &head, sizeof(head), 0))
		return NULL;
	*why = check_head(&head, stat.st_size);
	data = *why ? NULL : malloc(head.size + 1);
	*size = head.size;
	if (!data || !read_at(fd, data, head.size, sizeof(head)))
		*why = *why ? *why : "it cannot be read";
	else if (XXH3_64bits(data, head.size) != head.sum)
		*why = "it is damaged: its checksum is another one";
	if (!*why)
		return data;
	free(data);
	return NULL;
}

static int open_memory(struct snapshot *snapshot, int directory)
{
	struct snapshot_memory *memory = &snapshot->memory;
	char name[32];
	struct stat stat;

	snapshot_memory_state(memory, &snapshot->state);
	snprintf(name, sizeof(name), SNAPSHOT_MEMORY, memory->file);
	snapshot->memory_fd = openat(directory, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (snapshot->memory_fd < 0)
		state_fail(&snapshot->state, "its memory, %s: %s", name, strerror(errno));
	else if (memory->size % SNAPSHOT_CHUNK || memory->size > MEMORY_MOST || !memory->size ||
		 fstat(snapshot->memory_fd, &stat) ||
		 (__u64)stat.st_size != memory->size + memory->size / SNAPSHOT_CHUNK * sizeof(__u64))
		state_fail(&snapshot->state, "its memory, %s, is not whole", name);
	return state_has_failed(&snapshot->state) ? -1 : 0;
}

/* One that is empty is being recorded, or was to be; without one all is well, too. */
static void open_working_set(struct snapshot *snapshot, int directory, const char *path)
{
	const char *why;
	char name[40];
	size_t size;
	int fd;

	snprintf(name, sizeof(name), SNAPSHOT_WORKING_SET, snapshot->memory.file);
	fd = openat(directory, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return;
	if (lseek(fd, 0, SEEK_END) > 0) {
		snapshot->working_set = read_file(fd, &size, &why);
		if (snapshot->working_set)
			snapshot->working_set_size = size;
		else
			complain("%s: its working set is not read ahead: %s", path, why);
	}
	close(fd);
}

int snapshot_read_state(struct snapshot *snapshot, int fd, const char **why)
{
	size_t size;
	void *data = read_file(fd, &size, why);

	*snapshot = SNAPSHOT_NONE;
	if (data)
		state_begin_load(&snapshot->state, data, size);
	return data ? 0 : -1;
}

int snapshot_open(struct snapshot *snapshot, const char *path)
{
	int directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int fd = directory < 0 ? -1 : openat(directory, SNAPSHOT_STATE, O_RDONLY | O_CLOEXEC);
	const char *why = fd < 0 ? strerror(errno) : NULL;

	*snapshot = SNAPSHOT_NONE;
	if (directory >= 0 && fd < 0 && errno == ENOENT)
		why = "there is no machine in it (mote snapshot)";
	if (fd >= 0 && !snapshot_read_state(snapshot, fd, &why)) {
		if (open_memory(snapshot, directory))
			why = snapshot->state.why;
		else
			open_working_set(snapshot, directory, path);
	}
	if (why)
		complain("%s: %s", path, why);
	if (fd >= 0)
		close(fd);
	if (directory >= 0)
		close(directory);
	return why ? -1 : 0;
}

/* Of one that is zeros nothing else is expected. */
static bool is_chunk_good(const struct snapshot *snapshot, unsigned char *chunk, __u64 at, __u64 sum)
{
	if (!read_at(snapshot->memory_fd, chunk, SNAPSHOT_CHUNK, at))
		return false;
	if (!sum)
		return is_zero(chunk, SNAPSHOT_CHUNK);
	return XXH3_64bits(chunk, SNAPSHOT_CHUNK) == sum;
}

__u64 *snapshot_read_sums(const struct snapshot *snapshot)
{
	size_t size = snapshot->memory.size / SNAPSHOT_CHUNK * sizeof(__u64);
	__u64 *sums = malloc(size);

	if (sums && read_at(snapshot->memory_fd, sums, size, snapshot->memory.size) &&
	    XXH3_64bits(sums, size) == snapshot->memory.sum)
		return sums;
	free(sums);
	return NULL;
}

int snapshot_record(struct snapshot *snapshot, const char *path)
{
	char name[4096];

	snprintf(name, sizeof(name), "%s/" SNAPSHOT_WORKING_SET, path, snapshot->memory.file);
	snapshot->record_fd = open(name, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (snapshot->record_fd < 0)
		complain("cannot record in %s: %m", path);
	else if (flock(snapshot->record_fd, LOCK_EX | LOCK_NB))
		complain("another machine is being recorded in %s", path);
	else
		return 0;
	return -1;
}

int snapshot_verify(const struct snapshot *snapshot, const char *path)
{
	unsigned char *chunk = malloc(SNAPSHOT_CHUNK);
	__u64 *sums = chunk ? snapshot_read_sums(snapshot) : NULL, at = 0;

	if (!sums) {
		complain("%s: its memory's checksums are damaged", path);
		free(chunk);
		return -1;
	}
	while (at < snapshot->memory.size && is_chunk_good(snapshot, chunk, at, sums[at / SNAPSHOT_CHUNK]))
		at += SNAPSHOT_CHUNK;
	free(sums);
	free(chunk);
	if (at == snapshot->memory.size)
		return 0;
	complain("%s: its memory is damaged at 0x%llx", path, at);
	return -1;
}

void snapshot_close(struct snapshot *snapshot)
{
	if (snapshot->memory_fd >= 0)
		close(snapshot->memory_fd);
	if (snapshot->connection >= 0)
		close(snapshot->connection);
	if (snapshot->record_fd >= 0)
		close(snapshot->record_fd);
	free(snapshot->working_set);
	free(snapshot->state.data);
	*snapshot = SNAPSHOT_NONE;
}
