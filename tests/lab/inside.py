"""The guest's end of the lab: makes the machine ready, then runs programs on demand until its lifeline breaks.

A script, started as the guest's only program: ``inside.py PORT TOKEN-FILE MODULE...``. Standard library only, since
every import is slow in the guest. One TCP connection per program, all lines JSON. The first line comes from the host:

    {"token", "lifeline": true}                     while this connection lives, so does the guest
    {"token", "command": [...], "text", "environment", "folder"}     a program; closing the connection kills it

and is answered, for a program, by {"out": text} and {"err": text} as they come, and {"exit": status} at the end.
"""

import hmac
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

ADDRESS = "10.0.2.15/24"  # QEMU's user network gives this one to the first guest, and 10.0.2.2 to the host
READY = "lab: ready"

_LIFELINE_WITHIN_SECONDS = 60.0


def main() -> None:
    port, token_file, *modules = sys.argv[1:]
    _prepare(modules)
    token = Path(token_file).read_text()
    tied = threading.Event()
    threading.Thread(target=_end_unless, args=(tied,), daemon=True).start()
    with socket.create_server(("0.0.0.0", int(port)), backlog=64) as server:
        print(READY, flush=True)
        while True:
            connection, _ = server.accept()
            threading.Thread(target=_serve, args=(connection, token, tied), daemon=True).start()


def _prepare(modules: list[str]) -> None:
    """Loads modules, and brings up loopback and the one network card."""
    for module in modules:  # one by one: a kernel without one of them may still do
        subprocess.run(["modprobe", module], check=False)
    card = next(link.name for link in Path("/sys/class/net").iterdir() if (link / "device").exists())
    for command in ("link set lo up", f"link set {card} up", f"address add {ADDRESS} dev {card}"):
        subprocess.run(["ip", *command.split()], check=True)
    Path("/run/netns").mkdir(exist_ok=True)


def _end_unless(tied: threading.Event) -> None:
    """A host that died while the guest was booting never ties it."""
    if not tied.wait(_LIFELINE_WITHIN_SECONDS):
        os._exit(1)


def _serve(connection: socket.socket, token: str, tied: threading.Event) -> None:
    with connection, connection.makefile("rb") as lines:
        request = json.loads(lines.readline() or b"{}")
        if not hmac.compare_digest(request.get("token", ""), token):
            return
        if request.get("lifeline"):
            tied.set()
            lines.read()
            os._exit(0)  # the machine ends with its only program
        _execute(connection, request)


def _execute(connection: socket.socket, request: dict[str, object]) -> None:
    text = str(request.get("text") or "").encode()
    try:
        process = subprocess.Popen(
            [str(word) for word in list(request["command"])],  # type: ignore[call-overload]
            env=dict(request["environment"]),  # type: ignore[call-overload]
            cwd=str(request["folder"]),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        _say(connection, {"err": f"{error}\n"})
        _say(connection, {"exit": 127})
        return
    threading.Thread(target=_feed, args=(process, text), daemon=True).start()
    try:
        _forward(connection, process)
        _say(connection, {"exit": process.wait()})
    except ConnectionError:
        pass
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _feed(process: subprocess.Popen[bytes], text: bytes) -> None:
    if process.stdin is not None:
        try:
            process.stdin.write(text)
            process.stdin.close()
        except BrokenPipeError:
            pass  # it did not want to read all


def _forward(connection: socket.socket, process: subprocess.Popen[bytes]) -> None:
    """Until the program has ended and said all; ``ConnectionError`` when the host has hung up."""
    assert process.stdout is not None
    assert process.stderr is not None
    names = {process.stdout.fileno(): "out", process.stderr.fileno(): "err"}
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    for pipe in names:
        poll.register(pipe, select.POLLIN)
    rest = dict.fromkeys(names, b"")
    while names:
        for ready, _ in poll.poll():
            if ready == connection.fileno():
                raise ConnectionError("the host has hung up")
            chunk = os.read(ready, 65536)
            whole, newline, rest[ready] = (rest[ready] + chunk).rpartition(b"\n")
            if not chunk:
                whole, newline, rest[ready] = rest[ready], b"", b""
            if whole or newline:
                _say(connection, {names[ready]: (whole + newline).decode(errors="replace")})
            if not chunk:
                poll.unregister(ready)
                del names[ready]


def _say(connection: socket.socket, what: dict[str, object]) -> None:
    connection.sendall(json.dumps(what).encode() + b"\n")


if __name__ == "__main__":
    main()
