"""Brings one TCP port into network namespaces: ``relay.py LISTEN-PORT TO-HOST:PORT NETNS...``.

In each namespace (a path) 127.0.0.1:LISTEN-PORT is answered, and every connection is carried on from the namespace this
runs in. So a node reaches the API server by the very address in its kubeconfig, whatever lies between the two.
A script of the standard library only (see ``inside``). Prints READY once all ports are open.
"""

import contextlib
import ctypes
import os
import selectors
import socket
import subprocess
import sys
import threading

READY = "relay: ready"

_CLONE_NEWNET = 0x40000000


def main() -> None:
    port, target, *namespaces = sys.argv[1:]
    host, _, target_port = target.rpartition(":")
    own = os.open("/proc/self/ns/net", os.O_RDONLY)
    selector = selectors.DefaultSelector()
    for path in namespaces:
        _enter(os.open(path, os.O_RDONLY))
        _set_loopback_up()
        selector.register(socket.create_server(("127.0.0.1", int(port)), backlog=64), selectors.EVENT_READ)
    _enter(own)
    print(READY, flush=True)
    while True:
        for key, _ in selector.select():
            assert isinstance(key.fileobj, socket.socket)
            near, _ = key.fileobj.accept()
            threading.Thread(target=_carry, args=(near, (host, int(target_port))), daemon=True).start()


def _set_loopback_up() -> None:
    """A new namespace's loopback is down."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


def _carry(near: socket.socket, target: tuple[str, int]) -> None:
    with near, contextlib.suppress(OSError), socket.create_connection(target) as far:
        for end in (near, far):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        back = threading.Thread(target=_copy, args=(far, near), daemon=True)
        back.start()
        _copy(near, far)
        back.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while chunk := source.recv(65536):
            target.sendall(chunk)
        target.shutdown(socket.SHUT_WR)


def _enter(namespace: int) -> None:
    if ctypes.CDLL(None, use_errno=True).setns(namespace, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "cannot enter a network namespace")


if __name__ == "__main__":
    main()
