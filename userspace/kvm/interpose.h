/* SPDX-License-Identifier: GPL-2.0 */
/* The functions of the C library that this one stands before, and how to reach them. */
#ifndef INTERPOSE_H
#define INTERPOSE_H

#include <dlfcn.h>
#include <stdlib.h>

#define EXPORT __attribute__((visibility("default")))

/* The C library's function of the same name. */
#define NEXT(name)									\
	({										\
		static __typeof__(name) *next_;						\
		__typeof__(name) *found_ = __atomic_load_n(&next_, __ATOMIC_RELAXED);	\
		if (!found_) {								\
			found_ = (__typeof__(name) *)dlsym(RTLD_NEXT, #name);		\
			if (!found_)							\
				abort();						\
			__atomic_store_n(&next_, found_, __ATOMIC_RELAXED);		\
		}									\
		found_;									\
	})

/* The signal that makes a vCPU's thread look again; clients do not see it. */
#define KICK (SIGRTMAX - 1)

/* Take that signal; once. */
void signals_take(void);
/* This thread runs a vCPU: it is to get that signal. */
void signals_open(void);

#endif /* INTERPOSE_H */
