import asyncio

from room import RoomTest

URL = "https://db.example"
TYPE = "text/plain"


class Requests(RoomTest):
    async def someone(self):
        """The client of somebody who can be asked, and what they are asked."""
        client, asked = await self.connect("user"), asyncio.Queue()
        client.secrets._secret_request_handler = asked.put  # RoomClient takes none
        return client, asked

    def ask(self, client, user, timeout=20, url=URL, **more):
        return asyncio.ensure_future(
            client.secrets.request_secret(
                url=url, type=TYPE, from_participant_id=user.local_participant.id, timeout=timeout, **more
            )
        )

    async def test_one_asks_another_provides_once(self):
        user, asked = await self.someone()
        agent = await self.connect("agent")
        answer = self.ask(agent, user)
        request = await asked.get()
        self.assertEqual((request.url, request.type, request.delegate_to), (URL, TYPE, None))
        await user.secrets.provide_secret(request_id=request.request_id, data=b"\x00\xffv")
        self.assertEqual(await answer, b"\x00\xffv")
        self.assertEqual(await self.ask(agent, user), b"\x00\xffv")
        self.assertTrue(asked.empty())
        await self.assertRefused(1003, user.secrets.provide_secret(request_id=request.request_id, data=b"again"))

        [info] = await user.secrets.list_secrets()
        self.assertEqual((info.name, info.type, info.delegated_to), (URL, TYPE, "agent"))
        await agent.secrets.delete_requested_secret(url=URL, type=TYPE)
        self.assertEqual(await user.secrets.list_secrets(), [])

    async def test_one_asks_another_rejects_or_does_nothing(self):
        user, asked = await self.someone()
        agent = await self.connect("agent")
        answer = self.ask(agent, user)
        await user.secrets.reject_secret(request_id=(await asked.get()).request_id, error="not today")
        await self.assertRefused(1008, answer)
        await self.assertRefused(1008, self.ask(agent, user))  # at once, without the user
        await self.assertRefused(1009, self.ask(agent, user, timeout=1, url="https://other.example"))
        await self.assertRefused(1001, self.ask(agent, user, delegate_to="other"))

    async def test_one_connection_asks_itself(self):
        user, asked = await self.someone()
        answer = self.ask(user, user, delegate_to="agent")
        request = await asked.get()
        self.assertEqual(request.delegate_to, "agent")
        await user.secrets.provide_secret(request_id=request.request_id, data=b"")
        self.assertEqual(await answer, b"")

    async def test_the_answer_comes_from_a_later_connection(self):
        user, asked = await self.someone()
        agent = await self.connect("agent")
        answer = self.ask(agent, user)
        request = await asked.get()
        await user.__aexit__(None, None, None)
        await self.assertRefused(1001, agent.secrets.provide_secret(request_id=request.request_id, data=b"forged"))
        later = await self.connect("user")
        await later.secrets.provide_secret(request_id=request.request_id, data=b"v")
        self.assertEqual(await answer, b"v")

    async def test_who_is_there_and_messages(self):
        user, agent = await self.connect("user"), await self.connect("agent")
        events = asyncio.Queue()
        for name in ("messaging_enabled", "participant_added", "participant_attributes_updated", "message"):
            user.messaging.on(name, lambda name=name, **what: events.put_nowait((name, what)))
        await user.messaging.enable()
        self.assertEqual((await events.get())[0], "messaging_enabled")
        listed = asyncio.Event()
        agent.messaging.on("messaging_enabled", listed.set)
        await agent.messaging.enable()
        await listed.wait()
        name, what = await events.get()
        self.assertEqual((name, what["participant"].id), ("participant_added", agent.local_participant.id))
        self.assertEqual(what["participant"].role, "user")

        await agent.local_participant.set_attribute("mood", "good")
        self.assertEqual((await events.get())[0], "participant_attributes_updated")
        seen = user.messaging.get_participant_by_name("agent")
        self.assertEqual(seen.get_attribute("mood"), "good")

        to = agent.messaging.get_participant_by_name("user")
        self.assertEqual(to.id, user.local_participant.id)
        await agent.messaging.send_message(to=to, type="chat", message={"text": "hi"}, attachment=b"\x00\xff")
        message = (await events.get())[1]["message"]
        self.assertEqual((message.type, message.message, message.attachment), ("chat", {"text": "hi"}, b"\x00\xff"))
        await agent.messaging.broadcast_message(type="news", message={})
        self.assertEqual((await events.get())[1]["message"].type, "news")
