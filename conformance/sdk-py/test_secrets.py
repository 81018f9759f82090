import asyncio
import os

from room import RoomTest

VALUES = {
    "text": "pässword\n".encode(),
    "0 bytes": b"",
    "4 MB": os.urandom(4 << 20),
    "not UTF-8": b"\x00\xff\xfe\x80\n",
    "exactly one packet": b"x" * 1024,
}


class Secrets(RoomTest):
    async def asyncSetUp(self):
        self.client = await self.connect("agent")
        self.secrets = self.client.secrets

    async def test_a_value_comes_back_as_it_was_set(self):
        for name, data in VALUES.items():
            with self.subTest(name):
                await self.secrets.set_secret(secret_id="key", type="text/plain", name="a key", data=data)
                got = await self.secrets.get_secret(secret_id="key")
                self.assertTrue(got.data == data, f"{len(got.data)} bytes came back of {len(data)}")
                self.assertEqual((got.name, got.mime_type), ("a key", "text/plain"))

    async def test_list_names_all_secrets(self):
        self.assertEqual(await self.secrets.list_secrets(), [])
        await self.secrets.set_secret(secret_id="one", type="text/plain", name="first", data=b"1")
        await self.secrets.set_secret(secret_id="two", delegated_to="bob", data=b"2")
        self.assertEqual(
            {(s.id, s.type, s.name, s.delegated_to) for s in await self.secrets.list_secrets()},
            {("one", "text/plain", "first", None), ("two", "application/octet-stream", "two", "bob")},
        )

    async def test_a_secret_is_found_by_type_and_name(self):
        await self.secrets.set_secret(type="text/plain", name="db", data=b"plain")
        await self.secrets.set_secret(type="application/json", name="db", data=b"{}")
        got = await self.secrets.get_secret(type="application/json", name="db")
        self.assertEqual(got.data, b"{}")

    async def test_what_is_missing_is_none_false_and_an_error(self):
        self.assertIsNone(await self.secrets.get_secret(secret_id="none"))
        self.assertIsNone(await self.secrets.get_secret(type="text/plain", name="none"))
        self.assertIs(await self.secrets.exists(secret_id="none"), False)
        await self.assertRefused(1003, self.secrets.delete_secret(id="none"))

    async def test_a_second_set_replaces_the_value(self):
        for value in (b"old", b"new"):
            await self.secrets.set_secret(secret_id="key", data=value)
        self.assertEqual((await self.secrets.get_secret(secret_id="key")).data, b"new")
        self.assertEqual(len(await self.secrets.list_secrets()), 1)

    async def test_a_deleted_secret_is_gone(self):
        await self.secrets.set_secret(secret_id="key", data=b"v")
        self.assertIs(await self.secrets.exists(secret_id="key"), True)
        await self.secrets.delete_secret(id="key")
        self.assertIs(await self.secrets.exists(secret_id="key"), False)

    async def test_delegated_to_is_part_of_the_address(self):
        await self.secrets.set_secret(secret_id="key", delegated_to="bob", data=b"v")

        self.assertIsNone(await self.secrets.get_secret(secret_id="key"))
        self.assertIs(await self.secrets.exists(secret_id="key"), False)
        await self.assertRefused(1003, self.secrets.delete_secret(id="key"))

        self.assertEqual((await self.secrets.get_secret(secret_id="key", delegated_to="bob")).data, b"v")
        self.assertIs(await self.secrets.exists(secret_id="key", delegated_to="bob"), True)
        await self.secrets.delete_secret(id="key", delegated_to="bob")
        self.assertIs(await self.secrets.exists(secret_id="key", delegated_to="bob"), False)

    async def test_requests_that_overlap_get_their_own_answers(self):
        ids = [f"key-{i}" for i in range(100)]
        await asyncio.gather(*(self.secrets.set_secret(secret_id=i, data=i.encode()) for i in ids))
        got = await asyncio.gather(*(self.secrets.get_secret(secret_id=i) for i in ids))
        self.assertEqual([g.data.decode() for g in got], ids)

    async def test_what_the_room_does_not_know_is_refused(self):
        """Clients have no time limits: silence would hang them for ever."""
        await self.assertRefused(1003, self.client.invoke(toolkit="secrets", tool="none", input={}))
        await self.assertRefused(1003, self.client.invoke(toolkit="none", tool="none", input={}))
        await self.assertRefused(1002, self.secrets.get_secret())

    async def test_the_secrets_toolkit_is_listed(self):
        toolkits = {t.name: t for t in await self.client.agents.list_toolkits()}
        tools = {t.name for t in toolkits["secrets"].tools}
        self.assertLessEqual({"list_secrets", "exists", "get_secret", "set_secret", "delete_secret"}, tools)
