// SPDX-License-Identifier: GPL-2.0
/* What is made of the table of options for others: the shells' completion, and the manual's table. */
#include <stdio.h>
#include <string.h>

#include "options.h"
#include "runner.h"
#include "usage.h"

/* The verbs that want a machine's name, and how a shell asks which there are. */
#define OF_MACHINES "console|stat|account|pause|resume|reset|memory|limit|gdb|watch|stop"
#define STEP_OPTIONS "--count --until --json"
#define MACHINES "$(mote ps 2>/dev/null | awk 'NR > 1 { print $1 }')"

static bool is_option(const struct row *row)
{
	return row->help;
}

/* Its value is the name of a file, or begins with one. */
static bool takes_file(const struct row *row)
{
	return row->type == ROW_FILE || row->type == ROW_DIRECTORY || row->type == ROW_OBJECT ||
	       row->type == ROW_VERB;
}

static void print_verbs(FILE *out)
{
	for (const struct verb *verb = verbs; verb->name; verb++)
		if (verb->help)
			fprintf(out, "%s ", verb->name);
	fputs("help version", out);
}

/* What comes after a comma; with = if it has a value. */
static void print_keys(FILE *out, const struct row *row)
{
	for (const struct row *key = row->keys + row->nr_main; key->name; key++)
		fprintf(out, "%s%s%s", key == row->keys + row->nr_main ? "" : " ", key->name,
			key->type == ROW_FLAG ? "" : "=");
}

/* ---- bash ---------------------------------------------------------------------------------- */

/* It has a value that is no name of a file, or behind which there may be keys. */
static void bash_option(FILE *out, const struct row *row)
{
	bool is_file = takes_file(row);

	if (!row->value || (is_file && !row->words && !row->keys))
		return;
	fprintf(out, "\t--%s", row->name);
	if (row->letter)
		fprintf(out, "|-%c", row->letter);
	fprintf(out, ") words='%s' files=%d", row->words ? row->words : "", !row->words && is_file);
	if (row->keys) {
		fputs(" keys='", out);
		print_keys(out, row);
		fputs("'", out);
	}
	fputs(" ;;\n", out);
}

void completion_bash(FILE *out)
{
	fputs("# Completion of mote's command line for bash, by `mote options bash`.\n"
	      "_mote_run() {\n"
	      "\tlocal words='' files=1 keys=''\n"
	      "\tcase $before in\n", out);
	for (const struct row *row = option_rows; row->name; row++)
		if (is_option(row))
			bash_option(out, row);
	fputs("\t*) [[ $word != -* ]] || words='", out);
	for (const struct row *row = option_rows; row->name; row++)
		if (is_option(row))
			fprintf(out, "--%s ", row->name);
	fputs("' files=0 ;;\n"
	      "\tesac\n"
	      "\tif [[ -n $keys && $word == *,* ]]; then\n"
	      "\t\tcompopt -o nospace 2>/dev/null\n"
	      "\t\tCOMPREPLY=($(compgen -P \"${word%,*},\" -W \"$keys\" -- \"${word##*,}\"))\n"
	      "\telif [[ $files == 1 ]]; then\n"
	      "\t\tcompopt -o filenames 2>/dev/null\n"
	      "\t\tmapfile -t COMPREPLY < <(compgen -f -- \"$word\")\n"
	      "\telse\n"
	      "\t\tCOMPREPLY=($(compgen -W \"$words\" -- \"$word\"))\n"
	      "\tfi\n"
	      "}\n"
	      "\n"
	      "_mote() {\n"
	      "\tlocal word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}\n"
	      "\tCOMPREPLY=()\n"
	      "\t# Bash divides at =, too.\n"
	      "\t[[ $word != = ]] || word=\n"
	      "\t[[ $before != = ]] || before=${COMP_WORDS[COMP_CWORD-2]}\n"
	      "\tif ((COMP_CWORD == 1)); then\n"
	      "\t\tCOMPREPLY=($(compgen -W '", out);
	print_verbs(out);
	fputs("' -- \"$word\"))\n"
	      "\t\treturn\n"
	      "\tfi\n"
	      "\tcase ${COMP_WORDS[1]} in\n"
	      "\t(run) _mote_run ;;\n"
	      "\t(step) if [[ \" ${COMP_WORDS[*]:2:COMP_CWORD-2} \" == *' run '* ]]; then\n"
	      "\t\t\t_mote_run\n"
	      "\t\telse\n"
	      "\t\t\tCOMPREPLY=($(compgen -W \"run " STEP_OPTIONS " " MACHINES "\" -- \"$word\"))\n"
	      "\t\tfi ;;\n"
	      "\t" OF_MACHINES ") COMPREPLY=($(compgen -W \"" MACHINES "\" -- \"$word\")) ;;\n"
	      "\tesac\n"
	      "}\n"
	      "complete -F _mote mote\n", out);
}

/* ---- zsh ------------------------------------------------------------------------------------- */

static void zsh_help(FILE *out, const char *help)
{
	for (; *help; help++) {
		if (*help == '\'')
			fputs("'\\''", out);
		else if (*help == '[' || *help == ']' || *help == '\\')
			fprintf(out, "\\%c", *help);
		else
			fputc(*help, out);
	}
}

/* What stands behind a name: what it is, and its value. */
static void zsh_rest(FILE *out, const struct row *row)
{
	bool is_file = takes_file(row);

	fputc('[', out);
	zsh_help(out, row->help);
	fputc(']', out);
	if (row->value)
		fprintf(out, "%s%s:%s%s%s", row->bare ? "::" : ":", row->name,
			row->words ? "(" : is_file ? "_files" : "", row->words ? row->words : "",
			row->words ? ")" : "");
	fputs("'\n", out);
}

static void zsh_option(FILE *out, const struct row *row)
{
	fprintf(out, "\t\t'%s--%s%s", row->most ? "*" : "", row->name,
		row->bare ? "=-" : row->value ? "=" : "");
	zsh_rest(out, row);
	if (!row->letter)
		return;
	fprintf(out, "\t\t'-%c%s", row->letter, row->value ? "+" : "");
	zsh_rest(out, row);
}

void completion_zsh(FILE *out)
{
	fputs("#compdef mote\n"
	      "# Completion of mote's command line for zsh, by `mote options zsh`.\n"
	      "_mote() {\n"
	      "\tlocal -a options\n"
	      "\toptions=(\n", out);
	for (const struct row *row = option_rows; row->name; row++)
		if (is_option(row))
			zsh_option(out, row);
	fputs("\t\t'1:image:_files'\n"
	      "\t)\n"
	      "\tif ((CURRENT == 2)); then\n"
	      "\t\tcompadd -- ", out);
	print_verbs(out);
	fputs("\n"
	      "\t\treturn\n"
	      "\tfi\n"
	      "\tcase $words[2] in\n"
	      "\t(run) shift words; ((CURRENT--)); _arguments $options ;;\n"
	      "\t(step) compadd -- run " STEP_OPTIONS " ${(f)\"" MACHINES "\"} ;;\n"
	      "\t" OF_MACHINES ") compadd -- ${(f)\"" MACHINES "\"} ;;\n"
	      "\tesac\n"
	      "}\n"
	      "_mote \"$@\"\n", out);
}

/* ---- the manual -------------------------------------------------------------------------------- */

static void man_row(FILE *out, const char *of, const struct row *row)
{
	char wanted[512];

	fprintf(out, ".It %s%s%s Ta %s%s", of, of[0] ? ": " : "", row->name,
		row_wanted(row, wanted, sizeof(wanted)), row->bare ? ", or true" : "");
	if (row->most)
		fprintf(out, "; up to %u", row->most);
	fprintf(out, " Ta%s%s\n", row->initial ? " " : "", row->initial ? row->initial : "");
	for (const struct row *key = row->keys; key && key->name; key++)
		man_row(out, row->name, key);
}

void completion_man(FILE *out)
{
	fputs(".\\\" By `mote options man`: a test compares.\n"
	      ".Bl -column \"net: host-loopback\" \"a number of seconds, above 0 and up to\" \"512M\"\n"
	      ".It Sy member Ta Sy value Ta Sy else\n", out);
	for (const struct row *row = option_rows; row->name; row++)
		if (row->type != ROW_VERB)
			man_row(out, "", row);
	fputs(".El\n", out);
}

/* ---- for the build ------------------------------------------------------------------------------- */

int options_run(const struct verb *verb, int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*print)(FILE *out);
	} kinds[] = { { "bash", completion_bash }, { "zsh", completion_zsh }, { "man", completion_man } };

	for (size_t i = 0; argc == 2 && i < ARRAY_SIZE(kinds); i++)
		if (!strcmp(argv[1], kinds[i].name)) {
			kinds[i].print(stdout);
			return EXIT_OK;
		}
	complain("%s: bash, zsh or man?", verb->name);
	return EXIT_USAGE;
}
