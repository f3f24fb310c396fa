// SPDX-License-Identifier: GPL-2.0
/*
 * The options of mote run: what is taken goes to where it belongs, and what is not is one
 * complaint.
 */
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "loader.h"
#include "nbd.h"
#include "net.h"
#include "options.h"
#include "runner.h"
#include "complaints.h"
#include "usage.h"

#define MEBI (1ull << 20)
#define ROUNDS 20000


/* Of main.c: the ones that completion asks for. */
const struct verb verbs[] = {
	{ "run", "run", NULL, NULL }, { "stop", "stop", NULL, NULL }, { "hidden" }, { 0 }
};

static struct options options, again;

static void clear(struct options *which)
{
	json_object_put(which->config);
	*which = (struct options) { .config = json_object_new_object() };
}

static void begin(void)
{
	clear(&options);
	nr_complaints = 0;
}

static const struct row *row_named(const char *name)
{
	return row_find(option_rows, name, strlen(name));
}

static int set(const char *name, const char *text)
{
	return options_set(&options, row_named(name), text);
}

/* ---- what is taken -------------------------------------------------------------------------- */

static void numbers(void)
{
	begin();
	CHECK(!set("memory", "1") && options.memory == MEBI);
	CHECK(!set("memory", "512M") && options.memory == 512 * MEBI);
	CHECK(!set("memory", "2g") && options.memory == 2048 * MEBI);
	CHECK(!set("memory", "4096G") && options.memory == 4096 * 1024 * MEBI);
	CHECK(!set("cpus", "1024") && options.cpus == 1024);
	CHECK(!set("vsock", "4294967294") && options.vsock == 4294967294);
	CHECK(!set("timeout", "1.5") && options.timeout == 1500000000);
	CHECK(!set("timeout", "1e-20") && options.timeout == 1);
	CHECK(!set("timeout", "1000000000") && options.timeout == 1000000000ull * NS_PER_S);
	CHECK(!set("balloon", NULL) && options.balloon == 4096 * 1024 * MEBI);
	CHECK(!set("balloon", "32M") && options.balloon == 32 * MEBI);
	EQ(0, nr_complaints);
}

static void words(void)
{
	begin();
	CHECK(!set("json", NULL) && options.json);
	CHECK(!set("json", "false") && !options.json);
	CHECK(!set("json", "true") && options.json);
	CHECK(!set("serial", "socket") && !strcmp(options.serial, "socket"));
	CHECK(!set("firmware", NULL) && !strcmp(options.firmware, SEABIOS));
	CHECK(!set("firmware", "uefi") && !strcmp(options.firmware, OVMF));
	CHECK(!set("firmware", "a,b") && !strcmp(options.firmware, "a,b"));
	CHECK(!set("append", "") && !strcmp(options.append, ""));
	CHECK(!set("name", "a.b-c_1") && !strcmp(options.name, "a.b-c_1"));
	CHECK(!set("initrd", "one") && !set("module", "two x=y,z") && options.nr_modules == 2);
	CHECK(!strcmp(options.modules[0], "one") && !strcmp(options.modules[1], "two x=y,z"));
	CHECK(!set("cpu", "-pae,+fpu") && !set("cpu", "+pae"));
	EQ(0, nr_complaints);
}

/* What is hidden is not there, and a machine that was shown something wants it wherever it goes. */
static void cpus(void)
{
	struct mote_cpuid_entry rows[] = {
		{ .leaf = 1, .ecx = ~0u, .edx = ~0u },
		{ .leaf = 7, .flags = MOTE_CPUID_SUBLEAF, .ebx = ~0u, .ecx = ~0u, .edx = ~0u },
		{ .leaf = 0x80000001, .ecx = ~0u, .edx = ~0u }, { .leaf = 0x80000007, .edx = ~0u },
	}, other[4];
	char name[FEATURE_NAME_MOST];

	memcpy(other, rows, sizeof(rows));
	begin();
	CHECK(!cpu_features_missing(rows, 4, other, 4, name));
	CHECK(!set("cpu", "portable,+avx") && !cpu_features_apply(&options.features, rows, 4));
	/* SSE 4.2 and AVX, not FMA and XSAVE; no SYSENTER; SYSCALL, and what AMD repeats. */
	EQ(1u << 20 | 1u << 28, rows[0].ecx & (1u << 20 | 1u << 28 | 1u << 12 | 1u << 26));
	EQ(1u << 26, rows[0].edx & (1u << 26 | 1u << 11));
	EQ(0, rows[1].ebx | rows[1].ecx | rows[1].edx | rows[3].edx);
	EQ(1u << 11 | 1u << 29 | 1, rows[2].edx & (1u << 11 | 1u << 29 | 1 | 1u << 27 | 1u << 31));
	CHECK(!cpu_features_missing(rows, 4, other, 4, name));
	CHECK(cpu_features_missing(other, 4, rows, 4, name) && !strcmp(name, "CPUID leaf 0x1 bit 10"));
	other[0].ecx = rows[0].ecx & ~(1u << 28);
	CHECK(cpu_features_missing(rows, 4, other, 4, name) && !strcmp(name, "avx"));
	other[0].ecx = ~0u;
	/* Intel's do not repeat them, and a leaf may not be there. */
	other[2].edx = 1u << 11 | 1u << 20 | 1u << 29;
	CHECK(!cpu_features_missing(rows, 3, other, 3, name));
	CHECK(cpu_features_missing(rows, 3, other, 2, name));
	EQ(0, nr_complaints);
}

/* None is 0, where that can be said. */
static void limits(void)
{
	const struct io_limit *disk = &options.limits.io[1];

	begin();
	CHECK(!set("cpu-weight", "10000") && options.limits.cpu_weight == 10000);
	CHECK(!set("cpu-max", "150") && options.limits.cpu_max == 150);
	CHECK(!set("cpu-max", "0") && !options.limits.cpu_max);
	CHECK(!set("memory-max", "2G") && options.limits.memory_max == 2048 * MEBI);
	CHECK(!set("memory-max", "0") && !options.limits.memory_max);
	CHECK(!set("cpu-reserve", "1500us/100ms") && options.reservation.runtime_ns == 1500000 &&
	      options.reservation.period_ns == 100000000);
	CHECK(!set("io-max", "/dev/vda") && !set("io-max", "/dev/vdb,rbps=10M,wbps=0,riops=7,wiops=8"));
	CHECK(options.limits.nr_io == 2 && !strcmp(disk->device, "/dev/vdb"));
	CHECK(disk->read_bytes == 10 * MEBI && !disk->written_bytes && disk->reads == 7 && disk->writes == 8);
	EQ(0, nr_complaints);
}

/* Of disks and cards. */
static void rates(void)
{
	begin();
	CHECK(!set("disk", "a,iops=100,bps=10M,burst=0.5") && !set("disk", "b,bps=16G"));
	EQ(100, options.disks[0].rate.requests);
	EQ(10 * MEBI, options.disks[0].rate.bytes);
	EQ(NS_PER_S / 2, options.disks[0].rate.burst_ns);
	CHECK(!options.disks[1].rate.requests && !options.disks[1].rate.burst_ns);
	CHECK(!set("net", "user,pps=7,bps=1M") && options.nics[0].rate.requests == 7);
	EQ(MEBI, options.nics[0].rate.bytes);
	EQ(0, nr_complaints);
}

/* A comma is the name's, but before a key. */
static void disks(void)
{
	const struct disk *disk = options.disks;

	begin();
	CHECK(!set("disk", "a") && !strcmp(disk[0].path, "a") && !disk[0].readonly && !disk[0].sector);
	CHECK(!set("disk", "a,b,ro") && !strcmp(disk[1].path, "a,b") && disk[1].readonly);
	CHECK(!set("disk", "a,ro,b") && !strcmp(disk[2].path, "a,ro,b") && !disk[2].readonly);
	CHECK(!set("disk", "c,sector=4096,format=vdi,ro=false") && disk[3].sector == 4096);
	CHECK(!strcmp(disk[3].format, "vdi") && !disk[3].is_raw && !disk[3].readonly);
	CHECK(!set("disk", "d.qcow2") && !strcmp(disk[4].format, "qcow2"));
	CHECK(!set("disk", "d.qcow2,format=raw") && disk[5].is_raw && !disk[5].format);
	CHECK(!set("disk", "x,file=y") && !strcmp(disk[6].path, "x,file=y"));
	CHECK(!set("disk", "e.luks,format=luks,key=k") && !strcmp(disk[7].key, "k") && !disk[7].is_raw);
	CHECK(!set("disk", "f.qcow2,key=k") && !strcmp(disk[8].format, "qcow2"));
	CHECK(!set("disk", "nbd://host/name,ro") && !strcmp(disk[9].format, "raw") && !disk[9].is_raw);
	CHECK(disk[9].readonly && !strcmp(disk[9].path, "nbd://host/name"));
	CHECK(!set("disk", "nbd+unix:///a,b?socket=/c,d,format=qcow2") && !strcmp(disk[10].format, "qcow2"));
	EQ(11, options.nr_disks);
	EQ(0, nr_complaints);
}

static void nbd_addresses(void)
{
	static const struct {
		const char *address, *host, *port, *export;
	} rows[] = {
		{ "nbd://host", "host", "10809", "" }, { "nbd://host/", "host", "10809", "" },
		{ "nbd://192.0.2.1:7/a/b", "192.0.2.1", "7", "a/b" },
		{ "nbd://[2001:db8::1]:65535/x", "2001:db8::1", "65535", "x" },
		{ "nbd://[::1]", "::1", "10809", "" }, { "nbd://h/a%20b%25", "h", "10809", "a b%" },
		{ "nbd+unix:///?socket=/run/s", "/run/s", "", "" },
		{ "nbd+unix:///a%3Fb?socket=s", "s", "", "a?b" },
	};
	static const char *const bad[] = {
		"nbd://", "nbd:///x", "nbd://:1", "nbd://h:", "nbd://h:x", "nbd://h:65536", "nbd://h:999999",
		"nbd://[::1", "nbd://[::1]x", "nbd://[]", "nbd://h/x?socket=y", "nbd://h?x", "nbd://h/%",
		"nbd://h/%0", "nbd://h/%00", "nbd://h/%zz", "nbd+unix://", "nbd+unix:///", "nbd+unix:///x",
		"nbd+unix:///x?socket=", "nbd+unix://h/x?socket=y", "nbd", "nbds://h", "",
	};
	char longest[600] = "nbd://h/";
	struct nbd nbd;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		CHECK(nbd_is_address(rows[i].address) && nbd_parse(rows[i].address, &nbd));
		CHECK(!strcmp(nbd.host, rows[i].host) && !strcmp(nbd.port, rows[i].port));
		CHECK(!strcmp(nbd.export, rows[i].export) && nbd.is_unix == !rows[i].port[0]);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		look(!nbd_parse(bad[i], &nbd), bad[i], i, __LINE__);
	memset(longest + strlen(longest), 'x', 255);
	CHECK(nbd_parse(longest, &nbd) && strlen(nbd.export) == 255);
	longest[strlen(longest)] = 'x';
	CHECK(!nbd_parse(longest, &nbd));
}

static void others(void)
{
	begin();
	CHECK(!set("share", "home=/a=b,c,root") && !strcmp(options.shares[0].tag, "home"));
	CHECK(!strcmp(options.shares[0].path, "/a=b,c") && options.shares[0].as_root);
	CHECK(!set("net", "user,host-loopback,mac=52:54:0:0:0:1") && options.nics[0].host_loopback);
	EQ(0x52, options.nics[0].mac[0]);
	CHECK(!set("net", "user,forward=1:2,mac=2:0:0:0:0:1,forward=udp:3:4") &&
		options.nics[1].nr_forwards == 2);
	CHECK(options.nics[1].forwards[1].is_udp && options.nics[1].forwards[1].port == 3);
	CHECK(!set("forward", "80:8080") && !set("forward", "udp:53:5353"));
	CHECK(!options.forwards[0].is_udp && options.forwards[0].port == 80);
	CHECK(options.forwards[1].is_udp && options.forwards[1].guest_port == 5353);
	EQ(0, nr_complaints);
}

/* ---- what is not ---------------------------------------------------------------------------- */

static const struct bad {
	const char *name;
	const char *text;
	const char *say;
} bad[] = {
	{ "memory", "", "--memory: not a size from 1M to 4096G (512M, 2G ...): " },
	{ "memory", "0", "not a size" }, { "memory", "lots", "not a size" }, { "memory", "-1", "not a size" },
	{ "memory", "+1", "not a size" }, { "memory", " 1", "not a size" }, { "memory", "1MM", "not a size" },
	{ "memory", "1K", "not a size" }, { "memory", "4097G", "not a size" },
	{ "memory", "1.5G", "not a size" },
	{ "memory", "18446744073709551616", "not a size" }, { "memory", "17592186044417M", "not a size" },
	{ "cpus", "0", "--cpus: not a number from 1 to 1024: 0" }, { "cpus", "1025", "not a number" },
	{ "cpus", "2x", "not a number" }, { "cpus", "", "not a number" }, { "cpus", "-1", "not a number" },
	{ "cpus", "1.0", "not a number" }, { "cpus", "4294967297", "not a number" },
	{ "cpus", "18446744073709551617", "not a number" },
	{ "vsock", "2", "not a number from 3 to 4294967294" }, { "vsock", "4294967295", "not a number" },
	{ "timeout", "0", "not a number of seconds" }, { "timeout", "nan", "not a number of seconds" },
	{ "timeout", "-1", "not a number of seconds" }, { "timeout", "1e999", "not a number of seconds" },
	{ "timeout", "1000000001", "not a number of seconds" },
	{ "timeout", "0x1", "not a number of seconds" },
	{ "serial", "port", "--serial: not stdio, socket or none: port" }, { "serial", "", "not stdio" },
	{ "serial", "stdio socket", "not stdio" }, { "serial", "stdi", "not stdio" },
	{ "json", "", "not true or false" }, { "json", "1", "not true or false" },
	{ "name", "", "not of letters" }, { "name", ".a", "not of letters" },
	{ "name", "a/b", "not of letters" },
	{ "cpu", "2", "--cpus 2" }, { "cpu", "", "neither -NAME nor +NAME" }, { "cpu", "-pae,", "neither" },
	{ "cpu", "+nosuch", "no feature is called nosuch" },
	{ "disk", "a,format=", "--disk: format: not raw, qcow2, qed, vdi, vhdx, vmdk, vpc or luks: " },
	{ "disk", "a,format", "format= wants a value" }, { "disk", "a,sector=512k", "not 512 or 4096" },
	{ "disk", "a,ro,ro", "twice" }, { "disk", "a,ro=yes", "ro: not true or false" },
	{ "share", "a", "not TAG=DIR" }, { "share", "=a", "not TAG=DIR" }, { "share", "a=", "not TAG=DIR" },
	{ "share", "a23456789012345678901234567890123456x=/", "not of 1 to 36 characters" },
	{ "disk", "a,format=luks", "format=luks wants key=FILE" }, { "disk", "a,key=k", "key= is for" },
	{ "disk", "a,format=vdi,key=k", "key= is for" }, { "disk", "nbd://", "not nbd://HOST" },
	{ "disk", "nbd+unix:///x,format=raw", "not nbd://HOST" },
	{ "net", "", "not user, passt, tap:NAME or vhost:NAME: " }, { "net", "users", "not user" },
	{ "net", "tap:", "not user" }, { "net", "vhost:1234567890123456", "not user" },
	{ "net", "user,", "there is no , but mac, pps, bps, burst, host-loopback, forward" },
	{ "net", "user,a=b", "there is no a" },
	{ "net", "user,mac=1:0:0:0:0:0", "not the address of a card" },
	{ "net", "tap:a,host-loopback", "host-loopback is of user and passt alone" },
	{ "net", "tap:a,forward=1:1", "forward is of user and passt alone" },
	{ "net", "user,forward=1", "not PORT:PORT" },
	{ "net", "user,forward", "forward= wants a value" },
	{ "forward", "22", "not PORT:PORT" }, { "forward", "0:1", "not PORT:PORT" },
	{ "forward", "1:65536", "not PORT:PORT" }, { "forward", "-1:1", "not PORT:PORT" },
	{ "forward", " 1:1", "not PORT:PORT" }, { "forward", "tcp:1:1", "not PORT:PORT" },
	{ "cpu-reserve", "20ms", "not RUNTIME/PERIOD" }, { "cpu-reserve", "20/100", "not RUNTIME/PERIOD" },
	{ "cpu-reserve", "101ms/100ms", "not RUNTIME/PERIOD" }, { "cpu-reserve", "0us/1ms", "not RUNTIME" },
	{ "cpu-reserve", "1us/99us", "not RUNTIME/PERIOD" }, { "cpu-reserve", "1ms/4001ms", "not RUNTIME" },
	{ "cpu-reserve", "1ms/2ms ", "not RUNTIME" }, { "cpu-reserve", "99999999us/1ms", "not RUNTIME" },
	{ "disk", "a,iops=0", "not a number from 1" }, { "disk", "a,bps=17G", "not a size from 1M to 16G" },
	{ "disk", "a,burst=1", "burst= wants iops= or bps=" }, { "disk", "a,iops=1,burst=0", "not a number" },
	{ "net", "user,burst=1", "burst= wants pps= or bps=" }, { "net", "vhost:a,pps=1", "not for vhost:" },
	{ "forward", "1:1:1", "not PORT:PORT" }, { "forward", "udp:udp:1:1", "not PORT:PORT" },
};

static void refusals(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		begin();
		if (set(bad[i].name, bad[i].text) < 0 && nr_complaints == 1 && strstr(said, bad[i].say))
			continue;
		look(false, bad[i].name, i, __LINE__);
	}
}

/* One more than there may be. */
static void too_many(void)
{
	char text[32];

	for (const struct row *row = option_rows; row->name; row++) {
		if (!row->most)
			continue;
		begin();
		for (unsigned int i = 0; i < row->most; i++) {
			snprintf(text, sizeof(text), !strcmp(row->name, "share") ? "%u=/" :
				 !strcmp(row->name, "net") ? "user" : !strcmp(row->name, "forward") ? "1:1" :
				 !strcmp(row->name, "cpu") ? "+fpu" :
				 !strcmp(row->name, "console") ? "socket" : "%u", i);
			CHECK(!set(row->name, text));
		}
		EQ(0, nr_complaints);
		CHECK(set(row->name, "more=1") < 0);
		EQ(1, nr_complaints);
	}
}

static bool has_value(const struct row *row)
{
	return row->type != ROW_FLAG && !row->bare;
}

static void conflicts(void)
{
	static const char *const pairs[][2] = {
		{ "console", "detach" }, { "flat", "module" }, { "flat", "append" }, { "firmware", "append" },
		{ "firmware", "module" }, { "firmware", "flat" },
	};
	static const char *const reserved[] = { "1us/100us", "20ms/100ms", "4000ms/4000ms" };


	for (size_t i = 0; i < ARRAY_SIZE(pairs); i++) {
		begin();
		for (unsigned int k = 0; k < 2; k++)
			CHECK(!set(pairs[i][k], has_value(row_named(pairs[i][k])) ? "x" : NULL));
		EQ(-1, options_check(&options));
		EQ(1, nr_complaints);
	}
	for (size_t i = 0; i < ARRAY_SIZE(reserved); i++) {
		begin();
		CHECK(!set("cpu-reserve", reserved[i]) && !options_check(&options));
		CHECK(!set("restart", NULL) && options_check(&options) < 0 && nr_complaints == 1);
	}
	begin();
	CHECK(!set("forward", "1:1") && options_check(&options) < 0);
	begin();
	CHECK(!set("forward", "1:1") && !set("net", "tap:a") && options_check(&options) < 0);
	begin();
	CHECK(!set("forward", "1:1") && !set("net", "user") && !set("net", "user") &&
		options_check(&options) < 0);
	begin();
	CHECK(!set("forward", "1:1") && !set("net", "tap:a") && !set("net", "user,forward=2:2"));
	CHECK(!options_check(&options) && options.nics[1].nr_forwards == 2 &&
		options.nics[1].forwards[1].port == 1);
}

/* ---- anything ------------------------------------------------------------------------------- */

static const char *const pieces[] = {
	"", "a", ",", "=", "ro", ",ro", "format=", "raw", "qcow2", ",sector=", "512", "4096", "user", "passt",
	"nbd://", "nbd+unix://", "?socket=", "luks", ",key=", "%",
	"tap:", "vhost:",
	",mac=", "52:54:00:12:34:56", ",host-loopback", "1", "22", ":", "udp:", "-", "+", "pae", "M", "G",
	".", "e",
	"true", "false", "stdio", "tag", "/", "root", " ", "\n", "\xff", "99999999999999999999", "{", "\"",
	"uefi",
};

static unsigned int random_below(unsigned int below)
{
	static unsigned int state = 1;

	state = state * 1103515245 + 12345;
	return (state >> 8) % below;
}

/* As a command line of one option: taken, or one complaint. */
static void anything(void)
{
	unsigned int nr_rows = 0, nr_taken = 0;
	char text[256];

	while (option_rows[nr_rows].name)
		nr_rows++;
	for (unsigned int i = 0; i < ROUNDS; i++) {
		const struct row *row = &option_rows[random_below(nr_rows)];
		int err;

		if (row->type == ROW_VERB)
			continue;
		begin();
		text[0] = '\0';
		for (unsigned int left = random_below(6); left; left--)
			strcat(text, pieces[random_below(ARRAY_SIZE(pieces))]);
		err = options_set(&options, row, row->bare && !random_below(8) ? NULL : text);
		CHECK(nr_complaints == !!err);
		nr_taken += !err;
		if (!err)
			CHECK(options_check(&options) ? nr_complaints == 1 : !nr_complaints);
	}
	printf("# %u taken\n", nr_taken);
	CHECK(nr_taken > ROUNDS / 10 && nr_taken < ROUNDS / 10 * 9);
}

/* ---- files ---------------------------------------------------------------------------------- */

static char path[32] = "/tmp/options_test.XXXXXX";

static int read_file(struct options *which, const char *text, size_t size)
{
	FILE *file = fopen(path, "w");

	if (!file || fwrite(text, 1, size, file) != size || fclose(file))
		return 1;
	return options_read(which, path);
}

static int read_text(const char *text)
{
	return read_file(&options, text, strlen(text));
}

static void file(void)
{
	begin();
	CHECK(!read_text("{ \"image\": \"vmlinuz\", \"memory\": 64, \"cpus\": 2, \"timeout\": 1.5, "
		"\"json\": true,\n"
			 "\"disk\": [\"a,ro\", { \"file\": \"b,ro\", \"sector\": 4096 }], \"net\": \"user,host-loopback\",\n"
			 "\"forward\": \"1:2\", \"cpu\": [\"+pae\", \"-fpu\"], \"append\": \"a\\nb\\u00e9\", \"balloon\": true,\n"
			 "\"initrd\": \"i\", \"module\": [\"m\"], \"share\": { \"tag\": \"t\", "
			 "\"directory\": \"/\", \"root\": false } }\n"));
	EQ(64 * MEBI, options.memory);
	EQ(1500000000, options.timeout);
	CHECK(options.nr_disks == 2 && options.disks[0].readonly && !strcmp(options.disks[1].path, "b,ro"));
	CHECK(options.nr_modules == 2 && !strcmp(options.modules[0], "i"));
	CHECK(options.nics[0].host_loopback && options.forwards[0].guest_port == 2);
	CHECK(!strcmp(options.append, "a\nb\303\251") && options.balloon && options.nr_shares == 1);
	/* Then the command line replaces, or adds. */
	CHECK(!set("cpus", "3") && options.cpus == 3 && !set("json", "false") && !options.json);
	CHECK(!set("disk", "c") && options.nr_disks == 3 && !strcmp(options.disks[2].path, "c"));
	CHECK(!options_check(&options));
	EQ(0, nr_complaints);
}

static const struct {
	const char *text;
	const char *say;
} bad_files[] = {
	{ "", "no JSON" }, { "{", "no JSON" }, { "{}x", "no JSON" }, { "{} {}", "no JSON" },
	{ "[]", "not an object" },
	{ "null", "not an object" }, { "{\"cpus\": 1,}", "no JSON" }, { "{/**/}", "no JSON" },
	{ "{'cpus': 1}", "apostrophe" }, { "{'}}}}}}}}}}}}': 1}", "apostrophe" },
	{ "{\n\"cpus\" 1}", "line 2: no JSON" },
	{ "{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":1}}}}}}}}", "no JSON" },
	{ "{\"cpus\": 1, \"cpus\": 1}", ": cpus: it is there twice" },
	{ "{\"cpus\": 1, \"c\\u0070us\": 1}", ": cpus: it is there twice" },
	{ "{\"net\": {\"where\": \"user\", \"where\" : \"user\"}}", ": where: it is there twice" },
	{ "{\"nosuch\": 1}", ": there is no nosuch, but image, memory, cpus" },
	{ "{\"\": 1}", ": there is no , but" },
	{ "{\"config\": \"x\"}", ": there is no config" }, { "{\"help\": true}", ": there is no help" },
	{ "{\"cpus\": \"2\"}", ": cpus: not a number from 1 to 1024: \"2\"" },
	{ "{\"cpus\": 0}", "not a number" },
	{ "{\"cpus\": 2.0}", "not a number" }, { "{\"cpus\": null}", "not a number" },
	{ "{\"cpus\": [1]}", "not a number" },
	{ "{\"cpus\": -9223372036854775808}", "not a number" },
	{ "{\"cpus\": 18446744073709551615}", "not a number" },
	{ "{\"memory\": 1e3}", "not a size" }, { "{\"memory\": true}", "not a size" },
	{ "{\"memory\": -1}", "not a size" }, { "{\"balloon\": false}", "not a size" },
	{ "{\"timeout\": \"1\"}", "not a number of seconds" },
	{ "{\"timeout\": NaN}", "not a number of seconds" },
	{ "{\"json\": 1}", ": json: not true or false: 1" },
	{ "{\"append\": \"a\\u0000b\"}", "append: not a string" },
	{ "{\"append\": [\"a\"]}", "append: not a string: [\"a\"]" },
	{ "{\"image\": {}}", "image: not a string" },
	{ "{\"serial\": \"port\"}", "serial: not stdio, socket or none: \"port\"" },
	{ "{\"firmware\": false}", "firmware: not the name of a file: false" },
	{ "{\"cpu\": [3]}", "cpu[0]: not portable,-NAME" },
	{ "{\"disk\": [\"a\", {\"ro\": true}]}", "disk[1]: there is no file" },
	{ "{\"disk\": [[\"a\"]]}", "disk[0]: not an object or a string: [\"a\"]" },
	{ "{\"disk\": 3}", "disk: not an object" },
	{ "{\"disk\": {\"file\": \"a\", \"size\": 1}}", "disk: there is no size, but file, ro, "
	  "format, key, sector" },
	{ "{\"disk\": {\"file\": \"a\", \"sector\": \"512\"}}", "disk: sector: not 512 or 4096: \"512\"" },
	{ "{\"disk\": \"a,sector=3\"}", "disk: sector: not 512 or 4096: 3" },
	{ "{\"share\": [\"a=/\", \"a=/\"]}", "share[1]: there are two with the tag a" },
	{ "{\"net\": {\"mac\": \"2:0:0:0:0:1\"}}", "net: there is no where" },
};

static void refused_files(void)
{
	char all[2048] = "{\"append\": \"";

	for (size_t i = 0; i < ARRAY_SIZE(bad_files); i++) {
		begin();
		if (read_text(bad_files[i].text) < 0 && nr_complaints == 1 &&
		    strstr(said, bad_files[i].say) &&
		    strstr(said, path) && !strchr(said, '\n'))
			continue;
		look(false, bad_files[i].text, i, __LINE__);
	}
	begin();
	EQ(-1, read_file(&options, "{}\0", 3));
	EQ(-1, options_read(&options, "/dev/zero"));
	EQ(-1, options_read(&options, "/tmp"));
	EQ(-1, options_read(&options, "/nosuchfile"));
	EQ(4, nr_complaints);
	/* A long value is not repeated as a whole. */
	memset(all + strlen(all), 'x', 1500);
	strcat(all, "\\u0000\"}");
	CHECK(read_text(all) < 0 && strlen(said) < 400);
}

/* JSON with errors in it: taken, or one complaint. */
static void any_file(void)
{
	static const char *const bits[] = {
		"{", "}", "[", "]", ",", ":", "\"", "'", "\\", "\"disk\":", "\"net\":", "\"cpus\":",
		"\"file\":", "\"a\"",
		"\"user\"", "1", "true", "null", " ", "\n", "\"ro\":", "{\"file\":\"a\"}", "\"json\":true",
		"\\u0000", "\xff",
	};
	unsigned int nr_taken = 0;
	char text[512];

	for (unsigned int i = 0; i < ROUNDS / 10; i++) {
		bool is_taken;

		begin();
		strcpy(text, random_below(4) ? "{" : "");
		for (unsigned int left = random_below(9); left; left--)
			strcat(text, bits[random_below(ARRAY_SIZE(bits))]);
		strcat(text, random_below(4) ? "}" : "");
		is_taken = !read_text(text);
		nr_taken += is_taken;
		EQ(!is_taken, nr_complaints);
	}
	printf("# %u taken\n", nr_taken);
	CHECK(nr_taken);
}

/* ---- what is printed is what was said ------------------------------------------------------------ */

static bool is_same_text(const void *a, const void *b)
{
	const char *one = *(const char **)a, *other = *(const char **)b;

	return one && other ? !strcmp(one, other) : one == other;
}

static bool is_same(const struct row *row, const void *a, const void *b);

static bool is_same_value(const struct row *row, const void *a, const void *b)
{
	switch (row->type) {
	case ROW_FLAG:
		return *(const bool *)a == *(const bool *)b;
	case ROW_NUMBER:
		return *(const unsigned int *)a == *(const unsigned int *)b;
	case ROW_SIZE:
	case ROW_SECONDS:
		return *(const __u64 *)a == *(const __u64 *)b;
	case ROW_OBJECT:
		for (row = row->keys; row->name; row++)
			if (!is_same(row, a, b))
				return false;
		return true;
	case ROW_OWN:
		if (!strcmp(row->name, "cpu"))
			return !memcmp(a, b, sizeof(struct cpu_features));
		if (!strcmp(row->name, "forward"))
			return !memcmp(a, b, sizeof(struct forward));
		if (!strcmp(row->name, "mac"))
			return !memcmp(a, b, MAC_SIZE);
		if (!strcmp(row->name, "uuid"))
			return !memcmp(a, b, sizeof(((struct options *)0)->uuid));
		if (!strcmp(row->name, "watchdog"))
			return !memcmp(a, b, sizeof(enum watchdog_action));
		return !strcmp(row->name, "tag") ? !strcmp(a, b) : is_same_text(a, b);
	default:
		return is_same_text(a, b);
	}
}

static bool is_same(const struct row *row, const void *a, const void *b)
{
	unsigned int nr = row->most ? *(const unsigned int *)(a + row->count) : 1;

	if (row->type == ROW_VERB)
		return true;
	if (row->most && nr != *(const unsigned int *)(b + row->count))
		return false;
	for (size_t i = 0; i < nr; i++)
		if (!is_same_value(row, a + row->offset + i * row->size, b + row->offset + i * row->size))
			return false;
	return true;
}

static const char *const goods[][2] = {
	{ "image", "vmlinuz" }, { "image", "a b\n\"\xff" }, { "memory", "64" }, { "memory", "3g" },
	{ "cpus", "7" }, { "cpu", "-pae" },
	{ "cpu", "+pae,-fpu" }, { "initrd", "i" }, { "module", "m x=y" }, { "append", "" },
	{ "append", "a=\\\"b\" \t/" },
	{ "disk", "a" }, { "disk", "a,b,ro" }, { "disk", "c.qcow2,sector=512" },
	{ "disk", "d,format=raw,ro=false" },
	{ "share", "t=/a,b,root" }, { "share", "u=/" }, { "net", "user,mac=2:0:0:0:0:1,host-loopback" },
	{ "disk", "nbd://h:1/x,ro" }, { "disk", "e,format=luks,key=k" },
	{ "net", "tap:a" }, { "net", "user,forward=5:6,forward=udp:7:8" },
	{ "net", "passt,host-loopback,forward=5:6" },
	{ "forward", "1:2" }, { "forward", "udp:3:4" }, { "vsock", "4294967294" }, { "serial", "none" },
	{ "console" },
	{ "console", "socket" }, { "balloon" }, { "balloon", "32M" }, { "firmware" }, { "firmware", "uefi" },
	{ "firmware", "f" },
	{ "flat" }, { "restart" }, { "detach" }, { "timeout", "0.1" }, { "timeout", "1e-3" },
	{ "timeout", "1000000000" },
	{ "name", "n" }, { "json" }, { "json", "true" }, { "testdev" },
	{ "watchdog" }, { "watchdog", "nmi" }, { "on-panic", "pause" }, { "on-panic", "dump:c" },
	{ "uuid", "00112233-4455-6677-8899-aabbccddeeff" },
	{ "cloud-init", "seed" },
	{ "variables", "v" },
};

static void round_trips(void)
{
	for (unsigned int i = 0; i < ROUNDS / 10; i++) {
		const char *text;

		begin();
		clear(&again);
		for (unsigned int left = random_below(20); left; left--) {
			unsigned int k = random_below(ARRAY_SIZE(goods));

			set(goods[k][0], goods[k][1]);
		}
		nr_complaints = 0;
		text = json_object_to_json_string_ext(options.config, JSON_C_TO_STRING_PRETTY);
		CHECK(!read_file(&again, text, strlen(text)));
		EQ(0, nr_complaints);
		CHECK(json_object_equal(options.config, again.config));
		for (const struct row *row = option_rows; row->name; row++)
			look(is_same(row, &options, &again), row->name, i, __LINE__);
	}
}

/* ---- the table ------------------------------------------------------------------------------ */

static void table(void)
{
	for (const struct row *row = option_rows; row->name; row++) {
		char buffer[512];

		CHECK(row_named(row->name) == row);
		CHECK(!row->as || row_named(row->as)->count == row->count);
		CHECK((row->type == ROW_OWN) == !!row->parse && (row->type == ROW_OBJECT) == !!row->keys);
		CHECK(!row->keys || (row->nr_main && row->keys[row->nr_main - 1].name));
		CHECK(row_wanted(row, buffer, sizeof(buffer)));
	}
}

/* ---- what is made of it -------------------------------------------------------------------------- */

/* What @print prints, at @path, and as a text. */
static char *printed(void (*print)(FILE *out))
{
	static char text[16384];
	FILE *file = fopen(path, "w+");

	print(file);
	rewind(file);
	text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
	fclose(file);
	return text;
}

static const char *man(void)
{
	static char text[1 << 18];
	FILE *file = fopen(MAN, "r");

	if (file) {
		text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
		fclose(file);
	}
	return text;
}

/* Of a row's first line in a text: everything is there, and is seen on a terminal of 80 columns. */
static void help(void)
{
	char *text = printed(usage_print), *line;

	for (const struct row *row = option_rows; row->name; row++) {
		char name[64];

		snprintf(name, sizeof(name), "--%s", row->name);
		look(!!row->help == !!strstr(text, name), row->name, 0, __LINE__);
	}
	while ((line = strsep(&text, "\n")))
		look(strlen(line) <= 80, line, 0, __LINE__);
}

static void manual(void)
{
	/* `mote options man` prints what belongs there. */
	CHECK(strstr(man(), printed(completion_man)));
	for (const struct row *row = option_rows; row->name; row++) {
		char item[2][64];

		snprintf(item[0], sizeof(item[0]), "\n.It Fl -%s", row->name);
		snprintf(item[1], sizeof(item[1]), "\n.It Fl %c , -%s", row->letter, row->name);
		if (row->help && !(row->type == ROW_VERB && row->letter))
			look(strstr(man(), item[!!row->letter]), row->name, 0, __LINE__);
	}
}

/* Is that what a shell, which has read the script at $0, says? */
static bool says(const char *shell, const char *command, const char *want)
{
	char line[1024], answer[512] = "";
	FILE *pipe;

	snprintf(line, sizeof(line), "%s '%s' %s 2>&1", shell, command, path);
	pipe = popen(line, "r");
	answer[pipe ? fread(answer, 1, sizeof(answer) - 1, pipe) : 0] = '\0';
	answer[strcspn(answer, "\n")] = '\0';
	if (pipe && !pclose(pipe) && !strcmp(answer, want))
		return true;
	printf("# %s: %s, not %s\n", command, answer, want);
	return false;
}

static void bash(void)
{
#define COMPLETES(words, want)									\
	CHECK(says("bash -c", ". $0; COMP_WORDS=(" words "); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); "	\
		   "_mote; echo \"${COMPREPLY[*]}\"", want))
	printed(completion_bash);
	COMPLETES("mote \"\"", "run stop help version");
	COMPLETES("mote run --ser", "--serial");
	COMPLETES("mote run --serial = so", "socket");
	COMPLETES("mote run --serial \"\"", "stdio socket none");
	COMPLETES("mote run --serial =", "stdio socket none");
	COMPLETES("mote run -m \"\"", "");
	COMPLETES("mote run --disk a,b,s", "a,b,sector=");
	COMPLETES("mote run --disk a,ro,f", "a,ro,format=");
	COMPLETES("mote run --config /proc/cmdlin", "/proc/cmdline");
	COMPLETES("mote run -c 1 /proc/cmdlin", "/proc/cmdline");
	COMPLETES("mote run --cloud-init /proc/cmdlin", "/proc/cmdline");
}

/* With what it has of its own in the place of zsh's functions. */
static void zsh(void)
{
#define ZSH "_arguments() { print -rl -- $@ | grep -e $want }; compadd() { shift; print -r -- $@ }; "
	printed(completion_zsh);
	CHECK(says("zsh -f -c", ZSH "words=(mote x); CURRENT=2; . $0", "run stop help version"));
	CHECK(says("zsh -f -c", ZSH "words=(mote run x); CURRENT=3; want=--serial; . $0",
		   "--serial=[the serial port: stdio (Ctrl-A x ends), socket, "
		   "none]:serial:(stdio socket none)"));
	CHECK(says("zsh -f -c", ZSH "words=(mote run x); CURRENT=3; want=^-m; . $0",
		   "-m+[memory: 512M, 2G ...]:memory:"));
	CHECK(says("zsh -f -c", ZSH "words=(mote run x); CURRENT=3; want=--append; . $0",
		   "--append=[the kernel's command line (console=, where that is)]:append:"));
}

int main(void)
{
	static const struct unit_test tests[] = {
		{ "numbers", numbers },
		{ "words and texts", words },
		{ "CPU features", cpus },
		{ "limits", limits },
		{ "disks", disks },
		{ "rates", rates },
		{ "addresses of NBD servers", nbd_addresses },
		{ "other objects", others },
		{ "what is refused", refusals },
		{ "too many", too_many },
		{ "what does not go together", conflicts },
		{ "anything", anything },
		{ "the table", table },
		{ "a file", file },
		{ "files that are refused", refused_files },
		{ "any file", any_file },
		{ "what is printed is taken again", round_trips },
		{ "the help", help },
		{ "the manual", manual },
		{ "completion by bash", bash },
		{ "completion by zsh", zsh },
	};
	int status;

	close(mkstemp(path));
	status = run_all(tests, ARRAY_SIZE(tests));
	unlink(path);
	json_object_put(options.config);
	json_object_put(again.config);
	return status;
}
