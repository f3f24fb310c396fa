/* SPDX-License-Identifier: GPL-2.0 */
/*
 * As much of the kernel as mote's pure files and their suites use, for
 * programs on this very machine.  The other headers here include this one.
 */
#ifndef UNIT_LINUX_KERNEL_H
#define UNIT_LINUX_KERNEL_H

#include <errno.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include_next <linux/types.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef unsigned long long u64;
typedef int8_t s8;
typedef int16_t s16;
typedef int32_t s32;
typedef long long s64;
typedef unsigned int gfp_t;

#undef __always_inline
#define __always_inline inline __attribute__((always_inline))
#define __maybe_unused __attribute__((unused))
#define noinline __attribute__((noinline))
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define fallthrough __attribute__((fallthrough))
#define EXPORT_SYMBOL_GPL(symbol)
#define MODULE_LICENSE(text)
#define MODULE_DESCRIPTION(text)
#define MODULE_AUTHOR(text)

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define BITS_PER_LONG 64
#define U32_MAX (~0u)
#define U64_MAX (~0ull)
#define sizeof_field(type, member) sizeof(((type *)0)->member)
#define BIT(n) (1UL << (n))
#define BIT_ULL(n) (1ULL << (n))
#define GENMASK(h, l) ((~0UL << (l)) & (~0UL >> (63 - (h))))
#define GENMASK_ULL(h, l) ((~0ULL << (l)) & (~0ULL >> (63 - (h))))
#define BITS_TO_LONGS(n) (((n) + 63UL) / 64)
#define ALIGN_DOWN(x, a) ((x) & ~((typeof(x))(a) - 1))
#define DIV_ROUND_UP(n, d) (((n) + (d) - 1) / (d))
#define min(a, b) ({ typeof(a) min_a = (a); typeof(b) min_b = (b); min_a < min_b ? min_a : min_b; })
#define max(a, b) ({ typeof(a) max_a = (a); typeof(b) max_b = (b); max_a > max_b ? max_a : max_b; })
#define min_t(type, a, b) min((type)(a), (type)(b))
#define max_t(type, a, b) max((type)(a), (type)(b))
#define swap(a, b) do { typeof(a) swap_a = (a); (a) = (b); (b) = swap_a; } while (0)
#define container_of(p, type, member) ((type *)((char *)(p) - offsetof(type, member)))
#define static_assert _Static_assert

#define READ_ONCE(x) (*(const volatile typeof(x) *)&(x))
#define WRITE_ONCE(x, value) (*(volatile typeof(x) *)&(x) = (value))
#define smp_store_release(p, value) __atomic_store_n(p, value, __ATOMIC_RELEASE)
#define xchg(p, value) __atomic_exchange_n(p, value, __ATOMIC_SEQ_CST)
#define try_cmpxchg(p, old, new)						\
	__atomic_compare_exchange_n(p, old, new, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)

#define GFP_KERNEL 0u
#define kzalloc(size, gfp) calloc(1, size)
#define kmalloc(size, gfp) malloc(size)
#define kcalloc(n, size, gfp) calloc(n, size)
#define kvcalloc(n, size, gfp) calloc(n, size)
#define kfree(p) free(p)
#define kvfree(p) free(p)

/* Physical addresses are virtual ones. */
#define virt_to_phys(p) ((u64)(uintptr_t)(p))
#define phys_to_virt(hpa) ((void *)(uintptr_t)(hpa))

static inline unsigned long get_zeroed_page(gfp_t gfp)
{
	void *page = aligned_alloc(4096, 4096);

	return (unsigned long)(page ? memset(page, 0, 4096) : NULL);
}

static inline const void *memchr_inv(const void *start, int byte, size_t size)
{
	const unsigned char *c = start;

	for (; size; size--, c++)
		if (*c != byte)
			return c;
	return NULL;
}

#define free_page(page) free((void *)(page))

static inline void set_bit(unsigned long n, unsigned long *bits)
{
	bits[n / 64] |= BIT(n % 64);
}

static inline void clear_bit(unsigned long n, unsigned long *bits)
{
	bits[n / 64] &= ~BIT(n % 64);
}

static inline bool test_bit(unsigned long n, const unsigned long *bits)
{
	return bits[n / 64] & BIT(n % 64);
}

static inline unsigned long find_first_bit(const unsigned long *bits, unsigned long nr)
{
	unsigned long n;

	for (n = 0; n < nr; n += 64)
		if (bits[n / 64])
			return min(n + __builtin_ctzl(bits[n / 64]), nr);
	return nr;
}

#endif /* UNIT_LINUX_KERNEL_H */
