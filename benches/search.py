"""How long a search takes in a tenant of many records, alone and while a neighbour asks for the dearest searches."""

import os
import re
import secrets
import statistics
import subprocess
import threading
import time
import urllib.parse
from pathlib import Path

MAX_P95 = 50.0  # ms
MAX_RATIO = 5.0  # times the p95 without the neighbour
NEIGHBOURS = 8  # searches of the neighbour at once

# Of the words of `bizcenter seed`: some stand in most records, some in few, and some in none.
QUERIES = [
    "the", "offer", "review the", "prepare contract for", "s", "re", "send the off", "nowhere", "for a", "network plan",
    "the t", "harbor", "cl", "update the list for han", "회의", "weekly meeting", "c d", "support", "x", "kim",
]
DEAREST = ["t r a s c p f w", "a", "the for of a to is in s", "e", "p o n m l k j h"]


def p95(times):
    return statistics.quantiles(times, n=100)[94]


def measure(arguments, binary, variables, folder, start):
    """Prints the figures of one database. Returns whether they are within the limits."""
    password, database = secrets.token_urlsafe(24), arguments.database
    url = {
        "postgres": variables["TEST_POSTGRES_URL"],
        "mariadb": variables["TEST_MARIADB_URL"],
        "sqlite": f"sqlite://{folder}/bench.db",
    }[database]
    env = {
        "PATH": os.environ["PATH"],
        "DATA_DIR": folder,
        "DATABASE_URL": url,
        "PORT": "18474",
        "LOG_LEVEL": "warn",
        "BIZCENTER_RATE_LIMIT__ENABLED": "false",
        "BIZCENTER_AUTH__ACCESS_MINUTES": "1440",
    }
    counts = {"tasks": 7, "items": 1, "meetings": 1, "contracts": 1}
    counts = [f"--{name}={arguments.rows * part // 10}" for name, part in counts.items()]
    command = [binary, "seed", "--tenants=2", "--password-stdin", *counts]
    began = time.perf_counter()
    seeded = subprocess.run(command, env=env, input=password, text=True, check=True, stdout=subprocess.PIPE)
    print(f"{database}: two tenants of {arguments.rows:,} records and their comments, made in {time.perf_counter() - began:.0f} s")
    owners = re.findall(r"owner +(\S+@\S+)", seeded.stdout)
    viewers = re.findall(r"viewer +(\S+@\S+)", seeded.stdout)
    with open(Path(folder) / "log", "w") as log:
        server = start(binary, env, log)
        try:
            is_good = True
            for role, people in ("owner", owners), ("viewer", viewers):
                server.sign_in(people[0], password)
                searches(server)  # to warm up
                alone = searches(server)
                server.sign_in(owners[1], password)
                beside = with_neighbour(server, password, people[0])
                ratio = p95(beside) / p95(alone)
                for name, times in ("alone", alone), ("beside a neighbour", beside):
                    print(
                        f"  {role:6} {name:19} p50 {statistics.median(times):6.2f} ms   p95 {p95(times):6.2f} ms   max {max(times):6.2f} ms"
                    )
                print(f"         p95 {ratio:.2f} times as long", flush=True)
                if role == "owner":
                    print("  " + ", ".join(f"{query!r} {ms:.0f} ms" for query, ms in dearest(alone)), flush=True)
                is_good = is_good and p95(alone) <= MAX_P95 and ratio <= MAX_RATIO
        finally:
            server.process.terminate()
            server.process.wait()
    return is_good


def search(server, query):
    began = time.perf_counter()
    server.page("/api/v1/search?q=" + urllib.parse.quote(query))
    return (time.perf_counter() - began) * 1000


def dearest(times):
    """The five queries with the greatest medians."""
    medians = [(query, statistics.median(times[place :: len(QUERIES)])) for place, query in enumerate(QUERIES)]
    return sorted(medians, key=lambda median: -median[1])[:5]


def searches(server):
    return [search(server, query) for _ in range(10) for query in QUERIES]


def with_neighbour(server, password, victim):
    """The times of the victim, while the neighbour, who is signed in on `server`, searches without pause."""
    headers, stop = dict(server.headers), threading.Event()

    def disturb(number):
        other = server.another(headers)
        while not stop.is_set():
            other.ask("GET", "/api/v1/search?q=" + urllib.parse.quote(DEAREST[number % len(DEAREST)]))
            number += 1

    server.sign_in(victim, password)
    threads = [threading.Thread(target=disturb, args=(number,)) for number in range(NEIGHBOURS)]
    for thread in threads:
        thread.start()
    try:
        time.sleep(1)
        return searches(server)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
