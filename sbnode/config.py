"""The configuration: frozen models of ``config.yaml``. Every key has a default, so an empty file is a valid one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from string import Template
from typing import Annotated, Literal, TypeVar, get_args
from urllib.parse import parse_qs, urlsplit

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from sbnode.document import read_document
from sbnode.errors import ConfigError
from sbnode.matching import Keyword, Matcher, RegularExpression

__all__ = [
    "AuditTrail",
    "Caller",
    "Completion",
    "Config",
    "Destination",
    "Execution",
    "Log",
    "Mail",
    "Model",
    "Monitoring",
    "Node",
    "Notify",
    "Priority",
    "Queue",
    "Receive",
    "Region",
    "ResultObject",
    "Results",
    "Rule",
    "Selection",
    "Spool",
    "Status",
    "Syslog",
    "Threshold",
    "Tls",
    "WebDestination",
    "Webhook",
    "load_config",
]

AeTitle = Annotated[str, StringConstraints(strip_whitespace=True, pattern=r"^[\x20-\x5b\x5d-\x7e]{1,16}$")]
Port = Annotated[int, Field(ge=1, le=65535)]


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
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")]
ResultObject = Literal["seg", "stl", "sr", "preview", "fine", "labelmap"]
Region = Literal["skull_base", "all_bone"]
Priority = Literal["high", "normal", "low"]
Hours = Annotated[str, StringConstraints(pattern=r"^([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d$")]

_S = TypeVar("_S", bound=BaseModel)

_LOCAL = ("localhost", "127.0.0.1", "::1")
_MODELS = Path(__file__).resolve().parent.parent / "models"


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Tls(_Section):
    """Certificates of one side of a TLS connection (PS3.15 annex B)."""

    certificate: Path
    key: Path
    ca: Path | None = None
    """Certificates that the other side's must come from. Without it a server asks for no client certificate."""


class Node(_Section):
    """The DICOM Application Entity that receives."""

    ae_title: AeTitle = "SBNODE"
    host: str = "0.0.0.0"
    port: Port | None = 11112
    """Of plain associations; None: none are taken."""
    tls_port: Port | None = None
    tls: Tls | None = None
    drain_s: float = Field(30.0, ge=0, le=3600)
    """After SIGTERM, open associations and running steps have this long to end."""

    @model_validator(mode="after")
    def _ports_fit(self) -> Node:
        if (self.tls is None) != (self.tls_port is None):
            raise ValueError("tls_port and tls belong together: give both or none")
        if self.port is None and self.tls_port is None:
            raise ValueError("without port and tls_port, nobody can send; give one")
        return self


class Completion(_Section):
    """When a series counts as complete."""

    association_end: bool = True
    """A released association whose slices leave no gap completes its series."""
    idle_s: float = Field(60.0, gt=0)
    """Without that evidence, a series is complete after this long without a new instance."""
    study_settle_s: float = Field(5.0, ge=0)
    """A study is looked at when all its series are complete and this long nothing came."""


class Caller(_Section):
    """An Application Entity that may send, and from where."""

    ae_title: AeTitle
    """What it calls itself."""
    networks: tuple[Network, ...] = ()
    """Where its associations may come from. Empty: from anywhere."""
    max_associations: int | None = Field(None, ge=1)
    """At the same time, of ``receive.max_associations``; None: all of them."""
    certificate_name: str | None = None
    """DNS name or Common Name that its client certificate must have; then it may come by TLS only."""


class Receive(_Section):
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


class Spool(_Section):
    """Where received instances and results are kept."""

    path: Path = Path("spool")
    min_free_bytes: int = Field(2_000_000_000, ge=0)
    """Below this much free space new instances are refused with 0xA700."""
    pause_free_bytes: int = Field(500_000_000, ge=0)
    """Below this much, no job is begun either, until there is space again."""


class Retention(_Section):
    """How long studies that are done stay in the spool, with their results and what the queue knows of them."""

    study_days: float | None = Field(30.0, gt=0)
    """After their last instance; None: for ever."""
    dead_letter_days: float | None = Field(90.0, gt=0)
    """The same for studies with a dead letter."""
    max_bytes: int | None = Field(None, gt=0)
    """When the spool holds more, the oldest studies that are done go first; not those that got an instance within the
    last hour, nor those with a dead letter.
    """
    sweep_s: float = Field(3600.0, gt=0)


class Selection(_Section):
    """Which series of a study is the best for bone."""

    min_slices: int = Field(16, ge=2)
    max_slice_step_mm: float = Field(5.0, gt=0)
    min_extent_mm: float = Field(40.0, gt=0)
    """Least length of the stack along its normal."""
    max_axis_angle_degrees: float = Field(45.0, gt=0, le=90)
    """A series is axial when its normal is this close to the patient's long axis."""
    sharp_kernel: RegularExpression = (
        r"(?i)(bone|edge|detail|sharp|lung|[hbuj][a-z]?[5-9]\d|^(fc)?[3-8][0-9]$|ya|yb|\be\b)"
    )
    """Regular expression; a series whose ConvolutionKernel matches is preferred."""
    exclude_description: RegularExpression = r"(?i)(scout|topogram|localizer|dose (report|info)|\b(mpr|mip|3d|vrt)\b)"
    """Regular expression; a series whose SeriesDescription matches is left out."""


class Rule(_Section):
    """What is done with the series that ``when`` fits. The first rule that fits a series is the one that counts."""

    name: Name
    when: dict[Keyword, Matcher] = {}
    """DICOM keywords with what their values must be like; all must hold. Empty: fits every series."""
    take: bool = True
    """False: the series is left alone."""
    priority: Priority = "normal"
    """Work of high priority goes before that of normal, and this before that of low, which keeps to
    ``queue.low_priority_hours``.
    """
    destinations: tuple[Name, ...] | None = None
    """Names of those that get the results; None: all."""
    region: Region | None = None
    """What is wanted of it; None: the node's ``region``."""

    @field_validator("when")
    @classmethod
    def _can_be_compared(cls, when: dict[str, Matcher]) -> dict[str, Matcher]:
        faults = [f"{keyword}: {fault}" for keyword, matcher in when.items() if (fault := matcher.misfit(keyword))]
        if faults:
            raise ValueError("; ".join(faults))
        return when


class Model(_Section):
    """Model folders. Each holds model.onnx, model.yaml and MODEL_CARD.md."""

    occupancy: Path = _MODELS / "skullbase"
    region: Path = _MODELS / "region"


class Execution(_Section):
    """Where the networks run."""

    provider: Literal["auto", "tensorrt", "cuda", "openvino", "cpu"] = "auto"
    threads: int = Field(0, ge=0)
    """Threads for inference; 0: as many as there are cores."""


class Threshold(_Section):
    """The adaptive threshold: half of the local maximum and minimum of the occupancy."""

    lowest: float = Field(0.15, ge=0, le=0.5)
    highest: float = Field(0.95, ge=0.5, le=1)
    contrast: float = Field(0.2, ge=0, le=1)
    """Where the local range is smaller than this, the threshold is one half."""
    seed: float = Field(0.45, ge=0, le=1)
    """A component must somewhere exceed this occupancy."""
    lumen_shift: float = Field(2.5, ge=0, le=4)
    """Added to the threshold where the model sees a canal or narrow gap, times its evidence."""
    sheet_shift: float = Field(0.25, ge=0, le=1)
    """Taken from the threshold where the model sees a thin sheet of bone, times its evidence."""


class Results(_Section):
    """What the result objects say of themselves."""

    series_number_offset: int = Field(9000, ge=1)
    content_qualification: Literal["RESEARCH", "PRODUCT", "SERVICE"] = "RESEARCH"
    triangles: int = Field(600_000, ge=50_000)
    """A finer surface is decimated to so many triangles; an STL has 50 bytes for each."""
    category: Literal["91723000", "123037004"] = "91723000"
    """SNOMED CT code of the segment category: Anatomical Structure, in its current or its older form."""
    fine: bool = False
    """Also make a segmentation on the cells of the fine grid."""
    label_map: bool = False
    """Also make the segmentation as a Label Map, for destinations that list it."""


class Peer(_Section):
    """A DICOM Application Entity that the node calls."""

    name: Name
    ae_title: AeTitle
    host: str
    port: Port
    calling_ae_title: AeTitle | None = None
    """AE title that the node calls itself there; default: its own."""
    tls: Tls | None = None
    timeout_s: float = Field(30.0, gt=0)


class Archive(Peer):
    """An archive that studies come from: it knows how many instances a series has (C-FIND), and asks for proof."""

    retrieve: bool = False
    """Fetch what is missing of a series by C-MOVE; the archive must know this node's AE title and port."""


class Destination(Peer):
    """A DICOM Application Entity that receives results."""

    objects: tuple[ResultObject, ...] = ("seg", "stl", "sr", "preview")
    confirm: Literal["accepted", "commitment", "query"] = "accepted"
    """When an object counts as delivered: its C-STORE was accepted; or, beyond that, the destination committed to its
    storage (PS3.4 annex J), or lists it in a C-FIND.
    """
    confirm_within_s: float = Field(3600.0, gt=0)
    """So long it may take to do so; then the object is sent again, three times in all."""


class WebDestination(_Section):
    """A DICOMweb service that receives results by STOW-RS (PS3.18 section 10.5)."""

    name: Name
    url: Annotated[str, StringConstraints(pattern=r"^https?://[^\s/?#]+[^\s?#]*$")]
    """Root of the service; ``/studies`` comes after it."""
    objects: tuple[ResultObject, ...] = ("seg", "stl", "sr", "preview")
    confirm: Literal["accepted", "query"] = "accepted"
    """When an object counts as delivered: it was accepted; or, beyond that, it is listed by QIDO-RS."""
    confirm_within_s: float = Field(3600.0, gt=0)
    token_file: Path | None = None
    """File with a bearer token."""
    user: str | None = None
    password_file: Path | None = None
    ca: Path | None = None
    """Certificates that the service's must come from; default: the system's authorities."""
    certificate: Path | None = None
    """Client certificate, with its key."""
    key: Path | None = None
    timeout_s: float = Field(30.0, gt=0)

    @model_validator(mode="after")
    def _credentials_fit(self) -> WebDestination:
        parts = urlsplit(self.url)
        if "@" in parts.netloc:
            raise ValueError("url must not hold a user or password: use user and password_file, or token_file")
        if not parts.hostname or parts.port == 0:  # reading port also refuses what is no number
            raise ValueError("url names no host or a wrong port")
        if (self.user is None) != (self.password_file is None):
            raise ValueError("user and password_file belong together: give both or none")
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key belong together: give both or none")
        if self.user is not None and self.token_file is not None:
            raise ValueError("give a token or a user, not both")
        secret = self.user is not None or self.token_file is not None
        if secret and parts.scheme == "http" and parts.hostname not in _LOCAL:
            raise ValueError("a token or password over http:// can be read on the way; use https://")
        return self


class Queue(_Section):
    """The durable queue."""

    url: str | None = None
    """SQLAlchemy URL of a PostgreSQL database, without a password; default: a SQLite file in the spool."""
    password_file: Path | None = None
    """File with the password of the user in ``url``."""
    worker: Name = "worker-1"
    """Name of this worker. No two workers may have the same one."""
    first_retry_s: float = Field(30.0, gt=0)
    longest_retry_s: float = Field(600.0, gt=0)
    attempts: int = Field(10, ge=1)
    low_priority_hours: Hours | None = None
    """Jobs of low priority begin within these hours of local time, such as "19:00-07:00"; None: at any time."""

    @model_validator(mode="after")
    def _password_stands_in_a_file(self) -> Queue:
        parts = urlsplit(self.url or "")
        if parts.password is not None or "password" in parse_qs(parts.query):
            raise ValueError("url must not hold a password: put it into a file and name that as password_file")
        if self.password_file is not None and not parts.username:
            raise ValueError("password_file needs a url with a user, such as postgresql+psycopg://sbnode@host/database")
        return self


class Status(_Section):
    """The HTTP side: the status page, /metrics, /healthz and /readyz."""

    host: str = "127.0.0.1"
    port: Port = 9464
    user: str | None = None
    """With it, all but /healthz asks for this user and password (basic authentication, RFC 7617)."""
    password_file: Path | None = None
    show_patient: bool = False
    """Show name and ID of the patient beside each result. Needs a user."""

    @model_validator(mode="after")
    def _user_and_password(self) -> Status:
        if (self.user is None) != (self.password_file is None):
            raise ValueError("user and password_file belong together: give both or none")
        if self.user is not None and ":" in self.user:
            raise ValueError("user must not hold a colon: basic authentication ends the name there")
        if self.show_patient and self.user is None:
            raise ValueError("show_patient needs a user: without one, anybody who reaches the page reads the names")
        return self


class Monitoring(_Section):
    """What is watched, and what is promised."""

    destination_check_s: float | None = Field(60.0, ge=1)
    """How often each destination is asked whether it answers (C-ECHO, HTTP); None: never."""
    objective_s: float = Field(600.0, gt=0)
    """99 % of the objects are to be accepted within this time of the last received instance."""


class Log(_Section):
    """Structured logs on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "console"] = "json"


class Syslog(_Section):
    """A syslog server that takes audit messages (IHE ITI-20, PS3.15 section A.6)."""

    host: str
    port: Port = 6514
    tls: bool = True
    """RFC 5425. Without it, the same over TCP, to this machine only."""
    ca: Path | None = None
    """Certificates that the server's must come from; default: the system's authorities."""
    certificate: Path | None = None
    """Client certificate, with its key."""
    key: Path | None = None

    @model_validator(mode="after")
    def _safe(self) -> Syslog:
        if not self.tls and self.host not in _LOCAL:
            raise ValueError("without tls, records could be read and changed on the way; only this machine is allowed")
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key belong together: give both or none")
        return self


class AuditTrail(_Section):
    """Who sent what, and what went where."""

    path: Path | None = None
    """File that records are appended to, as JSON lines; None: none."""
    syslog: Syslog | None = None
    """Server that records are sent to, as the XML of PS3.15 section A.5.1; None: none."""


class Webhook(_Section):
    """Where notices are posted as JSON."""

    url: Annotated[str, StringConstraints(pattern=r"^https?://[^\s/?#@]+[^\s#@]*$")]
    token_file: Path | None = None
    """File with a bearer token."""
    ca: Path | None = None
    """Certificates that the server's must come from; default: the system's authorities."""
    timeout_s: float = Field(10.0, gt=0)

    @model_validator(mode="after")
    def _stays_secret(self) -> Webhook:
        parts = urlsplit(self.url)
        if parts.scheme == "http" and parts.hostname not in _LOCAL:
            raise ValueError("a notice over http:// can be read and changed on the way; use https://")
        return self


_ADDRESS = r"^[^\s,@<>]+@[^\s,@<>]+$"


class Mail(_Section):
    """A mail server, and who gets notices."""

    host: str
    port: Port = 587
    sender: Annotated[str, StringConstraints(pattern=_ADDRESS)]
    recipients: Annotated[tuple[Annotated[str, StringConstraints(pattern=_ADDRESS)], ...], Field(min_length=1)]
    starttls: bool = True
    """False: in the clear, to a server on this machine only."""
    user: str | None = None
    password_file: Path | None = None
    ca: Path | None = None
    """As of ``webhook``."""
    timeout_s: float = Field(10.0, gt=0)

    @model_validator(mode="after")
    def _stays_secret(self) -> Mail:
        if not self.starttls and self.host not in _LOCAL:
            raise ValueError("without starttls, mail could be read on the way; only this machine is allowed")
        if (self.user is None) != (self.password_file is None):
            raise ValueError("user and password_file belong together: give both or none")
        return self


class Notify(_Section):
    """Who is told of new dead letters, and of destinations that deliver again."""

    every_s: float = Field(300.0, ge=1)
    """The least time between two notices: what is new within it goes into one."""
    link: Annotated[str, StringConstraints(pattern=r"^https?://\S+$")] | None = None
    """Where to look: the status page or your runbook."""
    subject: str = "sbnode $node: $dead new dead letters, $recovered destinations deliver again"
    text: str = "$lines\n\n$link\n"
    webhook: Webhook | None = None
    mail: Mail | None = None

    @field_validator("subject", "text")
    @classmethod
    def _template(cls, value: str) -> str:
        template = Template(value)
        known = ("node", "dead", "recovered", "lines", "link")
        if not template.is_valid():
            raise ValueError("a $ stands alone: write $$ for one")
        unknown = [name for name in template.get_identifiers() if name not in known]
        if unknown:
            raise ValueError(f"${unknown[0]} means nothing here; there are $" + ", $".join(known))
        return value

    @field_validator("subject")
    @classmethod
    def _one_line(cls, value: str) -> str:
        if "\n" in value or "\r" in value or "$lines" in value or "${lines}" in value:
            raise ValueError("a subject is one line")
        return value


class Config(_Section):
    """All of ``config.yaml``."""

    node: Node = Node()
    receive: Receive = Receive()
    spool: Spool = Spool()
    retention: Retention = Retention()
    selection: Selection = Selection()
    region: Region = "skull_base"
    model: Model = Model()
    execution: Execution = Execution()
    threshold: Threshold = Threshold()
    results: Results = Results()
    archives: tuple[Archive, ...] = ()
    destinations: tuple[Destination, ...] = ()
    web_destinations: tuple[WebDestination, ...] = ()
    rules: tuple[Rule, ...] = ()
    shadow: bool = False
    """True: results are made and kept in the spool, and not sent until somebody releases them."""
    queue: Queue = Queue()
    status: Status = Status()
    log: Log = Log()
    audit: AuditTrail = AuditTrail()
    notify: Notify = Notify()
    monitoring: Monitoring = Monitoring()

    @model_validator(mode="after")
    def _sections_agree(self) -> Config:
        faults = [
            *self._wanted_but_not_made(),
            *self._same_names(),
            *self._callers_not_let_in(),
            *self._certificates_not_asked_for(),
            *self._unknown_destinations(),
        ]
        if faults:
            raise ValueError("\n".join(faults))
        return self

    def _wanted_but_not_made(self) -> Iterator[str]:
        made = {"fine": ("results.fine", self.results.fine), "labelmap": ("results.label_map", self.results.label_map)}
        for destination in self.all_destinations:
            for kind, (setting, is_made) in made.items():
                if kind in destination.objects and not is_made:
                    yield f"destination {destination.name} wants the object '{kind}': set {setting} to true"

    def _same_names(self) -> Iterator[str]:
        named: tuple[tuple[str, Sequence[BaseModel], str], ...] = (
            ("destinations", self.all_destinations, "name"),
            ("archives", self.archives, "name"),
            ("archives", self.archives, "ae_title"),
            ("rules", self.rules, "name"),
        )
        for section, items, what in named:
            found = [getattr(item, what) for item in items]
            if len(set(found)) < len(found):
                yield f"{section}: two of them have the same {what}"

    def _callers_not_let_in(self) -> Iterator[str]:
        allowed = self.receive.allowed
        for archive in self.archives:
            if archive.ae_title not in allowed:
                yield (
                    f"archive {archive.name}: {archive.ae_title} must be among "
                    "receive.calling_ae_titles or callers, for it sends to this node"
                )
        for destination in self.destinations:
            if destination.confirm == "commitment" and destination.ae_title not in allowed:
                yield (
                    f"destination {destination.name}: confirm: commitment needs {destination.ae_title} among "
                    "receive.calling_ae_titles or callers, for it may report on an association of its own"
                )

    def _certificates_not_asked_for(self) -> Iterator[str]:
        asked = self.node.tls is not None and self.node.tls.ca is not None
        for caller in self.receive.callers:
            if caller.certificate_name is not None and not asked:
                yield (
                    f"receive.callers: {caller.ae_title} has a certificate_name, which needs node.tls with ca: "
                    "without it, no client is asked for a certificate"
                )

    def _unknown_destinations(self) -> Iterator[str]:
        known = [destination.name for destination in self.all_destinations]
        for rule in self.rules:
            for name in rule.destinations or ():
                if name not in known:
                    near = get_close_matches(name, known, n=1)
                    hint = f" (did you mean '{near[0]}'?)" if near else ""
                    yield f"rule {rule.name}: no destination is named '{name}'{hint}"

    @property
    def all_destinations(self) -> tuple[Destination | WebDestination, ...]:
        """Those that are sent to by C-STORE, then those by STOW-RS."""
        return (*self.destinations, *self.web_destinations)


def load_config(path: Path | None) -> Config:
    """Read ``path``, or return the defaults when it is None. Relative paths are taken from the file's folder.

    Raises:
        ConfigError: the file can't be read, isn't YAML, or has a wrong key or value; the message names each.
    """
    if path is None:
        return Config()
    try:
        content = read_document(path)
    except OSError as error:
        hint = "; name your configuration with --config" if isinstance(error, FileNotFoundError) else ""
        raise ConfigError(f"{path}: it can't be read ({error.strerror}){hint}") from error
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from error
    if content is not None and not isinstance(content, dict):
        raise ConfigError(f"{path}: the file must hold keys and values, not {type(content).__name__}")
    try:
        return _resolve(Config.model_validate(content or {}), path.resolve().parent)
    except ValidationError as error:
        faults = [fault for found in error.errors() for fault in _faults(found["loc"], found["msg"])]
        between = "\n  " if len(faults) > 1 else " "
        raise ConfigError(between.join((f"{path}:", *dict.fromkeys(faults)))) from error


def _faults(location: tuple[int | str, ...], message: str) -> list[str]:
    """Return what is wrong and where, a line each; rules that join several sections have no location."""
    message = message.removeprefix("Value error, ")
    if not location:
        return message.splitlines()
    return [f"{'.'.join(map(str, location))}: {message}{_nearest(location)}"]


def _nearest(location: tuple[int | str, ...]) -> str:
    """Return a hint at the key of the same section that is most like the last one of ``location``, if any."""
    section: object = Config
    for part in location[:-1]:
        models = _models(section)
        fields = models[0].model_fields if models else {}
        # The other parts are places in a list, keys of a mapping, or name one type of several.
        section = fields[part].annotation if isinstance(part, str) and part in fields else section
    keys = [key for model in _models(section) for key in model.model_fields]
    near = get_close_matches(str(location[-1]), keys, n=1)
    return f" (did you mean '{near[0]}'?)" if near and near[0] != location[-1] else ""


def _models(annotation: object) -> tuple[type[BaseModel], ...]:
    """Return the sections that ``annotation`` is made of, whatever lists, mappings and unions are around them."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return (annotation,)
    return tuple(model for part in get_args(annotation) for model in _models(part))


def _resolve(section: _S, folder: Path) -> _S:
    """Return the section with every relative path put under ``folder``."""
    changed: dict[str, object] = {}
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            changed[name] = _resolve(value, folder)
        elif isinstance(value, Path):
            changed[name] = folder / value
        elif isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
            changed[name] = tuple(_resolve(item, folder) for item in value)
    return section.model_copy(update=changed)
