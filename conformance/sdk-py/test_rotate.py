import asyncio
import json
import logging
import signal
import sys

from room import ROOMENV, RoomTest

# It says what it has when it starts, and again for each SIGHUP.
CHILD = """
import json, os, signal, sys

signals = {signal.SIGHUP, signal.SIGTERM}
signal.pthread_sigmask(signal.SIG_BLOCK, signals)
event = "start"
while event != "SIGTERM":
    with open(os.environ["CERT"]) as cert:
        print(json.dumps([event, os.environ.get("KEY"), cert.read()]), flush=True)
    event = signal.Signals(signal.sigwait(signals)).name
print('["end"]')
"""

MANIFEST = """
version: 1
refresh: {debounce: 20ms}
env:
  KEY: {secret: key}
files:
  tls/cert.pem: {secret: cert, env: CERT, on_change: {signal: HUP}}
"""

LATE = """
version: 1
env:
  KEY: {request: {from: user, url: "https://db.example", type: text/plain}, optional: true}
files:
  cert.pem: {value: c1, env: CERT}
"""


class Rotate(RoomTest):
    async def exec(self, text=MANIFEST) -> asyncio.subprocess.Process:
        """`roomenv exec` of the child."""
        manifest = self.room.home / "agent.yaml"
        manifest.write_text(text)
        process = await asyncio.create_subprocess_exec(
            *(ROOMENV, "exec", "-m", manifest, "--", sys.executable, "-c", CHILD),
            env=self.room.environment() | self.room.member("agent"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        self.addAsyncCleanup(self.stop, process)
        return process

    async def stop(self, process) -> int:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        return await process.wait()

    async def assertSays(self, process, *event):
        self.assertEqual(json.loads(await process.stdout.readline()), list(event))

    async def test_what_the_sdk_sets_anew_reaches_variable_and_file(self):
        secrets = (await self.connect("agent")).secrets
        await secrets.set_secret(secret_id="key", data=b"k1")
        await secrets.set_secret(secret_id="cert", data=b"c1")
        process = await self.exec()
        await self.assertSays(process, "start", "k1", "c1")

        await secrets.set_secret(secret_id="cert", data=b"c2")
        await self.assertSays(process, "SIGHUP", "k1", "c2")
        await secrets.set_secret(secret_id="key", data=b"k2")
        await self.assertSays(process, "end")
        await self.assertSays(process, "start", "k2", "c2")

        # What is deleted is revoked: the command is stopped until the value is available.
        await secrets.delete_secret(id="key")
        await self.assertSays(process, "end")
        self.assertRegex(
            (await process.stderr.readline()).decode(),
            "^roomenv: KEY .*room:secret/key is revoked.*stopping until the value is available$",
        )
        await secrets.set_secret(secret_id="key", data=b"k3")
        await self.assertSays(process, "start", "k3", "c2")
        self.assertEqual(await self.stop(process), 0)

    async def test_what_a_user_of_the_sdk_provides_late_reaches_the_variable(self):
        user, asked = await self.connect("user"), asyncio.Queue()
        user.secrets._secret_request_handler = asked.put  # RoomClient takes none
        await user.messaging.enable()
        process = await self.exec(LATE)
        request = await asked.get()
        await self.assertSays(process, "start", None, "c1")
        await user.secrets.provide_secret(request_id=request.request_id, data=b"k1")
        await self.assertSays(process, "end")
        await self.assertSays(process, "start", "k1", "c1")

        # It can be set anew, as the user's secret that it is.
        [info] = await user.secrets.list_secrets()
        await user.secrets.set_secret(
            secret_id=info.id, type=info.type, name=info.name, delegated_to=info.delegated_to, data=b"k2"
        )
        await self.assertSays(process, "end")
        await self.assertSays(process, "start", "k2", "c1")

    async def test_who_watches_is_nothing_to_the_sdk(self):
        agent, bob = await self.connect("agent"), await self.connect("bob")
        with self.assertLogs("protocol", logging.DEBUG) as log:  # of all that comes
            await agent.secrets.set_secret(secret_id="key", data=b"k1")
            await agent.secrets.set_secret(secret_id="cert", data=b"c1")
            process = await self.exec()
            await self.assertSays(process, "start", "k1", "c1")
            await agent.secrets.set_secret(secret_id="cert", data=b"c2")
            await self.assertSays(process, "SIGHUP", "k1", "c2")  # it was told of the change

            for client in (agent, bob):
                toolkits = {t.name: t for t in await client.agents.list_toolkits()}
                self.assertIn("watch", {t.name for t in toolkits["secrets"].tools})
        received = {r.args[0] for r in log.records if r.msg == "invoking handler %s"}
        self.assertEqual(received, {"__response__"})

    async def test_the_sdks_own_streaming_call_opens_a_watch(self):
        client = await self.connect("agent")
        end = asyncio.Event()

        async def nothing():
            await end.wait()
            for chunk in ():
                yield chunk

        stream = await client.invoke(toolkit="secrets", tool="watch", input=nothing())
        await client.secrets.set_secret(secret_id="key", data=b"canary")
        await client.secrets.delete_secret(id="key")
        changes = [(await anext(stream)).json for _ in range(2)]
        revisions = [change.pop("revision") for change in changes]
        self.assertEqual(
            changes,
            [
                {"id": "key", "delegated_to": None, "deleted": False},
                {"id": "key", "delegated_to": None, "deleted": True},
            ],
        )
        self.assertLess(*revisions)
        end.set()
        self.assertEqual([chunk.method async for chunk in stream], ["close"])
