// SPDX-License-Identifier: GPL-2.0
/*
 * What gdb says to a machine, and what it hears: "Packets" in the chapter on the remote protocol of
 * gdb's manual.  What is not known here gets an empty answer, and what cannot be done E01.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gdb.h"
#include "runner.h"

#define SIGNAL_INT 2
#define SIGNAL_TRAP 5
#define THREADS_AT_ONCE 256

static void tell(struct gdb *gdb, bool is_done)
{
	gdb_text(&gdb->out, is_done ? "OK" : "E01");
}

static int cpu_fd(const struct gdb *gdb, unsigned int cpu)
{
	return gdb->vm->vcpus[cpu].cpu.fd;
}

/* ---- threads ----------------------------------------------------------------------- */

/* Threads count from 1; 0 is any, -1 all. */
static bool is_thread(const struct gdb *gdb, long thread)
{
	return thread > 0 && (unsigned long)thread <= gdb->vm->nr_vcpus;
}

/* Hg and Hc; of the latter vCont says more. */
static void select_thread(struct gdb *gdb, const char *text)
{
	bool is_for_go = gdb_is(&text, "c");
	long thread;

	if ((!is_for_go && !gdb_is(&text, "g")) || !gdb_thread(&text, &thread) || *text ||
	    (thread > 0 && !is_thread(gdb, thread))) {
		tell(gdb, false);
		return;
	}
	if (thread > 0 && !is_for_go)
		gdb->selected = thread - 1;
	tell(gdb, true);
}

static void list_threads(struct gdb *gdb)
{
	unsigned int nr = gdb->vm->nr_vcpus, most = gdb->listed + THREADS_AT_ONCE;

	if (gdb->listed >= nr) {
		gdb_text(&gdb->out, "l");
		return;
	}
	for (const char *before = "m"; gdb->listed < nr && gdb->listed < most; before = ",")
		gdb_text(&gdb->out, "%s%x", before, ++gdb->listed);
}

static void describe_thread(struct gdb *gdb, const char *text)
{
	struct mote_state state = { .mask = MOTE_STATE_EVENTS };
	struct gdb_out name = { 0 };
	long thread;

	if (!gdb_thread(&text, &thread) || !is_thread(gdb, thread) ||
	    mote_debug_get(cpu_fd(gdb, thread - 1), &state)) {
		tell(gdb, false);
		return;
	}
	gdb_text(&name, "vCPU %ld%s", thread - 1, state.events.halted == MOTE_HALTED ? ", halted" :
		 state.events.halted ? ", not started" : "");
	gdb_bytes(&gdb->out, name.data, name.size);
}

void gdb_tell_stop(struct gdb *gdb)
{
	static const char *const names[] = { ['2'] = "watch", ['3'] = "rwatch", ['4'] = "awatch" };
	const struct gdb_cpu *cpu = &gdb->cpus[gdb->stopped];
	const struct gdb_watch *watch = cpu->watch >= 0 ? &gdb->watches[cpu->watch] : NULL;
	const bool is_trap = cpu->reason > GDB_ASKED;

	gdb_text(&gdb->out, "T%02xthread:%x;", is_trap ? SIGNAL_TRAP : SIGNAL_INT, gdb->stopped + 1);
	if (cpu->reason == GDB_BREAK && gdb->knows_reasons)
		gdb_text(&gdb->out, "swbreak:;");
	if (cpu->reason != GDB_WATCH || !watch || !watch->type)
		return;
	if (watch->type != '1')
		gdb_text(&gdb->out, "%s:%llx;", names[(int)watch->type], (unsigned long long)watch->gva);
	else if (gdb->knows_reasons)
		gdb_text(&gdb->out, "hwbreak:;");
}

/* ---- registers and memory ------------------------------------------------------------- */

static bool get_registers(struct gdb *gdb)
{
	return !gdb_registers_get(&gdb->registers, cpu_fd(gdb, gdb->selected));
}

static bool put_registers(struct gdb *gdb)
{
	return !gdb_registers_put(&gdb->registers, cpu_fd(gdb, gdb->selected));
}

static void read_registers(struct gdb *gdb)
{
	if (get_registers(gdb))
		gdb_registers_write(&gdb->registers, &gdb->out);
	else
		tell(gdb, false);
}

static void write_registers(struct gdb *gdb, const char *text)
{
	tell(gdb, get_registers(gdb) && gdb_registers_read(&gdb->registers, text) && put_registers(gdb));
}

static void read_register(struct gdb *gdb, const char *text)
{
	__u64 nr;

	if (!gdb_number(&text, &nr) || *text || !get_registers(gdb) || nr > UINT16_MAX ||
	    !gdb_register_write(&gdb->registers, nr, &gdb->out))
		tell(gdb, false);
}

static void write_register(struct gdb *gdb, const char *text)
{
	__u64 nr;

	tell(gdb, gdb_number(&text, &nr) && gdb_is(&text, "=") && nr <= UINT16_MAX && get_registers(gdb) &&
	     gdb_register_read(&gdb->registers, nr, text) && put_registers(gdb));
}

/* ADDRESS,SIZE, which is no more than a packet can hold. */
static bool take_range(const char **text, __u64 *gva, __u64 *size)
{
	return gdb_number(text, gva) && gdb_is(text, ",") && gdb_number(text, size) &&
	       *size <= GDB_PACKET_MOST / 2;
}

static void read_memory(struct gdb *gdb, const char *text)
{
	__u8 data[GDB_PACKET_MOST / 2];
	__u64 gva, size;

	if (take_range(&text, &gva, &size) && !*text && gdb_memory(gdb, gva, data, size, false))
		gdb_bytes(&gdb->out, data, size);
	else
		tell(gdb, false);
}

/* M, or X with bytes as they are. */
static void write_memory(struct gdb *gdb, const char *text, bool is_binary)
{
	__u8 data[GDB_PACKET_MOST / 2];
	__u64 gva, size;

	tell(gdb, take_range(&text, &gva, &size) && gdb_is(&text, ":") &&
	     (is_binary ? gdb_unescape(text, gdb->in.data + gdb->in.size - text, data, size) :
			  gdb_hex(&text, data, size) && !*text) &&
	     gdb_memory(gdb, gva, data, size, true));
}

/* ---- breakpoints ------------------------------------------------------------------------ */

static int change_breakpoint(struct gdb *gdb, bool insert, char type, __u64 gva, __u64 size)
{
	if (type == '0')
		return insert ? gdb_insert(gdb, gva) : gdb_remove(gdb, gva);
	return insert ? gdb_insert_watch(gdb, type, gva, size) : gdb_remove_watch(gdb, type, gva, size);
}

/* Z or z, TYPE,ADDRESS,SIZE; conditions and commands are gdb's own. */
static void change_breakpoints(struct gdb *gdb, const char *text)
{
	bool insert = *text++ == 'Z';
	char type = *text;
	__u64 gva, size;

	if (type < '0' || type > '4')
		return;
	text++;
	if (!gdb_is(&text, ",") || !take_range(&text, &gva, &size) || *text) {
		tell(gdb, false);
		return;
	}
	/* An instruction's address has no size in a debug register. */
	tell(gdb, !change_breakpoint(gdb, insert, type, gva, type == '1' ? 1 : size));
}

/* ---- going on --------------------------------------------------------------------------- */

/* Each vCPU goes on, or steps, or is held, as @actions says; false: it is all done already. */
static bool go(struct gdb *gdb, const char *actions)
{
	bool is_done = false;

	for (unsigned int i = 0; i < gdb->vm->nr_vcpus; i++) {
		int err = actions[i] == 's' ? mote_step_begin(&gdb->cpus[i].debugged) : 0;

		gdb->vm->vcpus[i].is_held = !actions[i];
		gdb->vm->vcpus[i].steps = actions[i] == 's' && !err;
		if (err != MOTE_STEPPED)
			continue;
		gdb->cpus[i].reason = GDB_STEPPED;
		gdb->cpus[i].watch = -1;
		gdb->stopped = i;
		is_done = true;
	}
	if (!is_done)
		gdb_go(gdb);
	return !is_done;
}

/* ACTION[SIGNAL][:THREAD];... - the first one that fits a thread is its own. */
static bool parse_actions(struct gdb *gdb, const char *text, char *actions)
{
	while (gdb_is(&text, ";")) {
		char action = *text;
		long thread = -1;
		__u64 signal;

		if (!strchr("cCsS", action) || !action)
			return false;
		text++;
		if ((action == 'C' || action == 'S') && !gdb_number(&text, &signal))
			return false;
		if (gdb_is(&text, ":") && !gdb_thread(&text, &thread))
			return false;
		if (thread > 0 && !is_thread(gdb, thread))
			return false;
		for (unsigned int i = 0; i < gdb->vm->nr_vcpus; i++)
			if (!actions[i] && (thread <= 0 || (unsigned long)thread == i + 1))
				actions[i] = action | 0x20;
	}
	return !*text;
}

/* As if by vCont; no answer until it stops. */
static bool go_on(struct gdb *gdb, const char *text)
{
	char *actions = calloc(gdb->vm->nr_vcpus, 1);
	bool is_good = actions && parse_actions(gdb, text, actions), goes = false;

	if (is_good)
		goes = go(gdb, actions);
	free(actions);
	if (!is_good) {
		tell(gdb, false);
		return true;
	}
	if (goes)
		return false;
	for (unsigned int i = 0; i < gdb->vm->nr_vcpus; i++)
		mote_step_end(&gdb->cpus[i].debugged);
	gdb_tell_stop(gdb);
	gdb->cpus[gdb->stopped].reason = GDB_NO_REASON;
	return true;
}

static bool go_one(struct gdb *gdb, char action)
{
	char text[32];

	if (action == 'c')
		return go_on(gdb, ";c");
	snprintf(text, sizeof(text), ";s:%x;c", gdb->selected + 1);
	return go_on(gdb, text);
}

/* ---- queries ------------------------------------------------------------------------------ */

static void query(struct gdb *gdb, const char *text)
{
	__u64 offset, size;

	if (gdb_is(&text, "Supported")) {
		gdb->knows_reasons = strstr(text, "swbreak+") && strstr(text, "hwbreak+");
		gdb_text(&gdb->out, "PacketSize=%x;qXfer:features:read+;QStartNoAckMode+;swbreak+;hwbreak+;"
			 "vContSupported+", GDB_PACKET_MOST);
	} else if (gdb_is(&text, "Xfer:features:read:target.xml:")) {
		if (gdb_number(&text, &offset) && gdb_is(&text, ",") && gdb_number(&text, &size) && !*text)
			gdb_target_write(gdb->registers.is_64bit, offset, size, &gdb->out);
		else
			tell(gdb, false);
	} else if (gdb_is(&text, "fThreadInfo")) {
		gdb->listed = 0;
		list_threads(gdb);
	} else if (gdb_is(&text, "sThreadInfo")) {
		list_threads(gdb);
	} else if (gdb_is(&text, "ThreadExtraInfo,")) {
		describe_thread(gdb, text);
	} else if (gdb_is(&text, "Attached")) {
		gdb_text(&gdb->out, "1");
	} else if (!strcmp(text, "C")) {
		gdb_text(&gdb->out, "QC%x", gdb->selected + 1);
	}
}

static bool more(struct gdb *gdb, const char *text)
{
	if (!strcmp(text, "vCont?")) {
		gdb_text(&gdb->out, "vCont;c;C;s;S");
	} else if (gdb_is(&text, "vCont")) {
		return go_on(gdb, text);
	} else if (gdb_is(&text, "vKill")) {
		tell(gdb, true);
		vm_end(gdb->vm, END_STOPPED, 0);
	}
	return true;
}

bool gdb_command(struct gdb *gdb)
{
	const char *text = gdb->in.data;
	long thread;

	switch (*text++) {
	case '?':
		gdb_tell_stop(gdb);
		break;
	case 'g':
		read_registers(gdb);
		break;
	case 'G':
		write_registers(gdb, text);
		break;
	case 'p':
		read_register(gdb, text);
		break;
	case 'P':
		write_register(gdb, text);
		break;
	case 'm':
		read_memory(gdb, text);
		break;
	case 'M': case 'X':
		write_memory(gdb, text, text[-1] == 'X');
		break;
	case 'Z': case 'z':
		change_breakpoints(gdb, text - 1);
		break;
	case 'H':
		select_thread(gdb, text);
		break;
	case 'T':
		tell(gdb, gdb_thread(&text, &thread) && !*text && is_thread(gdb, thread));
		break;
	case 'c': case 's':
		/* At another address: gdb writes the register instead. */
		if (!*text)
			return go_one(gdb, text[-1]);
		break;
	case 'C': case 'S':
		return go_one(gdb, text[-1] | 0x20);
	case 'v':
		return more(gdb, text - 1);
	case 'q':
		query(gdb, text);
		break;
	case 'Q':
		if (strcmp(text, "StartNoAckMode"))
			break;
		gdb->no_acks = true;
		tell(gdb, true);
		break;
	case 'D':
		tell(gdb, true);
		gdb_leave(gdb);
		return false;
	case 'k':
		vm_end(gdb->vm, END_STOPPED, 0);
		return false;
	}
	return true;
}
