"""How much a storm of sign-ins slows other requests: bcrypt is at work on all cores meanwhile."""

import os
import secrets
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import load

SIGN_INS = 4 * os.cpu_count()  # at once: the server checks as many as it has cores
READS_PER_SECOND = 20
MAX_RATIO = 3.0  # times the p99 without a storm


def reads(server, path, seconds):
    """Returns how long each read took, in milliseconds from its planned start: a slow read also counts for those behind it."""
    took, begin = [], time.perf_counter()
    for number in range(int(seconds * READS_PER_SECOND)):
        planned = begin + number / READS_PER_SECOND
        time.sleep(max(0, planned - time.perf_counter()))
        server.page(path)
        took.append((time.perf_counter() - planned) * 1000)
    return took


def p99(times):
    return statistics.quantiles(times, n=100)[98]


def measure(arguments, binary, variables, folder, start):
    """Prints the figures of each set-up. Returns whether its reads stay within the limit on all of them."""
    password, owners, ratios = secrets.token_urlsafe(24), {}, []
    for setup in arguments.setups:
        database = load.SETUPS[setup][0]
        home = Path(folder) / database
        env = load.environment(setup, home, variables, 18481)
        if database not in owners:
            home.mkdir()
            owners[database] = load.fill(binary, env, arguments.rows, password)
        print(setup)
        ratios.append(one(setup, binary, env, home, owners[database], password, start, 10 * arguments.seconds))
    return max(ratios) <= MAX_RATIO


def one(setup, binary, env, home, owners, password, start, seconds):
    with open(home / "log", "w") as log:
        server = start(binary, env, log)
        try:
            server.sign_in(owners[0], password)
            path = "/api/v1/tasks/" + load.some_ids(server)["task"][0]
            bodies = [{"email": somebody, "password": password} for somebody in owners[1:]]
            subject = load.Subject(setup, server.process, 18481, ["-"], home, {}, bodies)
            reads(server, path, 1)  # to warm up
            calm = reads(server, path, seconds)
            with ThreadPoolExecutor() as threads:
                storm = threads.submit(subject.load, "sign-in", seconds + 2, SIGN_INS)
                time.sleep(1)
                stormy = reads(server, path, seconds)
                result = storm.result()
        finally:
            server.process.terminate()
            server.process.wait()
    rate, ratio = result["requests"] / result["micros"] * 1e6, p99(stormy) / p99(calm)
    for name, times in ("alone", calm), ("in a storm", stormy):
        print(f"  reads {name:10}  p50 {statistics.median(times):6.2f} ms   p99 {p99(times):6.2f} ms   of {len(times)}")
    print(f"  p99 {ratio:.2f} times as long, beside {rate:.1f} sign-ins/s", flush=True)
    return ratio
