// SPDX-License-Identifier: GPL-2.0
/* Token buckets: so many at once, and then at a steady rate, whatever one asks for. */
#include <stdlib.h>

#include "../userspace/runner/throttle.h"
#include "tests.h"

#define BEGIN (1000 * NS_PER_S)

/* Ask all the time, from @begin to @end; how often it was let. */
static unsigned int ask(struct bucket *bucket, __u64 burst_ns, __u64 tokens, __u64 begin, __u64 end)
{
	unsigned int nr = 0;

	for (__u64 now = begin; now < end; now = bucket_opens(bucket, burst_ns)) {
		if (bucket_opens(bucket, burst_ns) > now)
			continue;
		bucket_take(bucket, now, tokens);
		nr++;
	}
	return nr;
}

static void steady(void)
{
	struct bucket bucket = { .rate = 100 };

	/* A tenth of a second's at once, and the one that leaves a debt; then one each 10 ms. */
	EQ(11, ask(&bucket, NS_PER_S / 10, 1, BEGIN, BEGIN + 1));
	EQ(BEGIN + NS_PER_S / 100, bucket_opens(&bucket, NS_PER_S / 10));
	EQ(999, ask(&bucket, NS_PER_S / 10, 1, BEGIN + 1, BEGIN + 10 * NS_PER_S));
	/* What is not used is kept up to a burst. */
	EQ(11, ask(&bucket, NS_PER_S / 10, 1, BEGIN + 3600 * NS_PER_S, BEGIN + 3600 * NS_PER_S + 1));
}

static void debts(void)
{
	struct bucket bucket = { .rate = 1 << 20 };

	/* 16 s worth of bytes pass, and nothing else before these have. */
	EQ(1, ask(&bucket, 1, 16 << 20, BEGIN, BEGIN + 1));
	EQ(BEGIN + 16 * NS_PER_S - 1, bucket_opens(&bucket, 1));
	/* Nor does it come to more than fits. */
	bucket = (struct bucket) { .rate = 1ull << 34 };
	bucket_take(&bucket, BEGIN, 1ull << 34);
	EQ(BEGIN + NS_PER_S, bucket.full_at);
}

static void without(void)
{
	struct bucket bucket = { 0 };

	bucket_take(&bucket, BEGIN, 1ull << 40);
	EQ(0, bucket_opens(&bucket, 1));
}

/* Whoever asks for whatever, whenever: never more than a burst, the rate, and one. */
static void anything(void)
{
	for (unsigned int round = 0; round < 1000; round++) {
		struct bucket bucket = { .rate = 1 + rand() % 100000 };
		__u64 burst_ns = 1 + rand() % NS_PER_S, now = BEGIN, taken = 0, last = 0, tokens;
		double most;

		for (unsigned int i = 0; i < 1000; i++) {
			now += rand() % 1000000;
			if (bucket_opens(&bucket, burst_ns) > now)
				continue;
			tokens = 1 + rand() % 64;
			bucket_take(&bucket, now, tokens);
			taken += tokens;
			last = tokens > last ? tokens : last;
			/* Each has lost up to 1 ns. */
			most = bucket.rate * ((now - BEGIN + burst_ns + i) / 1e9) + last;
			CHECK(taken <= most + 1);
		}
		CHECK(taken > 0);
	}
}

int main(void)
{
	static const struct unit_test tests[] = {
		{ "a burst, and then the rate", steady },
		{ "what takes more than there is", debts },
		{ "no limit", without },
		{ "anything", anything },
	};

	return run_all(tests, sizeof(tests) / sizeof(tests[0]));
}
