"""A proxy that counts what clients ask a server, and how often they wait for it."""

import re
import socket
import threading


class Proxy:
    """`turns` counts round trips: how often a client sent something after an answer, or first. `statements` counts what the
    server ran: each statement of an SQL text, each execution of a prepared statement, and each command of Redis.
    `prepared` counts statements that were prepared, and `bytes` what was sent in both directions."""

    def __init__(self, kind, host, port):
        self.kind, self.server = kind, (host, port)
        self.turns = self.statements = self.prepared = self.bytes = 0
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def counts(self):
        with self.lock:
            return {"turns": self.turns, "statements": self.statements, "prepared": self.prepared, "bytes": self.bytes}

    def accept(self):
        while True:
            client, _ = self.listener.accept()
            server = socket.create_connection(self.server)
            for side in client, server:
                side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            line = Line(self)
            for copy in (client, server, line.asked), (server, client, line.answered):
                threading.Thread(target=pass_on, args=copy, daemon=True).start()


def pass_on(source, target, note):
    try:
        while data := source.recv(65536):
            note(data)
            target.sendall(data)
    except OSError:
        pass
    for side in source, target:
        try:
            side.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


class Line:
    """One connection. Its messages are read as they pass."""

    def __init__(self, proxy):
        self.proxy, self.waits, self.left = proxy, False, b""
        self.is_new = proxy.kind == "postgres"  # the first message of PostgreSQL has no type

    def asked(self, data):
        proxy = self.proxy
        statements, prepared = getattr(self, proxy.kind)(data)
        with proxy.lock:
            proxy.turns += not self.waits
            proxy.statements += statements
            proxy.prepared += prepared
            proxy.bytes += len(data)
        self.waits = True

    def answered(self, data):
        self.waits = False
        with self.proxy.lock:
            self.proxy.bytes += len(data)

    def messages(self, head, length_of):
        """The whole messages that have arrived, each with its head."""
        while len(self.left) >= head and len(self.left) >= (size := length_of(self.left)):
            message, self.left = self.left[:size], self.left[size:]
            yield message

    def postgres(self, data):
        self.left += data
        statements = prepared = 0
        if self.is_new:
            for _ in self.messages(4, lambda left: int.from_bytes(left[:4], "big")):
                self.is_new = False
                break
        if not self.is_new:
            for message in self.messages(5, lambda left: 1 + int.from_bytes(left[1:5], "big")):
                if message[:1] == b"Q":
                    statements += len([part for part in message[5:-1].split(b";") if part.strip()])
                statements += message[:1] == b"E"
                prepared += message[:1] == b"P"
        return statements, prepared

    def mariadb(self, data):
        self.left += data
        statements = prepared = 0
        for message in self.messages(5, lambda left: 4 + int.from_bytes(left[:3], "little")):
            if message[3] == 0:  # a command begins a sequence
                if message[4] == 0x03:
                    statements += len([part for part in message[5:].split(b";") if part.strip()])
                statements += message[4] == 0x17
                prepared += message[4] == 0x16
        return statements, prepared

    def redis(self, data):
        # A command is an array (`*3`) of strings; no value that is sent here begins a line with a star.
        return len(re.findall(rb"(?:^|\n)\*\d+\r", data)), 0
