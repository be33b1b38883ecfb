"""A mail server that keeps the mails that it gets."""

import socketserver
import threading
from contextlib import contextmanager
from email import message_from_bytes, policy

from tests.waiting import wait_for


class _Session(socketserver.StreamRequestHandler):
    def handle(self):
        self.say("220 ready")
        while line := self.rfile.readline():
            match line.split()[0].upper():
                case b"DATA":
                    self.say("354 go on")
                    lines = iter(self.rfile.readline, b".\r\n")
                    mail = b"".join(line[1:] if line.startswith(b"..") else line for line in lines)
                    self.server.mails.append(message_from_bytes(mail, policy=policy.default))
                    self.say("250 kept")
                case b"QUIT":
                    self.say("221 bye")
                    return
                case _:
                    self.say("250 ok")

    def say(self, answer):
        self.wfile.write(f"{answer}\r\n".encode())


class MailServer(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Session)
        self.mails = []

    @property
    def port(self):
        return self.server_address[1]

    def wait_for(self, subject):
        """Return the text of the mail with a subject, once it has come."""
        mail = wait_for(
            lambda: next((mail for mail in list(self.mails) if mail["Subject"] == subject), None),
            seconds=120,
            describe=lambda: f"no mail {subject!r} among {[mail['Subject'] for mail in self.mails]}",
        )
        return mail.get_body(("html", "plain")).get_content()


@contextmanager
def mail_server():
    with MailServer() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()
