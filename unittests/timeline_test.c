// SPDX-License-Identifier: GPL-2.0
/*
 * mote trace timeline and files that are damaged: whatever is in the records, there is a picture,
 * or a message, and the sanitizers have nothing to say.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../userspace/runner/runner.h"
#include "../userspace/trace/tool.h"
#include "complaints.h"

#define RECORDS 400
#define ROUNDS (getenv("MOTE_LONG") ? 1000 : 100)

static uint64_t seed = 88172645463325252ul;

static uint64_t any(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	return seed ^= seed << 17;
}

/* As it comes from a machine, with some numbers that cannot be. */
static void make_records(struct trace_record *records, unsigned int damage)
{
	for (uint64_t i = 0, tsc = 1000000; i < RECORDS; i++, tsc += any() % 1000) {
		records[i] = (struct trace_record) {
			.vm = 1, .vcpu = any() % 3, .event = any() % (TRACE_VCPU_STATE + 1),
			.arg = { tsc, any() % 3, 1, 0x1000, tsc, tsc + any() % 500 },
		};
		if (damage && any() % damage == 0)
			((uint64_t *)&records[i])[any() % (sizeof(records[i]) / 8)] = any() >> any() % 64;
	}
}

static int draw(int fd, const struct trace_record *records, unsigned int nr, bool json)
{
	struct trace_header header = {
		.magic = TRACE_MAGIC, .version = TRACE_FILE_VERSION, .tsc_khz = 1000000, .records = nr,
	};
	char path[32];
	const struct trace_options options = {
		.command = "timeline", .input = path, .output = "/dev/null", .json = json,
	};

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (ftruncate(fd, 0) || pwrite(fd, &header, sizeof(header), 0) < 0 ||
	    pwrite(fd, records, nr * sizeof(*records), sizeof(header)) < 0)
		return -1;
	return timeline_command(&options);
}

int main(void)
{
	static struct trace_record records[RECORDS];
	int fd = memfd_create("trace", 0), good = 1, refused;

	printf("TAP version 13\n1..3\n");
	make_records(records, 0);
	good = !draw(fd, records, RECORDS, false) && !draw(fd, records, RECORDS, true) &&
	       !draw(fd, records, 0, false);
	printf("%s 1 whole files\n", good ? "ok" : "not ok");
	for (unsigned int round = 0; round < ROUNDS; round++) {
		make_records(records, 1 + round % 50);
		good &= !draw(fd, records, RECORDS, round & 1);
	}
	printf("%s 2 damaged records\n", good ? "ok" : "not ok");
	refused = !ftruncate(fd, 100) && timeline_command(&(const struct trace_options) {
		.command = "timeline", .input = "/dev/null" }) == EXIT_USAGE &&
		  strstr(said, "not a complete file");
	printf("%s 3 no file of records\n", refused ? "ok" : "not ok");
	close(fd);
	return good && refused ? 0 : 1;
}
