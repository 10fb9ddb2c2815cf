"""Real receivers of messages on sockets of this machine: a mail server, and a web server that keeps what it gets."""

import json
import socketserver
import threading
from email import message_from_string
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


class _Receiver:
    """A server that runs in a thread of its own while the block is open."""

    server: socketserver.BaseServer
    port: int

    def __enter__(self) -> Self:
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *details: object) -> None:
        self.server.shutdown()
        self.server.server_close()


class MailServer(_Receiver):
    """Speaks as much SMTP as a client needs to deliver. `mails` are the messages, `recipients` their envelopes."""

    def __init__(self) -> None:
        self.mails, self.recipients = list[Message](), list[str]()
        outer = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                self._say("220 mail")
                while line := self.rfile.readline().decode().strip():
                    verb = line.split(":")[0].upper()
                    if verb.startswith("EHLO"):
                        self._say("250 mail")
                    elif verb == "RCPT TO":
                        outer.recipients.append(line.partition("<")[2].rstrip(">"))
                        self._say("250 ok")
                    elif verb == "DATA":
                        self._say("354 go on")
                        lines = list(iter(lambda: self.rfile.readline().decode().rstrip("\r\n"), "."))
                        outer.mails.append(message_from_string("\n".join(lines)))
                        self._say("250 kept")
                    elif verb == "QUIT":
                        self._say("221 bye")
                        return
                    else:
                        self._say("250 ok")

            def _say(self, line: str) -> None:
                self.wfile.write(f"{line}\r\n".encode())

        self.server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]


class WebServer(_Receiver):
    """Keeps each JSON body that is posted, with its path and its bearer token. `status` is its next answers'."""

    def __init__(self) -> None:
        self.posts, self.status = list[tuple[str, str | None, dict[str, Any]]](), 200
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.posts.append((self.path, self.headers["Authorization"], body))
                self.send_response(outer.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *arguments: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
