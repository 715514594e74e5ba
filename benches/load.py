"""`scripts/bench http`: how many requests a second the server answers, and the baseline (`benches/baseline.rs`) beside it."""

import contextlib
import json
import os
import platform
import re
import secrets
import statistics
import subprocess
import sys
import time
import urllib.parse
from pathlib import Path

import report
from counting_proxy import Proxy

HERE = Path(__file__).resolve().parent
TASK = '{"title": "Measured %d"}'
# Each operation: method, paths, body. `{task}` and `{contract}` stand for many paths.
OPERATIONS = {
    "health": ("GET", "/livez", None),
    "get": ("GET", "/api/v1/tasks/{task}", None),
    "list": ("GET", "/api/v1/tasks?per_page=20", None),
    "list, 1 % changes": ("GET", "/api/v1/tasks?per_page=20", TASK),
    "cursor": ("GET", "/api/v1/tasks?per_page=20&cursor=", None),
    "filter": ("GET", "/api/v1/tasks?per_page=20&status=todo", None),
    "create": ("POST", "/api/v1/tasks", TASK),
    "create, 16 tenants": ("POST", "/api/v1/tasks", TASK),
    "change": ("PATCH", "/api/v1/tasks/{task}", TASK),
    "contract": ("GET", "/api/v1/contracts/{contract}", None),
    "sign-in": ("POST", "/api/v1/auth/login", None),
}
NOT_COUNTED = ["health", "sign-in", "list, 1 % changes", "create, 16 tenants"]
NOT_IN_BASELINE = ["contract", "create, 16 tenants"]
SETUPS = {
    "postgres+redis": ("postgres", "redis"),
    "postgres": ("postgres", "database"),
    "mariadb+redis": ("mariadb", "redis"),
    "sqlite": ("sqlite", "database"),
}
PLENTY = str(10**6)  # the most that the settings allow
LIMITS = ["ANONYMOUS_PER_HOUR", "USER_PER_HOUR", "API_KEY_PER_HOUR", "WRITES_PER_MINUTE", "LOGIN_PER_MINUTE"]


def cpu_seconds(pid):
    """The CPU time of a process and its children, such as PostgreSQL's, which has one for each connection. That of children
    that have ended is counted with their parent's."""
    if pid is None:
        return 0
    ticks = 0
    for of in [pid, *Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]:
        try:
            fields = Path(f"/proc/{of}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue  # it has just ended
        ticks += sum(int(field) for field in fields[11 : 15 if of == pid else 13])
    return ticks / os.sysconf("SC_CLK_TCK")


def most_memory_mib(pid):
    """The largest resident set since the start, or since the last call."""
    most = int(re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1]) / 1024
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    return most


class Subject:
    """A program that is measured: its port, its token, and the paths and bodies of its operations."""

    def __init__(self, name, process, port, tokens, folder, ids, sign_ins):
        """`tokens`: of the owner, and then of the owners of other tenants. `sign_ins`: the bodies of their sign-ins."""
        self.name, self.process, self.port, self.folder = name, process, port, Path(folder)
        self.ids, self.sign_ins = ids, sign_ins
        (self.folder / "sign-ins").write_text("".join(json.dumps(body) + "\n" for body in sign_ins))
        (self.folder / "token").write_text(tokens[0] + "\n")
        (self.folder / "tokens").write_text("\n".join(tokens[1:]) + "\n")
        for kind, of_kind in ids.items():
            (self.folder / f"{kind}s").write_text("\n".join(of_kind) + "\n")

    def paths(self, path):
        kind = re.search(r"\{(\w+)\}", path)
        file = self.folder / ("paths-" + re.sub(r"\W+", "-", path))
        ids = (self.folder / f"{kind[1]}s").read_text().split() if kind else [""]
        file.write_text("".join(re.sub(r"\{\w+\}", id, path) + "\n" for id in ids))
        return str(file)

    def load(self, operation, seconds, connections):
        method, path, body = OPERATIONS[operation]
        env = {"PATH": os.environ["PATH"], "METHOD": method, "PATHS": self.paths(path)}
        env["TOKENS"] = str(self.folder / ("tokens" if "tenants" in operation else "token"))
        if operation == "sign-in":
            # Of several people, because the server takes only a few sign-ins of one person at once.
            env["BODIES"] = str(self.folder / "sign-ins")
        elif body:
            env["BODY"] = body
            if method == "GET":
                env["CHANGES"] = self.paths("/api/v1/tasks/{task}")
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout=30s", "-s", str(HERE / "request.lua")]
        command.append(f"http://127.0.0.1:{self.port}")
        text = subprocess.run(command, env=env, check=True, stdout=subprocess.PIPE, text=True).stdout
        result = json.loads(text.strip().splitlines()[-1])
        if result["errors"]:
            sys.exit(f"bench: {self.name} answered {result['errors']} of {result['requests']} requests of “{operation}” wrongly")
        return result


def environment(setup, folder, variables, port, database_port=None, redis_port=None):
    database, sessions = SETUPS[setup]
    url = {
        "postgres": variables["TEST_POSTGRES_URL"] + "?sslmode=disable",  # as the baseline connects
        "mariadb": variables["TEST_MARIADB_URL"],
        "sqlite": f"sqlite://{folder}/bench.db",
    }[database]
    redis = variables["TEST_REDIS_URL"]
    if database_port and database != "sqlite":
        url = re.sub(r":\d+/", f":{database_port}/", url)
    if redis_port:
        redis = re.sub(r":\d+/", f":{redis_port}/", redis)
    env = {
        "PATH": os.environ["PATH"],
        "DATA_DIR": str(folder),
        "DATABASE_URL": url,
        "PORT": str(port),
        "BIZCENTER_AUTH__ACCESS_MINUTES": "1440",
        "METRICS_ADDR": f"127.0.0.1:{port + 1000}",
        "BIZCENTER_AUTH__SESSION_STORE": sessions,
        **{f"BIZCENTER_RATE_LIMIT__{name}": PLENTY for name in LIMITS},
        # wrk breaks off what is under way when its time is over, and a sign-in that is broken off counts as a failure.
        **{f"BIZCENTER_AUTH__FAILURES_BEFORE_WAIT{of}": "1000" for of in ("", "_PER_IP")},
    }
    if sessions == "redis":
        env["REDIS_URL"] = redis
    if "LLVM_PROFILE_FILE" in os.environ:
        env["LLVM_PROFILE_FILE"] = os.environ["LLVM_PROFILE_FILE"]  # of a program that counts which lines it runs
    return env


def fill(binary, env, rows, password):
    """Seeds a tenant with many rows, and 16 with few. Returns the addresses of their owners."""
    owners = []
    for number, counts in enumerate([["--contracts=200", f"--tasks={rows}"], ["--contracts=0", "--tasks=100", "--tenants=16"]]):
        command = [binary, "seed", "--password-stdin", "--items=0", "--meetings=0", f"--seed={number + 1}", *counts]
        seeded = subprocess.run(command, env=env, input=password, text=True, check=True, stdout=subprocess.PIPE)
        owners += re.findall(r"owner +(\S+@\S+)", seeded.stdout)
    return owners


def some_ids(server):
    ids = {}
    for kind in "task", "contract":
        pages = [server.page(f"/api/v1/{kind}s?per_page=100&page={page}") for page in (1, 2)]
        ids[kind] = [row["id"] for page in pages for row in page["items"]]
    return ids


def counted(binary, setup, folder, variables, owner, password, start):
    """Returns the round trips, statements and bytes of a request of each operation: the lowest mean of six batches of ten
    requests. Nobody waits for the `COMMIT` of a read, so it may be counted with the next request: hence the batches."""
    database, _ = SETUPS[setup]
    servers = {} if database == "sqlite" else {database: variables[f"TEST_{database.upper()}_URL"]}
    servers["redis"] = variables["TEST_REDIS_URL"]
    proxies = {kind: Proxy(kind, "127.0.0.1", urllib.parse.urlsplit(url).port) for kind, url in servers.items()}
    port = lambda kind: proxies[kind].port if kind in proxies else None
    env = environment(setup, folder, variables, 18571, port(database), port("redis"))
    env["BIZCENTER_JOBS__ENABLED"] = "false"
    with open(Path(folder) / "counted.log", "w") as log:
        server = start(binary, env, log)
        try:
            server.sign_in(owner, password)
            ids = some_ids(server)
            counts = {}
            for operation, (method, path, body) in OPERATIONS.items():
                if operation in NOT_COUNTED:
                    continue
                found = []
                for batch in range(6):
                    before = {kind: proxy.counts() for kind, proxy in proxies.items()}
                    for number in range(10):
                        named = {kind: of_kind[batch * 10 + number] for kind, of_kind in ids.items()}
                        text = json.loads(body % (batch * 10 + number)) if body else None
                        status, answer = server.ask(method, path.format(**named), text)
                        if status >= 300:
                            sys.exit(f"bench: {operation} answers {status}: {answer.decode()}")
                    time.sleep(0.1)
                    found.append({
                        f"{kind} {what}": (count - before[kind][what]) / 10
                        for kind, proxy in proxies.items()
                        for what, count in proxy.counts().items()
                    })
                counts[operation] = {what: min(of[what] for of in found) for what in found[0]}
            return counts
        finally:
            server.process.terminate()
            server.process.wait()


def measure(arguments, build, variables, folder, start):
    """Measures one set-up after the other, prints the figures, and writes them for the docs."""
    password, owners = secrets.token_urlsafe(24), {}
    found = {"rows": arguments.rows, "connections": arguments.connections, "cores": report.cores()}
    of_setups = ["memory_under_load_mib", "memory_before_load_mib", "ready_seconds", "counts", "rounds", "baseline"]
    found.update({what: {} for what in of_setups})
    with contextlib.ExitStack() as of_all:
        baseline = None
        for setup in arguments.setups:
            with contextlib.ExitStack() as running:
                server, ready, counts = begin(running, setup, build[0], owners, password, arguments.rows, variables, folder, start)
                if baseline is None and SETUPS[setup][0] == "postgres" and build[1].exists():
                    baseline = begin_baseline(of_all, build[1], owners["postgres"][0], server, variables, folder)
                before = most_memory_mib(server.process.pid)
                rounds = rounds_of(setup, server, baseline, counts, arguments, variables)
                memory = most_memory_mib(server.process.pid)
            if baseline is not None:
                delete_created(variables["TEST_POSTGRES_URL"])
            print(f"most memory under load {memory:.0f} MiB, before it {before:.0f} MiB, ready after {ready * 1000:.0f} ms", flush=True)
            for what, of in zip(of_setups, [memory, before, ready, counts, rounds[setup], rounds.get("baseline", {})]):
                found[what][setup] = of
    if arguments.docs:
        report.write(found, arguments.docs)


def delete_created(url):
    """Deletes the tasks that were created in PostgreSQL. The baseline and the next set-up would count them, too."""
    title = json.loads(TASK)["title"].replace("%d", "%")
    delete = f"BEGIN; SET LOCAL app.system = 'on'; DELETE FROM tasks WHERE title LIKE '{title}' AND version = 1; COMMIT"
    subprocess.run(["psql", "-qX", url, "-c", delete, "-c", "VACUUM ANALYZE tasks"], check=True)


def stop(process):
    process.terminate()
    process.wait()


def begin(running, setup, binary, owners, password, rows, variables, folder, start):
    """Starts the server of a set-up, which `running` stops. Returns it as a subject, how long it took, and its counts."""
    database = SETUPS[setup][0]
    of_database, home = Path(folder) / database, Path(folder) / "setups" / setup
    home.mkdir(parents=True)
    env = environment(setup, of_database, variables, 18481)
    if database not in owners:
        of_database.mkdir()
        owners[database] = fill(binary, env, rows, password)
    owner = owners[database][0]
    counts = counted(binary, setup, of_database, variables, owner, password, start)
    log = open(home / "log", "w")
    began = time.perf_counter()
    server = start(binary, env, log)
    running.callback(stop, server.process)
    ready = time.perf_counter() - began
    tokens = []
    for somebody in [*owners[database][1:], owner]:
        server.sign_in(somebody, password)
        tokens.insert(0, server.headers["Authorization"].removeprefix("Bearer "))
    sign_ins = [{"email": somebody, "password": password} for somebody in owners[database]]
    return Subject(setup, server.process, 18481, tokens, home, some_ids(server), sign_ins), ready, counts


def begin_baseline(running, binary, owner, server, variables, folder):
    """Starts the baseline on the database and the data of this server."""
    home = Path(folder) / "baseline"
    home.mkdir()
    command = [binary, "18480", variables["TEST_POSTGRES_URL"], owner]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    running.callback(stop, process)
    token = process.stdout.readline().strip()
    return Subject("baseline", process, 18480, [token], home, server.ids, server.sign_ins)


def rounds_of(setup, server, baseline, counts, arguments, variables):
    """The figures of each round, by subject and operation. Subjects are measured in turn."""
    pid_of = lambda name: (Path(variables["TEST_SERVERS_DIR"]) / f"{name}.pid").read_text().strip()
    results = {}
    for operation in arguments.operations:
        for round in range(arguments.rounds + 1):
            for subject in [baseline, server]:
                is_baseline = subject is baseline
                if subject is None or is_baseline and operation in NOT_IN_BASELINE:
                    continue
                of = "postgres" if is_baseline else {"postgres": "postgres", "mariadb": "mariadb"}.get(SETUPS[setup][0])
                pids = {"server": subject.process.pid, "database": pid_of(of) if of else None}
                pids["redis"] = pid_of("redis") if subject.name.endswith("redis") else None
                before = {name: cpu_seconds(of) for name, of in pids.items()}
                connections = arguments.connections
                if operation == "sign-in":
                    connections = min(connections, 2 * report.cores())  # more of them would only wait
                load = subject.load(operation, arguments.seconds if round else 1, connections)
                if not round:
                    continue  # the first is to warm up
                result = results.setdefault(subject.name, {}).setdefault(operation, [])
                used = {f"cpu_{name}_us": (cpu_seconds(of) - before[name]) * 1e6 / max(load["requests"], 1) for name, of in pids.items()}
                rate = load["requests"] / load["micros"] * 1e6
                result.append({"per_second": rate, "p50_us": load["p50"], "p99_us": load["p99"], **used})
        show(operation, results, {setup: counts})
    return results


# How much more than before a count may be: the `COMMIT` of a read sometimes goes out with what follows it.
TOLERANCE = {"turns": 0.9, "statements": 0.02, "prepared": 0.02}


# A request may take this many times the instructions in counts.json. Two runs of one program differ by up to 1.7 %, and
# two builds of it, with and without incremental compilation, by up to 3 %.
MAX_INSTRUCTIONS_RATIO = 1.05
BATCHES, OF_BATCH = 2, 5
# Their instructions are not counted, because they take nearly as many as `list`.
LIKE_LISTS = ["cursor", "filter"]


def instructions(binary, variables, folder, password, start):
    """Returns how many thousand instructions a request takes on SQLite, for each operation that is counted: the lowest mean
    of some batches. Callgrind counts them. They hardly depend on the machine, because it runs one thread at a time."""
    home = Path(folder) / "instructions"
    home.mkdir()
    env = environment("sqlite", home, variables, 18491)
    env["BIZCENTER_AUTH__BCRYPT_COST"] = "10"  # callgrind takes fifty times as long for a sign-in
    owner = fill(binary, env, 300, password)[0]
    env["BIZCENTER_JOBS__ENABLED"] = "false"
    # Callgrind counts `rep movsb` once for each byte, and from which size on glibc uses it depends on the processor.
    never = 2**30
    env["GLIBC_TUNABLES"] = f"glibc.cpu.x86_rep_movsb_threshold={never}:glibc.cpu.x86_rep_stosb_threshold={never}"
    calls = home / "calls"
    command = ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={calls}", binary]
    with open(home / "log", "w") as log:
        server = start(command, env, log)
        control = lambda what: subprocess.run(
            ["callgrind_control", *what, str(server.process.pid)], check=True, stdout=subprocess.DEVNULL, stderr=log
        )
        try:
            server.sign_in(owner, password)
            ids = some_ids(server)
            counts = {}
            for operation, (method, path, body) in OPERATIONS.items():
                if operation in NOT_COUNTED or operation in LIKE_LISTS:
                    continue
                found, number = [], 0
                for batch in range(BATCHES + 1):
                    if batch:
                        control(["-i", "on"])
                    for _ in range(OF_BATCH):
                        number += 1
                        named = {kind: of_kind[number] for kind, of_kind in ids.items()}
                        status, answer = server.ask(method, path.format(**named), json.loads(body % number) if body else None)
                        if status >= 300:
                            sys.exit(f"bench: {operation} answers {status}: {answer.decode()}")
                    if batch:
                        control(["-i", "off"])
                        control(["--dump"])
                        dumps = sorted(home.glob("calls.*"), key=lambda dump: int(dump.suffix[1:]))
                        found.append(int(re.search(r"^totals: (\d+)", dumps[-1].read_text(), re.M)[1]) / OF_BATCH / 1000)
                counts[operation] = round(min(found), 1)
            return counts
        finally:
            server.process.terminate()
            server.process.wait()


def compare_instructions(counts, before, compiler):
    """Returns whether no operation takes over 5 % more instructions than before. Also true if the builds differ."""
    print("instructions  ", ", ".join(f"{operation} {count:,.0f}k" for operation, count in counts.items()))
    if before.get("compiler") != compiler:
        print(f"bench: instructions are not compared, because those in counts.json were counted with {before.get('compiler')}")
        return True
    is_good = True
    for operation, count in counts.items():
        most = before["thousands"].get(operation, 0)
        if count > most * MAX_INSTRUCTIONS_RATIO:
            print(f"bench: {operation} takes {count:,.0f} thousand instructions. Before, it took {most:,.0f} thousand.")
            is_good = False
    return is_good


def short(binary, variables, folder, start, file, update):
    """Counts round trips, statements and instructions, and compares them with those in `file`. Returns whether none has
    risen."""
    password = secrets.token_urlsafe(24)
    compiler = subprocess.run(["rustc", "--version"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    compiler += f" on {platform.machine()}"
    if "LLVM_PROFILE_FILE" in os.environ:
        compiler += ", with coverage"
    owners, counts = {}, {}
    for setup in SETUPS:
        database = SETUPS[setup][0]
        if database == "sqlite":
            continue  # it has no round trips
        home = Path(folder) / database
        if database not in owners:
            home.mkdir()
            owners[database] = fill(binary, environment(setup, home, variables, 18481), 300, password)[0]
        found = counted(binary, setup, home, variables, owners[database], password, start)
        kept = lambda of: {what: count for what, count in of.items() if what.split()[-1] in TOLERANCE and count}
        counts[setup] = {operation: kept(of) for operation, of in found.items()}
    of_instructions = instructions(binary, variables, folder, password, start)
    if update:
        counts["instructions"] = {"compiler": compiler, "thousands": of_instructions}
        file.write_text(json.dumps(counts, indent=1) + "\n")
        return True
    expected = json.loads(file.read_text())
    is_good = compare_instructions(of_instructions, expected.get("instructions", {}), compiler)
    for setup, operations in counts.items():
        for operation, of in operations.items():
            before = expected.get(setup, {}).get(operation, {})
            for what, count in of.items():
                if count > before.get(what, 0) + TOLERANCE[what.split()[-1]]:
                    print(f"bench: {operation} on {setup}: {what} {count:g}, and {before.get(what, 0):g} before")
                    is_good = False
        print(f"{setup:15}", ", ".join(f"{operation} {sum_of(of, 'turns'):g}" for operation, of in operations.items()))
    return is_good


def sum_of(counts, what):
    return sum(count for name, count in counts.items() if name.endswith(what))


def show(operation, results, counts):
    base = results.get("baseline", {}).get(operation)
    print(f"{operation}")
    for name, of in results.items():
        if operation not in of:
            continue
        middle = lambda what: statistics.median(round[what] for round in of[operation])
        rates = [round["per_second"] for round in of[operation]]
        ratios = [mine["per_second"] / bases["per_second"] for mine, bases in zip(of[operation], base or [])]
        line = f"  {name:15} {statistics.median(rates):8,.0f}/s ({min(rates):,.0f} to {max(rates):,.0f})"
        line += f"  p50 {middle('p50_us') / 1000:6.2f} ms  p99 {middle('p99_us') / 1000:6.2f} ms"
        line += f"  CPU {middle('cpu_server_us'):5.0f} + {middle('cpu_database_us'):5.0f} + {middle('cpu_redis_us'):3.0f} µs"
        if ratios and name != "baseline":
            line += f"  {statistics.median(ratios):.2f} of the baseline"
        print(line)
        of_setup = counts.get(name, {}).get(operation)
        if of_setup:
            print("  " + " " * 16 + ", ".join(f"{what} {count:g}" for what, count in of_setup.items() if count), flush=True)
