import base64

from meshagent.api import RoomException

from room import Room, RoomTest


class Access(RoomTest):
    async def test_an_identity_sees_its_own_secrets_only(self):
        alice = await self.connect("alice")
        bob = await self.connect("bob")
        await alice.secrets.set_secret(secret_id="key", data=b"v")

        self.assertIsNone(await bob.secrets.get_secret(secret_id="key"))
        self.assertIs(await bob.secrets.exists(secret_id="key"), False)
        self.assertEqual(await bob.secrets.list_secrets(), [])
        await self.assertRefused(1003, bob.secrets.delete_secret(id="key"))
        self.assertIs(await alice.secrets.exists(secret_id="key"), True)

    async def test_connections_of_one_identity_share_its_secrets(self):
        first = await self.connect("alice")
        second = await self.connect("alice", "--role", "user")
        self.assertNotEqual(first.local_participant.id, second.local_participant.id)
        await first.secrets.set_secret(secret_id="key", data=b"v")
        self.assertIs(await second.secrets.exists(secret_id="key"), True)

    async def test_rooms_do_not_share_secrets(self):
        demo = await self.connect("alice")
        other = await self.connect("alice", room="other")
        await demo.secrets.set_secret(secret_id="key", data=b"v")
        self.assertIs(await other.secrets.exists(secret_id="key"), False)

    async def test_an_admin_sets_secrets_for_another_identity(self):
        admin = await self.connect("admin", "--admin")
        agent = await self.connect("agent")
        await admin.secrets.set_secret(secret_id="key", for_identity="agent", data=b"v")

        self.assertIs(await admin.secrets.exists(secret_id="key", for_identity="agent"), True)
        self.assertIs(await admin.secrets.exists(secret_id="key"), False)
        self.assertEqual((await agent.secrets.get_secret(secret_id="key")).data, b"v")

    async def test_nobody_else_does(self):
        alice = await self.connect("alice")
        agent = await self.connect("agent")
        await self.assertRefused(1001, alice.secrets.set_secret(secret_id="key", for_identity="agent", data=b"v"))
        await self.assertRefused(1001, alice.secrets.exists(secret_id="key", for_identity="agent"))
        self.assertEqual(await agent.secrets.list_secrets(), [])
        self.assertEqual(await alice.secrets.list_secrets(), [])

    async def test_a_bad_token_is_refused_with_403(self):
        foreign = Room()
        foreign.serve()
        self.addCleanup(foreign.kill)
        good = self.room.token("alice")
        header, claims, signature = good.split(".")
        bad = {
            "not a token": "nonsense",
            "signed by another key": foreign.token("alice"),
            "for another room": self.room.token("alice", "other"),
            "for another identity than signed": f"{header}.{swap(claims, b'alice', b'admin')}.{signature}",
            "without a signature": f"{encode(b'{"alg":"none","typ":"JWT"}')}.{claims}.",
        }
        for what, token in bad.items():
            with self.subTest(what), self.assertRaisesRegex(RoomException, "403"):
                await self.connect("alice", token=token)
        await self.connect("alice", token=good)

    async def test_a_token_opens_the_room_it_names_and_no_other(self):
        with self.assertRaisesRegex(RoomException, "403"):
            await self.connect("alice", room="other", token=self.room.token("alice"))


def encode(text: bytes) -> str:
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def swap(claims: str, old: bytes, new: bytes) -> str:
    text = base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4))
    return encode(text.replace(old, new))
