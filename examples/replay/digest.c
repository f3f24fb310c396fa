// SPDX-License-Identifier: GPL-2.0
/* Digests of registers and memory: see digest.h. */
#include <stdlib.h>
#include <string.h>

#include "../lib/linux.h"
#include "digest.h"

#define PAGE_SIZE 4096ull
#define XSAVE_MOST 16384
/* x87 and SSE; what else XSAVE has, the guest has not. */
#define XSAVE_LEGACY 416
#define XMM_BEGIN 160
#define XSTATE_BV 512
/* Bytes of a state's parts before it. */
#define UP_TO_TSC (offsetof(struct mote_state, tsc) - offsetof(struct mote_state, gprs))

static __u64 words(__u64 digest, const void *data, size_t size)
{
	const __u64 *word = data;

	for (size_t i = 0; i < size / sizeof(*word); i++)
		digest = digest_mix(digest, word[i]);
	return digest;
}

static void *zeros(size_t size)
{
	void *data = calloc(1, size);

	if (!data)
		die("no memory for the digests");
	return data;
}

void digest_begin(struct digest *digest, struct mote_cpu *cpu)
{
	const struct mote_area *area = mote_machine_area(cpu->machine, 0);
	__u64 nr = area->size / PAGE_SIZE;

	*digest = (struct digest) {
		.cpu = cpu, .nr = nr, .pages = zeros(nr * sizeof(__u64)), .logged = zeros(nr / 8),
		.written = { .hva = area->hva, .nr = nr, .bits = zeros(nr / 8) },
	};
	mote_machine_watch(cpu->machine, &digest->written);
}

__u64 digest_gprs(const struct mote_run *run)
{
	return digest_mix(words(0, run->gpr, sizeof(run->gpr)), run->rflags & ~RFLAGS_RF);
}

static void renew_page(struct digest *digest, __u64 page)
{
	__u64 now = words(0, digest->written.hva + page * PAGE_SIZE, PAGE_SIZE) * (2 * page + 1);

	digest->memory += now - digest->pages[page];
	digest->pages[page] = now;
}

static __u64 memory(struct digest *digest)
{
	const struct mote_dirty dirty = { .nr = digest->nr, .bitmap = (unsigned long)digest->logged };

	check(mote_get_dirty(digest->cpu->machine->fd, &dirty), "MOTE_GET_DIRTY");
	for (__u64 i = 0; i < digest->nr / 64; i++) {
		for (__u64 bits = digest->logged[i] | digest->written.bits[i]; bits; bits &= bits - 1)
			renew_page(digest, i * 64 + __builtin_ctzll(bits));
		digest->written.bits[i] = 0;
	}
	return digest->memory;
}

/* A part in its initial state may be left out of the image, as the host's context switches have it. */
static void fill_xsave(unsigned char *xsave)
{
	static const unsigned char x87[24] = { 0x7f, 0x03 };

	if (!(xsave[XSTATE_BV] & 1)) {
		memcpy(xsave, x87, sizeof(x87));
		memset(xsave + 32, 0, XMM_BEGIN - 32);
	}
	if (!(xsave[XSTATE_BV] & 2))
		memset(xsave + XMM_BEGIN, 0, XSAVE_LEGACY - XMM_BEGIN);
}

static __u64 registers(struct mote_cpu *cpu)
{
	static unsigned char xsave[XSAVE_MOST];
	struct mote_state state = {
		.mask = MOTE_STATE_ALL & ~MOTE_STATE_TSC,
		.xsave_size = sizeof(xsave), .xsave = (unsigned long)xsave,
	};

	check(mote_get_state(cpu->fd, &state), "MOTE_GET_STATE");
	state.gprs.rflags &= ~RFLAGS_RF;
	/* Of an event that has been delivered something may be left. */
	if (!state.events.injected.valid)
		state.events.injected = (struct mote_event) {};
	fill_xsave(xsave);
	return words(words(0, &state.gprs, UP_TO_TSC), xsave, XSAVE_LEGACY);
}

__u64 digest_all(struct digest *digest)
{
	__u64 before = registers(digest->cpu);

	return digest_mix(before, memory(digest));
}
