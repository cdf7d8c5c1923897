"""Who may send, and when what was sent is complete."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated

from pydantic import BeforeValidator, Field, model_validator

from sbnode.config.section import AeTitle, Section

__all__ = ["Caller", "Completion", "Receive"]


def _network(value: object) -> IPv4Network | IPv6Network:
    if isinstance(value, IPv4Network | IPv6Network):
        return value
    if not isinstance(value, str):
        raise ValueError("not a network: write it as text, such as 10.1.0.0/16")
    network = ip_network(value)
    if isinstance(network, IPv6Network) and network.network_address.ipv4_mapped is not None:
        raise ValueError("an IPv4 network: write it as one; callers from it are known by IPv4 on an IPv6 port too")
    return network


Network = Annotated[IPv4Network | IPv6Network, BeforeValidator(_network)]


class Completion(Section):
    """When a series counts as complete."""

    association_end: bool = True
    """A released association whose slices leave no gap completes its series."""
    idle_s: float = Field(60.0, gt=0)
    """Without that evidence, a series is complete after this long without a new instance."""
    study_settle_s: float = Field(5.0, ge=0)
    """A study is looked at when all its series are complete and this long nothing came."""


class Caller(Section):
    """An Application Entity that may send, and from where."""

    ae_title: AeTitle
    """What it calls itself."""
    networks: tuple[Network, ...] = ()
    """Where its associations may come from. Empty: from anywhere."""
    max_associations: int | None = Field(None, ge=1)
    """At the same time, of ``receive.max_associations``; None: all of them."""
    certificate_name: str | None = None
    """DNS name or Common Name that its client certificate must have; then it may come by TLS only."""


class Receive(Section):
    """Who may send, and how much."""

    calling_ae_titles: tuple[AeTitle, ...] = ()
    """AE titles that may send, from anywhere."""
    callers: tuple[Caller, ...] = ()
    """The same, with more to say of each. With both lists empty, nobody may send."""
    require_called_ae_title: bool = True
    max_associations: int = Field(20, ge=1, le=250)
    network_timeout_s: float = Field(60.0, gt=0)
    max_pdu_bytes: int = Field(131072, ge=4096)
    max_instance_bytes: int = Field(1_000_000_000, ge=1_000_000)
    completion: Completion = Completion()

    @model_validator(mode="after")
    def _titles_differ(self) -> Receive:
        titles = (*dict.fromkeys(self.calling_ae_titles), *(caller.ae_title for caller in self.callers))
        twice = next((title for title in titles if titles.count(title) > 1), None)
        if twice is not None:
            raise ValueError(f"{twice} stands twice in calling_ae_titles and callers: which rule holds isn't clear")
        return self

    @property
    def allowed(self) -> Mapping[str, Caller]:
        """Who may send, by AE title."""
        plain = (Caller(ae_title=title) for title in self.calling_ae_titles)
        return {caller.ae_title: caller for caller in (*plain, *self.callers)}
