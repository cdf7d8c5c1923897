"""Where the queue is and what its queues are called: what its two sides must agree on."""

from __future__ import annotations

from urllib.parse import quote, urlsplit, urlunsplit

from sbnode.config import Config
from sbnode.errors import ConfigError

__all__ = [
    "APPLICATION",
    "INFERENCE",
    "PRIORITIES",
    "STUDY",
    "WORKFLOWS_VERSION",
    "database_url",
    "delivery",
    "is_of_destination",
    "later",
    "names",
    "proof",
    "sending",
    "sending_number",
]

PRIORITIES: dict[str, int] = {"high": 1, "normal": 2, "low": 3}
"""What DBOS calls the priorities: the lowest number goes first. What has none, such as a study, goes before all."""
WORKFLOWS_VERSION = "1"
"""Raised only when the order of a workflow's steps changes: waiting work is done by its own version alone."""
APPLICATION = "sbnode"
STUDY = "study"
INFERENCE = "inference"


def delivery(destination: str) -> str:
    """Return the name of the queue of a destination: each has its own, so that none waits for another."""
    return f"delivery.{destination}"


def proof(destination: str) -> str:
    """Return the name of the queue of what a destination is asked after a delivery."""
    return f"proof.{destination}"


def is_of_destination(name: str) -> bool:
    """Whether a queue is that of a destination, configured or not."""
    return name.startswith((delivery(""), proof("")))


def sending(name: str, number: int) -> str:
    """Return the id of the ``number``-th sending of what is called ``name``: job, destination and object."""
    return name if number == 1 else f"{name}.sending-{number}"


def sending_number(name: str) -> int:
    """Return the ``number`` that ``sending`` made the id of a delivery with; of a proof, that of its delivery."""
    _, is_proof, which = name.partition(".proof-")
    return int(which.partition("-")[0] if is_proof else name.partition(".sending-")[2] or 1)


def later(job_key: str, number: int) -> str:
    """Return the id of the ``number``-th beginning of a job: its key, and from the second on with the number."""
    return job_key if number == 1 else f"{job_key}.later-{number}"


def names(config: Config) -> tuple[str, ...]:
    """Return the names of all queues."""
    destinations = config.all_destinations
    proofs = (proof(destination.name) for destination in destinations)
    return (STUDY, INFERENCE, *(delivery(destination.name) for destination in destinations), *proofs)


def database_url(config: Config) -> str:
    """Return the SQLAlchemy URL of the queue's database, with its password.

    Raises:
        ConfigError: the file with the password can't be read.
    """
    queue = config.queue
    if queue.url is None:
        return f"sqlite:///{config.spool.path.resolve() / 'queue.sqlite'}"
    if queue.password_file is None:
        return queue.url
    try:
        password = queue.password_file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"queue.password_file: {queue.password_file} can't be read") from error
    parts = urlsplit(queue.url)
    user, _, where = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user}:{quote(password, safe='')}@{where}"))
