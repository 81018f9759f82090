"""A roomenv room for one test: `roomenv room serve` on a folder of its own, and
connections of the official SDK to it."""

import atexit
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import unittest

from meshagent.api import RoomClient, WebSocketClientProtocol

SCRATCH = pathlib.Path(tempfile.mkdtemp(prefix="roomenv-py-"))
atexit.register(shutil.rmtree, SCRATCH)


def build() -> str:
    binary = SCRATCH / "roomenv"
    tree = pathlib.Path(__file__).parents[2]
    subprocess.run(["go", "build", "-o", binary, "./cmd/roomenv"], cwd=tree, check=True)
    return str(binary)


# The program under test: $ROOMENV, else this tree's.
ROOMENV = os.environ.get("ROOMENV") or build()


class Room:
    def __init__(self):
        self.home = pathlib.Path(tempfile.mkdtemp(dir=SCRATCH))
        self.data = self.home / "data"

    def serve(self, listen: str = "127.0.0.1:0") -> None:
        self.server = subprocess.Popen(
            [ROOMENV, "room", "serve", "--listen", listen, "--data", self.data],
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        line = self.server.stdout.readline()
        found = re.fullmatch(r"listening (http://(.+))\n", line)
        if not found:
            raise RuntimeError(f"room serve began with {line!r}")
        self.address, self.listen = found.groups()

    def kill(self, sig: int = signal.SIGKILL) -> int:
        self.server.send_signal(sig)
        code = self.server.wait()
        self.server.stdout.close()
        return code

    def run(self, *args: str, env: dict[str, str] | None = None, code: int = 0) -> subprocess.CompletedProcess:
        """What a roomenv command printed; raises when it ends with another code."""
        ran = subprocess.run(
            [ROOMENV, *args],
            cwd=self.home,
            env=self.environment() | (env or {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
        )
        if ran.returncode != code:
            raise AssertionError(f"roomenv {args[0]} ended with {ran.returncode}: {ran.stderr.decode()}")
        return ran

    def member(self, identity: str, room: str = "demo") -> dict[str, str]:
        """The environment of a process that takes part in a room."""
        return {
            "MESHAGENT_ROOM": room,
            "MESHAGENT_TOKEN": self.token(identity, room),
            "MESHAGENT_ROOM_URL": self.address,
        }

    def environment(self) -> dict[str, str]:
        """Nothing of the one who runs the tests."""
        return {"PATH": os.environ["PATH"], "HOME": str(self.home)}

    def token(self, identity: str, room: str = "demo", *flags: str) -> str:
        mint = ("room", "token", "--data", str(self.data), "--room", room, "--identity", identity)
        return self.run(*mint, *flags).stdout.decode().strip()

    def client(self, token: str, room: str = "demo", **handlers) -> RoomClient:
        url = f"{self.address.replace('http:', 'ws:')}/rooms/{room}"
        return RoomClient(protocol_factory=WebSocketClientProtocol(url=url, token=token).create_factory(), **handlers)


class RoomTest(unittest.IsolatedAsyncioTestCase):
    """A test with a room, `self.room`, and connections that end with it."""

    def setUp(self):
        self.room = Room()
        self.room.serve()
        self.addCleanup(self.room.kill)

    async def connect(
        self, identity: str, *flags: str, room: str = "demo", token: str | None = None, **handlers
    ) -> RoomClient:
        """The SDK's client, ready. Handlers are what it does when it is asked."""
        client = self.room.client(token or self.room.token(identity, room, *flags), room, **handlers)
        return await self.enterAsyncContext(client)

    async def assertRefused(self, code: int, call):
        with self.assertRaises(Exception) as caught:
            await call
        self.assertEqual(getattr(caught.exception, "code", caught.exception), code)
