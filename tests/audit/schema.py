"""The structure of an Audit Message, as the schema of PS3.15 section A.5.1 has it: what may and must stand where."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from xml.etree.ElementTree import Element, fromstring

CODED = {"csd-code": r".+", "codeSystemName": r".+", "originalText": r".+"}
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+(Z|[+-]\d\d:\d\d)"
UID = r"[0-2](\.(0|[1-9][0-9]*))+"


@dataclass(frozen=True)
class Rule:
    """Patterns of required and optional attributes; children in their order, each with how often it may stand."""

    required: dict[str, str] = field(default_factory=dict)
    optional: dict[str, str] = field(default_factory=dict)
    children: tuple[tuple[str, int, float], ...] = ()


MANY = float("inf")
CODE = Rule(CODED, {"displayName": r".+"})
RULES = {
    "AuditMessage": Rule(
        children=(
            ("EventIdentification", 1, 1),
            ("ActiveParticipant", 1, MANY),
            ("AuditSourceIdentification", 1, 1),
            ("ParticipantObjectIdentification", 0, MANY),
        )
    ),
    "EventIdentification": Rule(
        {"EventDateTime": TIME, "EventOutcomeIndicator": "0|4|8|12"},
        {"EventActionCode": "[CRUDE]"},
        (("EventID", 1, 1), ("EventTypeCode", 0, MANY), ("EventOutcomeDescription", 0, 1)),
    ),
    "EventID": CODE,
    "EventTypeCode": CODE,
    "RoleIDCode": CODE,
    "ParticipantObjectIDTypeCode": CODE,
    "ActiveParticipant": Rule(
        {"UserID": ".*", "UserIsRequestor": "true|false"},
        {
            "AlternativeUserID": ".*",
            "UserName": ".*",
            "NetworkAccessPointID": ".+",
            "NetworkAccessPointTypeCode": "[1-5]",
        },
        (("RoleIDCode", 0, MANY), ("MediaIdentifier", 0, 1)),
    ),
    "AuditSourceIdentification": Rule(
        {"AuditSourceID": ".+"}, {"AuditEnterpriseSiteID": ".+"}, (("AuditSourceTypeCode", 0, MANY),)
    ),
    "AuditSourceTypeCode": Rule({"csd-code": "[1-9]"}),
    "ParticipantObjectIdentification": Rule(
        {"ParticipantObjectID": ".+"},
        {
            "ParticipantObjectTypeCode": "[1-4]",
            "ParticipantObjectTypeCodeRole": "[1-9]|1[0-9]|2[0-6]",
            "ParticipantObjectDataLifeCycle": "[1-9]|1[0-5]",
            "ParticipantObjectSensitivity": ".+",
        },
        (
            ("ParticipantObjectIDTypeCode", 1, 1),
            ("ParticipantObjectName", 1, 1),  # or a query, which sbnode never has
            ("ParticipantObjectDetail", 0, MANY),
            ("ParticipantObjectDescription", 0, MANY),
        ),
    ),
    "ParticipantObjectName": Rule(),
    "ParticipantObjectDetail": Rule({"type": ".+", "value": "[A-Za-z0-9+/]+={0,2}"}),
    "ParticipantObjectDescription": Rule(
        children=(("MPPS", 0, MANY), ("Accession", 0, MANY), ("SOPClass", 0, MANY)),
    ),
    "SOPClass": Rule({"NumberOfInstances": r"\d+"}, {"UID": UID}),
}


def parsed(xml: str) -> Element:
    """The message, after every element of it was held against the schema."""
    root = fromstring(xml)
    assert root.tag == "AuditMessage"
    _check(root)
    return root


def _check(element: Element) -> None:
    rule = RULES[element.tag]
    assert rule.required.keys() <= element.attrib.keys(), f"{element.tag} lacks an attribute: {element.attrib}"
    for name, value in element.attrib.items():
        pattern = (rule.required | rule.optional)[name]
        assert re.fullmatch(pattern, value, re.DOTALL), f"{element.tag}: {name}={value!r}"
    names = [child.tag for child in element]
    order = [name for name, _, _ in rule.children]
    assert names == sorted(names, key=order.index), f"{element.tag}: {names} are out of order"
    for name, least, most in rule.children:
        assert least <= names.count(name) <= most, f"{element.tag}: {names.count(name)} of {name}"
    for child in element:
        _check(child)
