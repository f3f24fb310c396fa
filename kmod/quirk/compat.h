/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What differs between kernels, and nothing else.  Features are probed, by
 * what a header defines or by Kbuild (MOTE_HAVE_*): stable trees carry
 * interface changes back, so version numbers say little.
 */
#ifndef MOTE_COMPAT_H
#define MOTE_COMPAT_H

#include <linux/eventfd.h>
#include <linux/syscore_ops.h>
#include <asm/cpufeature.h>

/* Late 6.12 passes data to the callbacks and wraps the ops in struct syscore. */
#ifdef MOTE_HAVE_SYSCORE_DATA
#define MOTE_SYSCORE_ARG void *data
#define MOTE_SYSCORE(name, suspend_fn, resume_fn)                                     \
	static const struct syscore_ops name##_ops = { .suspend = suspend_fn,         \
						       .resume = resume_fn };         \
	static struct syscore name = { .ops = &name##_ops }
#define mote_syscore_register register_syscore
#define mote_syscore_unregister unregister_syscore
#else
#define MOTE_SYSCORE_ARG void
#define MOTE_SYSCORE(name, suspend_fn, resume_fn)                                     \
	static struct syscore_ops name = { .suspend = suspend_fn, .resume = resume_fn }
#define mote_syscore_register register_syscore_ops
#define mote_syscore_unregister unregister_syscore_ops
#endif

/* Late 6.7 takes no count: it was always one. */
static inline void mote_eventfd_signal(struct eventfd_ctx *eventfd)
{
#ifdef MOTE_HAVE_EVENTFD_COUNT
	eventfd_signal(eventfd, 1);
#else
	eventfd_signal(eventfd);
#endif
}

/* Are events delivered otherwise than by the IDT?  Older kernels do not know how. */
static inline bool mote_kernel_uses_fred(void)
{
#ifdef X86_FEATURE_FRED
	return boot_cpu_has(X86_FEATURE_FRED);
#else
	return false;
#endif
}

/* Exported, but in no public header: synchronize_rcu() is expedited between the two. */
void rcu_expedite_gp(void);
void rcu_unexpedite_gp(void);

#endif /* MOTE_COMPAT_H */
