/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The end of a migration (userspace/runner/migrate.c, receive.c; docs/migration.md): who has the machine, whatever is
 * lost when.  The connection may be cut at any moment, after which nothing more comes and each end
 * notices; each end may die at any moment.
 *
 * Checked: never do two run; and while nobody has died, either one runs, or the source says that
 * somebody has to look, which is so only when the connection was cut behind WIRE_GO.  With NO_GO the destination
 * runs as soon as it is ready, with NO_HOLD the source goes on when it hears nothing after
 * WIRE_GO: the checks have to fail then.
 */
mtype = { STATE, READY, GO, RUNS };

chan to_destination = [4] of { mtype };
chan to_source = [4] of { mtype };

bool is_cut, source_dead, destination_dead;
bool source_runs = true, destination_runs, source_asks;
bool source_done, destination_done, has_gone;

#define BOTH_ALIVE (!source_dead && !destination_dead)

/* What is on its way may come or not. */
proctype Cut()
{
	if
	:: is_cut = true
	:: skip
	fi
}

proctype Deaths()
{
	if
	:: atomic { source_dead = true; source_runs = false }
	:: atomic { destination_dead = true; destination_runs = false }
	:: skip
	fi
}

proctype Source()
{
	/* PAUSES, LAST */
	source_runs = false;
	to_destination!STATE;
	/* ASKS */
	if
	:: atomic { !source_dead && nempty(to_source) -> to_source?READY }
	:: atomic { !source_dead && (is_cut || destination_dead) -> source_runs = true; goto done }
	:: source_dead -> goto done
	fi;
	/* GOES */
	atomic { has_gone = true; to_destination!GO };
	if
	:: atomic { !source_dead && nempty(to_source) -> to_source?RUNS }
	:: atomic { !source_dead && (is_cut || destination_dead) ->
#ifdef NO_HOLD
		source_runs = true
#else
		source_asks = true
#endif
	   }
	:: source_dead
	fi;
done:
	source_done = true
}

proctype Destination()
{
	if
	:: atomic { !destination_dead && nempty(to_destination) -> to_destination?STATE }
	:: (is_cut || source_dead || destination_dead) -> goto done
	fi;
	to_source!READY;
#ifdef NO_GO
	atomic { !destination_dead -> destination_runs = true }
#else
	if
	:: atomic { !destination_dead && nempty(to_destination) -> to_destination?GO; destination_runs = true }
	:: (is_cut || source_dead || destination_dead) -> goto done
	fi;
#endif
	to_source!RUNS;
done:
	destination_done = true
}

init
{
	atomic { run Source(); run Destination(); run Cut(); run Deaths() }
}

ltl never_two { [] !(source_runs && destination_runs) }
ltl never_none { [] ((source_done && destination_done && BOTH_ALIVE) ->
		     (source_runs || destination_runs || (source_asks && is_cut && has_gone))) }
