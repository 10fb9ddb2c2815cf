"""Send a message through the Airflow connections that ASSAY_NOTIFY names, separated by commas.

| type of the connection | goes to | needs |
| --- | --- | --- |
| `slackwebhook` | a channel of Slack | the webhook's URL as password, or as host |
| `smtp` | mailboxes | host, port and login of the server; `from_email` and `to` in the extra |
| `http` | any web address, as JSON | the URL as host; a password becomes a bearer token |
"""

import html
import logging
import os

import httpx
from airflow.sdk import BaseHook, Connection

from assay_airflow.hooks.ray import read_certificates
from assay_airflow.notices.message import Message
from ray_jobs.inputs.errors import InputError
from ray_jobs.inputs.names import printable

TIMEOUT_S = 10.0
log = logging.getLogger(__name__)


def list_channels() -> list[str]:
    """The ids of the connections. Empty: nobody is told of anything."""
    return [name.strip() for name in os.environ.get("ASSAY_NOTIFY", "").split(",") if name.strip()]


def send(message: Message) -> int:
    """Send the message through each channel. Returns how many took it; the log says why the others did not."""
    sent = 0
    for conn_id in list_channels():
        try:
            _send_through(BaseHook.get_connection(conn_id), message)
        except Exception as error:
            log.warning("Connection %s of ASSAY_NOTIFY took no message: %s", conn_id, _describe(error))
        else:
            sent += 1
            log.info("Told %s: %s", conn_id, message.sentence)
    return sent


def _describe(error: Exception) -> str:
    """The error in one line. A status of HTTP comes without the URL, which is a secret of a webhook."""
    if isinstance(error, httpx.HTTPStatusError):
        return f"it answered {error.response.status_code}"
    return printable(f"{type(error).__name__}: {error}", 300)


def _send_through(connection: Connection, message: Message) -> None:
    if connection.conn_type == "smtp":
        _mail(connection, message)
    elif connection.conn_type == "slackwebhook":
        text = f"{html.escape(message.sentence, quote=False)}\n<{message.link}|Open>"
        _post(connection.password or str(connection.host), {"text": text}, {})
    elif connection.conn_type == "http":
        headers = {"Authorization": f"Bearer {connection.password}"} if connection.password else {}
        fields = {name: getattr(message, name) for name in ("kind", "checkpoint", "suite", "sentence", "link")}
        _post(str(connection.host), {"text": f"{message.sentence} {message.link}", **fields}, headers)
    else:
        raise InputError(f"its type is {connection.conn_type}; give it type slackwebhook, smtp or http")


def _post(url: str, body: dict[str, str], headers: dict[str, str]) -> None:
    with httpx.Client(timeout=TIMEOUT_S, verify=read_certificates(), headers=headers) as client:
        client.post(url, json=body).raise_for_status()


def _mail(connection: Connection, message: Message) -> None:
    from airflow.providers.smtp.hooks.smtp import SmtpHook  # only where mail is sent: it loads much

    to = connection.extra_dejson.get("to")
    if not to:
        raise InputError("its extra names no `to`; set the addresses there")
    sentence, link = html.escape(message.sentence), html.escape(message.link)
    # No templates: the sentence holds text from outside, which Airflow's SmtpNotifier would render.
    with SmtpHook(smtp_conn_id=connection.conn_id) as hook:
        hook.send_email_smtp(
            to=to, subject=message.sentence[:150], html_content=f'<p>{sentence}</p><p><a href="{link}">{link}</a></p>'
        )
