import pytest
from assay_airflow.notices import channels
from assay_airflow.notices.message import Message
from receivers import MailServer, WebServer

MESSAGE = Message(
    "FAIL", "step-1", "small", "FAIL step-1: <b>10 fewer</b> {{ 1 + 1 }}", "https://airflow/assay/?page=run&dag=a"
)


def test_each_channel_gets_the_sentence_and_the_link_in_its_own_form(
    mail: MailServer, web: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASSAY_NOTIFY", "team_mail, chat,hook")
    assert channels.send(MESSAGE) == 3
    [letter] = mail.mails
    assert (letter["Subject"], letter["From"], mail.recipients) == (
        MESSAGE.sentence,
        "assay@example.com",
        ["team@example.com"],
    )
    body = next(part for part in letter.walk() if part.get_content_type() == "text/html").get_payload(decode=True)
    assert isinstance(body, bytes)
    assert "<p>FAIL step-1: &lt;b&gt;10 fewer&lt;/b&gt; {{ 1 + 1 }}</p>" in body.decode()
    chat, hook = web.posts
    assert chat == (
        "/services/T0/B0/secret",
        None,
        {"text": "FAIL step-1: &lt;b&gt;10 fewer&lt;/b&gt; {{ 1 + 1 }}\n<https://airflow/assay/?page=run&dag=a|Open>"},
    )
    assert hook[:2] == ("/hook", "Bearer sesame")
    assert hook[2] == {
        "text": f"{MESSAGE.sentence} {MESSAGE.link}",
        "kind": "FAIL",
        "checkpoint": "step-1",
        "suite": "small",
        "sentence": MESSAGE.sentence,
        "link": MESSAGE.link,
    }


def test_a_channel_that_fails_stops_no_other_and_its_secret_is_not_in_the_log(
    web: WebServer, mail: MailServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("ASSAY_NOTIFY", "chat,unknown,team_mail")
    web.status = 500
    assert channels.send(MESSAGE) == 1
    assert len(mail.mails) == 1
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warnings[0] == "Connection chat of ASSAY_NOTIFY took no message: it answered 500"
    assert warnings[1].startswith("Connection unknown of ASSAY_NOTIFY took no message: AirflowNotFoundException")
    assert "secret" not in caplog.text


def test_without_the_variable_nobody_is_told(web: WebServer) -> None:
    assert channels.list_channels() == []
    assert channels.send(MESSAGE) == 0
    assert web.posts == []
