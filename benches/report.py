"""Writes the figures of `scripts/bench http` for the docs: all of them as JSON, and a page with the medians."""

import json
import os
import statistics

TITLES = {
    "postgres+redis": "PostgreSQL, sessions in Redis",
    "postgres": "PostgreSQL, sessions in the database",
    "mariadb+redis": "MariaDB, sessions in Redis",
    "sqlite": "SQLite, sessions in the database",
}
HEAD = """# Speed

`scripts/bench http --docs docs` wrote this page, and `speed.json` with the figures of each round. It ran on {cores} cores, which the
server shares with the database, Redis and the program that loads it, over {connections} connections, in a tenant of {rows:,} tasks.
The databases don't wait for the disk, as those of the tests. The figures are medians of {rounds} rounds. Between two runs they
differ by a fifth or more, because a machine is not always equally fast: compare what was measured in one run.

*Of the baseline* compares with the same work in handlers with hand-written SQL and nothing around it (`benches/baseline.rs`), on
PostgreSQL, in the same rounds. The server is built by `scripts/dist`, the baseline with the same profile, but not trained. Rate
limits, audit log, metrics, access log and, on PostgreSQL, row-level security are on. Each set-up is measured by itself, in turn with
the baseline.

A list is a page of 20 tasks with their total. *1 % changes* means that one task is changed for each 100 reads. *16 tenants* have
100 tasks each. Sign-ins come over {sign_ins} connections, as more would only wait for a core. CPU time is that of one request, in the
server and in the database. Round trips and statements are those to the database, with `BEGIN` and `COMMIT`.
"""
COLUMNS = ["operation", "per second", "of the baseline", "p50, ms", "p99, ms", "CPU, µs", "round trips", "statements"]


def middle(rounds, what):
    return statistics.median(of[what] for of in rounds)


def ratio(rounds, of_baseline):
    """The median of the ratios, round by round. The programs of one round were measured one after the other."""
    return statistics.median(mine["per_second"] / base["per_second"] for mine, base in zip(rounds, of_baseline))


def line(operation, rounds, of_baseline, counts):
    cells = [operation, f"{middle(rounds, 'per_second'):,.0f}", f"{ratio(rounds, of_baseline):.2f}" if of_baseline else ""]
    cells += [f"{middle(rounds, what) / 1000:.1f}" for what in ("p50_us", "p99_us")]
    cells.append(f"{middle(rounds, 'cpu_server_us'):,.0f} + {middle(rounds, 'cpu_database_us'):,.0f}")
    for what in "turns", "statements":
        of_database = [count for name, count in counts.items() if name.endswith(what) and not name.startswith("redis")]
        cells.append(f"{of_database[0]:g}" if of_database else "")
    return "| " + " | ".join(cells) + " |"


def page(report):
    rounds = report["rounds"]
    number = len(next(iter(next(iter(rounds.values())).values())))
    known = {name: report[name] for name in ("cores", "connections", "rows")}
    text = HEAD.format(rounds=number, sign_ins=min(report["connections"], 2 * report["cores"]), **known)
    for setup, operations in rounds.items():
        text += f"\n## {TITLES[setup]}\n\n| {' | '.join(COLUMNS)} |\n|{' --- |' * len(COLUMNS)}\n"
        for operation, of in operations.items():
            text += line(operation, of, report["baseline"][setup].get(operation), report["counts"][setup].get(operation, {})) + "\n"
        memory, ready = report["memory_under_load_mib"][setup], report["ready_seconds"][setup]
        text += f"\nThe server took {memory:.0f} MiB of memory at most under this load, and was ready {ready * 1000:.0f} ms after its start.\n"
    return text


def write(report, folder):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "speed.json").write_text(json.dumps(report, indent=1) + "\n")
    (folder / "speed.md").write_text(page(report))


def cores():
    return len(os.sched_getaffinity(0))
