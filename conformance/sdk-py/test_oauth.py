import asyncio
import base64
import hashlib
import http.server
import json
import threading
import urllib.parse

from meshagent.api.oauth import ConnectorRef, OAuthClientConfig
from room import RoomTest

REDIRECT = "http://127.0.0.1:1/callback"


class Provider(http.server.BaseHTTPRequestHandler):
    """Takes any code, if the verifier is that of the challenge which the person
    was given. ../oauth has real ones."""

    def do_GET(self):
        at = f"http://127.0.0.1:{self.server.server_port}"
        self.answer({"authorization_endpoint": f"{at}/auth", "token_endpoint": f"{at}/token"})

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        form = dict(urllib.parse.parse_qsl(body))
        hashed = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        if form["code"] == base64.urlsafe_b64encode(hashed).decode().rstrip("="):
            self.answer({"access_token": f"access-{form['client_id']}", "refresh_token": "r", "expires_in": 3600})
        else:
            self.answer({"error": "invalid_grant"}, 400)

    def answer(self, body, status=200):
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_):
        pass


# The SDK checks events with models that forbid what they do not know.
class OAuth(RoomTest):
    def setUp(self):
        super().setUp()
        provider = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Provider)
        self.addCleanup(provider.server_close)
        self.addCleanup(provider.shutdown)
        threading.Thread(target=provider.serve_forever).start()
        self.provider = f"http://127.0.0.1:{provider.server_port}"
        self.oauth = OAuthClientConfig(
            client_id="mine",
            client_secret="s",
            authorization_endpoint=f"{self.provider}/auth",
            token_endpoint=f"{self.provider}/token",
            scopes=["read"],
        )

    async def someone(self):
        """The client of somebody who can be asked, and what they are asked."""
        asked = asyncio.Queue()
        return await self.connect("user", oauth_token_request_handler=asked.put), asked

    def ask(self, client, user, **what):
        return asyncio.ensure_future(
            client.secrets.request_oauth_token(
                from_participant_id=user.local_participant.id, redirect_uri=REDIRECT, timeout=20, **what
            )
        )

    async def test_one_asks_another_authorizes(self):
        user, asked = await self.someone()
        agent = await self.connect("agent")
        answer = self.ask(agent, user, oauth=self.oauth)
        request = await asked.get()
        self.assertEqual(
            (request.authorization_endpoint, request.token_endpoint, request.scopes),
            (self.oauth.authorization_endpoint, self.oauth.token_endpoint, ["read"]),
        )
        await user.secrets.provide_oauth_authorization(request_id=request.request_id, code=request.challenge)
        self.assertEqual(await answer, "access-mine")
        self.assertEqual(await self.ask(agent, user, oauth=self.oauth), "access-mine")
        self.assertEqual(await agent.secrets.get_offline_oauth_token(oauth=self.oauth, delegated_by="user"), "access-mine")
        self.assertEqual(await user.secrets.get_offline_oauth_token(oauth=self.oauth, delegated_to="agent"), "access-mine")
        self.assertIsNone(await user.secrets.get_offline_oauth_token(oauth=self.oauth))
        self.assertTrue(asked.empty())

    async def test_one_connection_asks_itself(self):
        user, asked = await self.someone()
        connector = ConnectorRef(server_url=f"{self.provider}/mcp")
        oauth = OAuthClientConfig(client_id="found")
        answer = self.ask(user, user, connector=connector, oauth=oauth, delegate_to="agent")
        request = await asked.get()
        self.assertEqual(request.token_endpoint, f"{self.provider}/token")
        await user.secrets.provide_oauth_authorization(request_id=request.request_id, code=request.challenge)
        self.assertEqual(await answer, "access-found")
        agent = await self.connect("agent")
        self.assertEqual(
            await agent.secrets.get_offline_oauth_token(connector=connector, oauth=oauth, delegated_by="user"),
            "access-found",
        )

    async def test_what_goes_wrong_is_told_to_both(self):
        user, asked = await self.someone()
        agent = await self.connect("agent")
        answer = self.ask(agent, user, oauth=self.oauth)
        request = await asked.get()
        await user.secrets.reject_oauth_authorization(request_id=request.request_id, error="not today")
        await self.assertRefused(1008, answer)

        self.oauth.scopes = ["other"]
        answer = self.ask(agent, user, oauth=self.oauth)
        request = await asked.get()
        await self.assertRefused(
            1008, user.secrets.provide_oauth_authorization(request_id=request.request_id, code="wrong")
        )
        await self.assertRefused(1008, answer)
        await self.assertRefused(
            1003, user.secrets.provide_oauth_authorization(request_id=request.request_id, code=request.challenge)
        )
