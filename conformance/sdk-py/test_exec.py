import base64
import json
import os
import sys

from room import RoomTest

PRINT = (sys.executable, "-c", "import json, os; print(json.dumps(dict(os.environ)))")


class Exec(RoomTest):
    def manifest(self, text: str) -> str:
        path = self.room.home / "agent.env"
        path.write_text(text)
        return str(path)

    async def test_exec_gives_a_child_what_the_sdk_wrote(self):
        secrets = (await self.connect("agent")).secrets
        binary = os.urandom(1000)
        await secrets.set_secret(secret_id="openai-api-key", data="sk-wörd".encode())
        await secrets.set_secret(secret_id="db", data=b'{"user":"app","password":"p w"}')
        await secrets.set_secret(secret_id="binary", data=binary)
        manifest = self.manifest(
            "LOG_LEVEL=info\n"
            "OPENAI_API_KEY=room:secret/openai-api-key\n"
            'DB_URL="postgres://${room:secret/db#user}@db"\n'
            'BINARY="room:secret/binary?encoding=base64"\n'
        )
        ran = self.room.run("exec", "-m", manifest, "--", *PRINT, env=self.room.member("agent"))
        env = json.loads(ran.stdout)
        self.assertEqual(env["LOG_LEVEL"], "info")
        self.assertEqual(env["OPENAI_API_KEY"], "sk-wörd")
        self.assertEqual(env["DB_URL"], "postgres://app@db")
        self.assertEqual(env["BINARY"], base64.b64encode(binary).decode())

    async def test_exec_does_not_start_a_child_without_what_it_needs(self):
        manifest = self.manifest("A=room:secret/none\nB=room:secret/nothing\n")
        ran = self.room.run("exec", "-m", manifest, "--", *PRINT, env=self.room.member("agent"), code=125)
        self.assertEqual(ran.stdout, b"")
        self.assertRegex(ran.stderr, rb"(?s)none.*nothing")

    async def test_the_sdk_reads_what_secret_set_wrote(self):
        binary = os.urandom(100_000)
        (self.room.home / "binary").write_bytes(binary)
        agent = self.room.member("agent")
        self.room.run("secret", "set", "text", "--text", "hello", "--type", "text/plain", "--name", "greeting", env=agent)
        self.room.run("secret", "set", "binary", "--from-file", "binary", env=agent)

        secrets = (await self.connect("agent")).secrets
        text = await secrets.get_secret(secret_id="text")
        self.assertEqual((text.name, text.mime_type, text.data), ("greeting", "text/plain", b"hello"))
        self.assertEqual((await secrets.get_secret(secret_id="binary")).data, binary)

    async def test_secret_get_reads_what_the_sdk_wrote(self):
        secrets = (await self.connect("agent")).secrets
        binary = os.urandom(4 << 20)
        await secrets.set_secret(secret_id="key", delegated_to="bob", data=binary)
        got = self.room.run("secret", "get", "key", "--delegated-to", "bob", env=self.room.member("agent"))
        self.assertTrue(got.stdout == binary)
