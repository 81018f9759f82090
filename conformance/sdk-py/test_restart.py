import asyncio
import signal

from room import RoomTest


class Restart(RoomTest):
    async def test_a_client_comes_back_after_the_server_was_killed_and_finds_what_it_had_set(self):
        await self.comes_back(signal.SIGKILL)

    async def test_a_client_comes_back_after_the_server_was_asked_to_stop(self):
        await self.comes_back(signal.SIGTERM)

    async def comes_back(self, sig):
        client = await self.connect("alice")
        await client.secrets.set_secret(secret_id="key", data=b"v")
        reconnected = asyncio.Event()
        client.on("reconnected", reconnected.set)

        await asyncio.to_thread(self.room.kill, sig)
        await asyncio.to_thread(self.room.serve, self.room.listen)
        closed = asyncio.create_task(client.wait_for_close())
        await asyncio.wait([closed, asyncio.create_task(reconnected.wait())], return_when=asyncio.FIRST_COMPLETED)

        self.assertFalse(closed.done(), client.close_reason())
        self.assertEqual((await client.secrets.get_secret(secret_id="key")).data, b"v")
