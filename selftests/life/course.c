// SPDX-License-Identifier: GPL-2.0
/*
 * docs/course.md, lesson by lesson: the commands of its blocks are typed, and what the doc says that one
 * sees has to be seen, line by line.
 *
 * A block of shell commands is run; each block behind it, "both", "svm" or "vmx", has lines of their output,
 * in that order and with others between, but for blanks and exits' numbers.
 */
#include "kselftest_harness.h"
#include "life.h"

#define SCRIPT "/tmp/lesson.sh"
#define OUTPUT "/tmp/lesson.out"

FIXTURE(course)
{
	FILE *doc;
};

FIXTURE_VARIANT(course)
{
	const char *title;
};

FIXTURE_VARIANT_ADD(course, trap_and_emulate) { .title = "## 1. " };
FIXTURE_VARIANT_ADD(course, nested_paging) { .title = "## 2. " };
FIXTURE_VARIANT_ADD(course, injection) { .title = "## 3. " };
FIXTURE_VARIANT_ADD(course, smp_start_up) { .title = "## 4. " };
FIXTURE_VARIANT_ADD(course, paravirtual_clock) { .title = "## 5. " };
FIXTURE_VARIANT_ADD(course, migration) { .title = "## 6. " };

FIXTURE_SETUP(course)
{
	life_begin();
	self->doc = fopen("course.md", "r");
	ASSERT_NE(NULL, self->doc);
}

FIXTURE_TEARDOWN(course)
{
	fclose(self->doc);
	unlink(SCRIPT);
	unlink(OUTPUT);
	life_end();
}

/* As it is compared: one blank for any, none at the ends, and without the number of an exit. */
static void simplify(char *line)
{
	char *to = line, *from = line + strspn(line, " ");

	if (*from == '#')
		from += strcspn(from, " ");
	for (from += strspn(from, " "); *from && *from != '\n'; from++)
		if (*from != ' ' || (from[1] != ' ' && from[1] != '\n'))
			*to++ = *from;
	*to = '\0';
}

/* The next line within the lesson; false: it is over. */
static bool next_line(FILE *doc, char *line, size_t size)
{
	return fgets(line, size, doc) && strncmp(line, "## ", 3);
}

static bool begin_lesson(FILE *doc, const char *title)
{
	char line[512];

	while (fgets(line, sizeof(line), doc))
		if (!strncmp(line, title, strlen(title)))
			return true;
	return false;
}

/* The rest of a block of commands goes to SCRIPT, what they say to OUTPUT. */
static bool type(FILE *doc)
{
	FILE *script = fopen(SCRIPT, "w");
	char line[512];

	fputs("set -e\n", script);
	while (next_line(doc, line, sizeof(line)) && strcmp(line, "```\n"))
		fputs(line, script);
	fclose(script);
	return !sh("timeout 7000 bash " SCRIPT " > " OUTPUT " 2>&1");
}

/* The rest of a block of what is seen; @missing: out: the line that is not. */
static bool is_seen(FILE *doc, char *missing, size_t size)
{
	FILE *output = fopen(OUTPUT, "r");
	char line[512];
	bool good = output;

	while (next_line(doc, missing, size) && strcmp(missing, "```\n")) {
		simplify(missing);
		if (!good || !strcmp(missing, "..."))
			continue;
		do
			good = fgets(line, sizeof(line), output);
		while (good && (simplify(line), strcmp(line, missing)));
		if (!good)
			break;
	}
	fclose(output);
	return good;
}

static bool has_linux(void)
{
	return is_time_for_systems() && !access("/usr/lib/mote/selftests/boot/initrd", R_OK);
}

TEST_F(course, lesson)
{
	const char *vendor = mote_cpuid_vendor() == MOTE_VENDOR_VMX ? "```vmx\n" : "```svm\n";
	int nr_typed = 0, nr_seen = 0;
	char line[512];
	bool types = true;

	ASSERT_TRUE(begin_lesson(self->doc, variant->title));
	while (next_line(self->doc, line, sizeof(line))) {
		/* A whole system that is not typed here is passed over, with what it would say. */
		if (!strncmp(line, "```sh", 5))
			types = !strcmp(line, "```sh\n") || has_linux();
		if (!types)
			continue;
		if (!strncmp(line, "```sh", 5)) {
			ASSERT_TRUE(type(self->doc)) {
				sh("cat " SCRIPT " " OUTPUT " >&2");
			}
			nr_typed++;
		} else if (!strcmp(line, "```both\n") || !strcmp(line, vendor)) {
			ASSERT_TRUE(is_seen(self->doc, line, sizeof(line))) {
				TH_LOG("not seen: %s", line);
				sh("cat " OUTPUT " >&2");
			}
			nr_seen++;
		}
	}
	EXPECT_LT(0, nr_typed);
	EXPECT_LE(nr_typed, nr_seen);
}

MOTE_TEST_MAIN
