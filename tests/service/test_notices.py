"""Notices: what is told and how often, over real connections; neither a restart nor a failure repeats or loses it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog

from sbnode.config import Config, Mail, Notify, Webhook
from sbnode.errors import DestinationUnavailable
from sbnode.jobs.client import Item
from sbnode.service.channels import post, send_mail
from sbnode.service.notices import Notices
from sbnode.spool import Spool
from tests.scp.certificates import authority, issued
from tests.service.mailbox import Hook, Mailbox

# A client that breaks off leaves its socket to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
UID = "1.2.826.0.1.3680043.8.498.77"


class Queue:
    """What notices ask of the queue."""

    def __init__(self) -> None:
        self.dead: list[Item] = []
        self.delivering: set[str] = set()

    def dead_letters(self) -> list[Item]:
        return self.dead

    def delivers_since(self, destination: str, moment: datetime) -> bool:
        assert moment.tzinfo is not None
        return destination in self.delivering


def dead(name: str, reason: str = "given up after 10 attempts: it can't be reached", minutes: int = 0) -> Item:
    at = BEGIN + timedelta(minutes=minutes)
    kind = "deliver" if "." in name else "process"
    job = name.split(".")[0]
    state = "dead letter"
    return Item(id=name, kind=kind, state=state, queue="q", reason=reason, job=job, created_at=at, updated_at=at)


class Clock:
    def __init__(self) -> None:
        self.now_s = 1e9

    def __call__(self) -> float:
        return self.now_s


class Desk:
    """Notices over a fake queue, posted to a real web server."""

    def __init__(self, folder: Path, **more: Any) -> None:
        self.hook, self.queue, self.clock = Hook(), Queue(), Clock()
        self._folder = folder
        webhook = {"url": f"http://127.0.0.1:{self.hook.port}/sbnode"}
        self._config = Config(
            notify={"every_s": 60, "webhook": webhook, "link": "https://wiki.example.org/sbnode", **more}
        )
        self.restart()

    def restart(self) -> None:
        queue: Any = self.queue
        self.notices = Notices(self._config, Spool(self._folder, 0), queue, self.clock)

    def turn(self, later_s: float = 0.0) -> list[str]:
        """Take a turn; return what was logged."""
        self.clock.now_s += later_s
        with structlog.testing.capture_logs() as records:
            self.notices.turn(lambda: False)
        return [str(record["event"]) for record in records]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Callable[..., Desk]]:
    made: list[Desk] = []

    def make(**more: Any) -> Desk:
        made.append(Desk(tmp_path / "spool", **more))
        return made[-1]

    yield make
    for one in made:
        one.hook.close()


def test_a_dead_letter_is_told_once_also_after_a_restart(desk: Callable[..., Desk]) -> None:
    at = desk()
    assert at.turn() == []
    at.queue.dead = [dead("abc.pacs.seg", f"refused: it refuses {UID}")]
    assert at.turn() == ["notice_sent"]
    at.turn(3600)
    at.restart()
    at.turn(3600)
    (notice,) = at.hook.received
    letter = notice["dead_letters"][0]
    assert (letter["job"], letter["destination"], letter["id"]) == ("abc", "pacs", "abc.pacs.seg")
    assert UID not in str(notice)
    assert "it refuses uid:" in notice["text"]
    assert notice["link"] in notice["text"]
    assert notice["subject"] == "sbnode SBNODE: 1 new dead letters, 0 destinations deliver again"


def test_what_is_new_within_the_time_goes_into_one_notice(desk: Callable[..., Desk]) -> None:
    at = desk()
    at.queue.dead = [dead("a")]
    at.turn()
    for number in range(30):
        at.queue.dead = [*at.queue.dead, dead(f"b{number}")]
        at.turn(1)
    assert len(at.hook.received) == 1
    at.turn(30)
    assert [notice["dead"] for notice in at.hook.received] == [1, 30]
    assert len(at.hook.received[1]["dead_letters"]) == 20
    assert "and 10 more dead letters" in at.hook.received[1]["text"]


def test_a_dead_letter_that_was_started_again_and_fails_again_is_told_again(desk: Callable[..., Desk]) -> None:
    at = desk()
    at.queue.dead = [dead("a")]
    at.turn()
    at.queue.dead = []
    at.turn(100)
    at.queue.dead = [dead("a", minutes=5)]
    at.turn(100)
    assert len(at.hook.received) == 2


def test_what_is_mended_or_dismissed_while_a_notice_waits_is_not_told(desk: Callable[..., Desk]) -> None:
    at = desk()
    at.queue.dead = [dead("a")]
    at.turn()
    at.queue.dead = [dead("a"), dead("b"), dead("c.pacs.seg"), dead("d")]
    at.turn(1)
    at.restart()
    at.queue.dead = [dead("a"), dead("b"), dead("d", minutes=5)]
    at.queue.delivering = {"pacs"}
    at.turn(58)
    at.turn(1)
    at.turn(100)
    assert [[one["id"] for one in notice["dead_letters"]] for notice in at.hook.received] == [["a"], ["b", "d"]]
    assert [notice["recovered"] for notice in at.hook.received] == [[], []], "nobody was told that it was down"


def test_a_destination_that_delivers_again_is_told_once(desk: Callable[..., Desk]) -> None:
    at = desk()
    at.queue.dead = [dead("abc.pacs.seg"), dead("abc.cloud.seg", "refused: 0xA900")]
    at.turn()
    at.restart()
    at.turn(100)
    at.queue.delivering = {"pacs", "cloud"}
    at.turn(100)
    at.turn(100)
    assert [notice["recovered"] for notice in at.hook.received] == [[], ["pacs"]]
    assert "destination pacs delivers again" in at.hook.received[1]["text"]


def test_what_can_t_be_sent_is_tried_again_later_and_later_also_after_a_restart(desk: Callable[..., Desk]) -> None:
    at = desk()
    at.hook.statuses = [500, 503]
    at.queue.dead = [dead("a")]
    assert at.turn() == ["notice_not_sent"]
    assert at.turn(29) == []
    at.restart()
    assert at.turn(1) == ["notice_not_sent"]
    assert at.turn(59) == []
    assert at.turn(1) == ["notice_sent"]
    assert len(at.hook.received) == 1


def test_after_a_day_a_notice_is_given_up(desk: Callable[..., Desk]) -> None:
    at = desk()
    at.hook.statuses = [500]
    at.queue.dead = [dead("a")]
    at.turn()
    assert at.turn(25 * 3600) == ["notice_given_up"]
    assert at.turn(3600) == []


def test_without_a_channel_nothing_is_looked_at(tmp_path: Path) -> None:
    queue: Any = None
    Notices(Config(), Spool(tmp_path, 0), queue).turn(lambda: False)
    assert not (tmp_path / "notices.json").exists()


def test_a_damaged_file_is_forgotten(desk: Callable[..., Desk], tmp_path: Path) -> None:
    at = desk()
    (tmp_path / "spool" / "notices.json").write_text("{")
    at.restart()
    at.queue.dead = [dead("a")]
    assert at.turn() == ["notice_sent"]


def test_the_webhook_s_certificate_is_checked_and_the_token_is_sent(tmp_path: Path) -> None:
    trusted, other = authority(tmp_path), authority(tmp_path, "other")
    hook = Hook(issued(tmp_path, "server", trusted))
    (tmp_path / "token").write_text("secret\n")
    url = f"https://127.0.0.1:{hook.port}/"
    post(Webhook(url=url, ca=trusted.certificate, token_file=tmp_path / "token"), {"a": 1})
    for ca in (other.certificate, None):
        with pytest.raises(DestinationUnavailable, match="can't be reached"):
            post(Webhook(url=url, ca=ca), {"a": 2})
    hook.close()
    assert (hook.received, hook.tokens) == ([{"a": 1}], ["Bearer secret"])


def mail(box: Mailbox, **more: Any) -> Mail:
    addresses = {"sender": "sbnode@example.org", "recipients": ["a@example.org", "b@example.org"]}
    return Mail(**{"host": "127.0.0.1", "port": box.port, "timeout_s": 60, **addresses, **more})


def test_mail_goes_over_tls_with_a_password_and_to_nobody_without_trust(tmp_path: Path) -> None:
    trusted, other = authority(tmp_path), authority(tmp_path, "other")
    box = Mailbox(issued(tmp_path, "server", trusted), login=("sbnode", "secret"))
    (tmp_path / "password").write_text("secret")
    (tmp_path / "wrong").write_text("wrong")
    login = {"user": "sbnode", "password_file": tmp_path / "password", "ca": trusted.certificate}
    send_mail(mail(box, **login), "two dead letters", "grüße $1")
    assert box.encrypted == [True]
    assert "Subject: two dead letters" in box.messages[0]
    assert "To: a@example.org, b@example.org" in box.messages[0]
    for change in (
        {"ca": other.certificate},
        {"password_file": tmp_path / "wrong"},
        {"password_file": tmp_path / "no"},
    ):
        with pytest.raises(DestinationUnavailable) as caught:
            send_mail(mail(box, **{**login, **change}), "s", "t")
        assert "secret" not in str(caught.value).replace("the secret of notices", "")
    box.close()
    assert len(box.messages) == 1


def test_mail_is_never_sent_in_the_clear_unless_that_was_said() -> None:
    box = Mailbox()
    with pytest.raises(DestinationUnavailable, match="SMTPNotSupported"):
        send_mail(mail(box), "s", "t")
    assert box.messages == []
    box.refuse = {"b@example.org"}
    with structlog.testing.capture_logs() as records:
        send_mail(mail(box, starttls=False), "s", "t")
    assert [record["event"] for record in records] == ["notice_recipients_refused"]
    assert len(box.messages) == 1
    box.refuse = {"example.org"}
    with pytest.raises(DestinationUnavailable, match="RecipientsRefused"):
        send_mail(mail(box, starttls=False), "s", "t")
    box.close()


def test_the_channels_fail_apart(desk: Callable[..., Desk]) -> None:
    box = Mailbox()
    at = desk(mail=mail(box, starttls=False))
    box.close()
    at.queue.dead = [dead("a")]
    assert sorted(at.turn()) == ["notice_not_sent", "notice_sent"]
    assert at.turn(30) == ["notice_not_sent"]
    assert len(at.hook.received) == 1


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"webhook": {"url": "http://chat.example.org/"}}, "use https"),
        ({"webhook": {"url": "https://user:password@chat.example.org/"}}, "pattern"),
        ({"mail": {"host": "m", "sender": "a@b", "recipients": ["a@b"], "starttls": False}}, "only this machine"),
        ({"mail": {"host": "m", "sender": "a@b", "recipients": []}}, "at least 1"),
        ({"mail": {"host": "m", "sender": "a@b\r\nBcc: c@d", "recipients": ["a@b"]}}, "pattern"),
        ({"mail": {"host": "m", "sender": "a@b", "recipients": ["a@b"], "user": "u"}}, "belong together"),
        ({"subject": "$patient"}, "means nothing here"),
        ({"subject": "$lines"}, "one line"),
        ({"text": "5 $"}, "stands alone"),
        ({"link": "https://a\r\nb"}, "pattern"),
    ],
)
def test_what_isn_t_safe_is_refused(section: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Notify.model_validate(section)
