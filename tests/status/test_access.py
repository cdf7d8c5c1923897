"""Who may see and do what: passwords, forged requests, addresses that lead elsewhere."""

from __future__ import annotations

import re
from typing import Any

import pytest
import structlog

from sbnode.status.access import Attempts
from tests.status.samples import CREDENTIALS, ITEM, JOB, MONITOR, Browser, Node

RESULT = f"/results/{JOB}"
ELSEWHERE = "192.0.2.7"


def token(client: Browser) -> str:
    """The token of the page's forms; the client gets its cookie."""
    found = re.search(r'name="token" value="([0-9a-f]{64})"', client.get("/").text)
    assert found is not None
    return found[1]


def retry(client: Browser, headers: dict[str, str] | None = None, **fields: str) -> int:
    return client.post("/retry", data={"id": ITEM, **fields}, headers=headers or {}).status_code


def test_who_is_on_this_machine_gets_pictures_and_surfaces_but_not_what_names_the_patient(node: Node) -> None:
    client = node.client()
    picture = client.get(f"{RESULT}/preview.png")
    assert (picture.status_code, picture.headers["content-type"], picture.content) == (200, "image/png", b"preview.png")
    assert picture.headers["content-disposition"].startswith("inline")
    assert node.audited == []
    surface = client.get(f"{RESULT}/surface.stl")
    assert surface.headers["content-type"] == "model/stl"
    assert f'filename="sbnode-{JOB[:12]}-surface.stl"' in surface.headers["content-disposition"]
    assert node.audited == [("", "127.0.0.1", JOB)]
    assert client.get(f"{RESULT}/seg.dcm").status_code == 403
    assert "seg.dcm" not in client.get("/").text
    assert len(node.audited) == 1


def test_who_logged_in_gets_all_and_it_is_recorded(node: Node) -> None:
    client = node.client(user=CREDENTIALS, credentials=CREDENTIALS, address=ELSEWHERE, host="node.example.org")
    answer = client.get(f"{RESULT}/seg.dcm")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/dicom")
    assert answer.headers["cache-control"] == "no-store"
    assert client.request("HEAD", f"{RESULT}/seg.dcm").status_code == 200
    assert node.audited == [("radiology", ELSEWHERE, JOB)]
    assert 'href="results/' + JOB + '/seg.dcm"' in client.get("/").text


@pytest.mark.parametrize(
    ("address", "host", "headers"),
    [
        (ELSEWHERE, "127.0.0.1:9464", {}),
        ("127.0.0.1", "attacker.example:9464", {}),  # DNS rebinding
        ("127.0.0.1", "localhost.attacker.example", {}),
        ("127.0.0.1", "127.0.0.1:9464", {"X-Forwarded-For": "127.0.0.1"}),
        ("127.0.0.1", "127.0.0.1:9464", {"Via": "1.1 proxy"}),
        ("127.0.0.1", "127.0.0.1:9464", {"Forwarded": "for=127.0.0.1"}),
        ("testclient", "127.0.0.1:9464", {}),
    ],
)
def test_who_is_elsewhere_sees_neither_results_nor_retries(
    node: Node, address: str, host: str, headers: dict[str, str]
) -> None:
    client = node.client(address=address, host=host)
    client.headers.update(headers)
    html = client.get("/").text
    assert "Needs attention" in html
    for hidden in ("results/", "surface.stl", "<form", "token"):
        assert hidden not in html
    assert client.get(f"{RESULT}/surface.stl").status_code == 403
    assert client.get(f"{RESULT}/preview.png").status_code == 403
    assert retry(client) == 403
    assert (node.retries, node.audited, node.asked) == ([], [], [])


@pytest.mark.parametrize("host", ["localhost", "localhost:9464", "127.0.0.1", "[::1]:9464"])
@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
def test_this_machine_is_known_by_its_names(node: Node, host: str, address: str) -> None:
    assert "<form" in node.client(address=address, host=host).get("/").text


def test_without_the_password_only_healthz_is_answered(node: Node) -> None:
    client = node.client(user=CREDENTIALS)
    assert client.get("/healthz").status_code == 200
    for path in ("/", "/parts", "/metrics", "/readyz", f"{RESULT}/preview.png", "/static/style.css", "/none"):
        answer = client.get(path)
        assert answer.status_code == 401, path
        assert answer.headers["www-authenticate"].startswith("Basic")
        assert answer.headers["x-frame-options"] == "DENY"
    assert retry(client) == 401
    assert node.asked == node.retries == []


@pytest.mark.parametrize(
    "path",
    [
        "/results/..%2f..%2f..%2fetc/preview.png",
        "/results/%2e%2e/preview.png",
        "/results/../results/x/preview.png",
        f"/results/{JOB}%00/preview.png",
        f"/results/{JOB}/result.json",
        f"/results/{JOB}/..%2fresult.json",
        f"/results/{JOB}/%2e%2e%2fpreview.png",
        f"/results/{'a' * 65}/preview.png",
        f"/results/{JOB}%0a/preview.png",
        "/results/ä/preview.png",
        "/static/..%2fpages.py",
        "/static/none.js",
    ],
)
def test_an_address_leads_to_what_is_named_and_nowhere_else(node: Node, path: str) -> None:
    answer = node.client().get(path)
    assert answer.status_code == 404
    assert set(node.asked) <= {"x"}


def test_a_result_that_is_gone_is_said_to_be(node: Node) -> None:
    answer = node.client().get("/results/gone/surface.stl")
    assert answer.status_code == 404
    assert "deleted by retention" in answer.text
    assert 'href="../../"' in answer.text
    assert node.audited == []


def test_a_retry_from_the_page_is_done_and_recorded(node: Node) -> None:
    client = node.client(user=CREDENTIALS, credentials=CREDENTIALS, address=ELSEWHERE, host="node.example.org")
    answer = client.post("/retry", data={"id": ITEM, "token": token(client)})
    assert (answer.status_code, answer.headers["location"]) == (303, "./?told=retried")
    assert "Started again." in client.get("/?told=retried").text
    assert node.retries == [ITEM]
    assert node.audited == [("radiology", ELSEWHERE, ITEM)]


def test_a_dismissal_from_the_page_is_done_and_recorded(node: Node) -> None:
    client = node.client(user=CREDENTIALS, credentials=CREDENTIALS, address=ELSEWHERE, host="node.example.org")
    answer = client.post("/dismiss", data={"id": ITEM, "reason": "not_needed", "token": token(client)})
    assert (answer.status_code, answer.headers["location"]) == (303, "./?told=dismissed")
    assert "Dismissed. It is listed as that" in client.get("/?told=dismissed").text
    assert node.dismissals == [(ITEM, "not_needed")]
    assert node.audited == [("radiology", ELSEWHERE, ITEM)]
    assert node.retries == []


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"token": "0" * 64}, 403),
        ({"reason": ""}, 400),
        ({"reason": "CANARY^PATIENT"}, 400),
        ({"id": "../x"}, 404),
        ({"id": ""}, 404),
    ],
)
def test_a_dismissal_that_was_not_sent_by_the_form_is_refused(node: Node, changed: dict[str, str], status: int) -> None:
    client = node.client()
    answer = client.post("/dismiss", data={"id": ITEM, "reason": "test", "token": token(client), **changed})
    assert answer.status_code == status
    assert "CANARY" not in answer.text
    assert node.dismissals == []
    assert client.get("/dismiss").status_code == 405


def test_somebody_who_did_not_log_in_dismisses_nothing(node: Node) -> None:
    client = node.client(address=ELSEWHERE, host="node.example.org")
    assert client.post("/dismiss", data={"id": ITEM, "reason": "test"}).status_code == 403
    assert node.dismissals == []


@pytest.mark.parametrize(("retried", "told"), [(0, "untouched"), (None, "unavailable"), ("busy", "busy")])
def test_a_dismissal_that_changes_nothing_says_why(node: Node, retried: Any, told: str) -> None:
    client = node.client()
    node.retried = retried
    answer = client.post("/dismiss", data={"id": ITEM, "reason": "test", "token": token(client)})
    assert answer.headers["location"] == f"./?told={told}"
    assert node.audited == []
    assert len(re.findall(r'role="status">[A-Z]', client.get(f"/?told={told}").text)) == 1


@pytest.mark.parametrize(("retried", "told"), [(0, "nothing"), (None, "unavailable"), ("busy", "busy")])
def test_a_retry_that_starts_nothing_says_why(node: Node, retried: Any, told: str) -> None:
    client = node.client()
    node.retried = retried
    answer = client.post("/retry", data={"id": ITEM, "token": token(client)})
    assert answer.headers["location"] == f"./?told={told}"
    assert node.audited == []
    assert len(re.findall(r'role="status">[A-Z]', client.get(f"/?told={told}").text)) == 1


def test_a_forged_retry_is_refused(node: Node) -> None:
    client = node.client()
    right = token(client)
    other = token(node.client())  # another process, another browser
    assert retry(client) == 403
    assert retry(client, token="") == 403
    assert retry(client, token=other) == 403
    assert retry(client, token=right[:-1] + "g") == 403
    assert retry(client, token="ä\ud800".encode("utf-8", "surrogatepass").decode("latin-1")) == 403
    for headers in (
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "http://attacker.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:8000"},
    ):
        assert retry(client, headers, token=right) == 403, headers
    client.cookies.clear()
    assert retry(client, token=right) == 403
    assert client.get("/retry").status_code == 405
    assert node.retries == []


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://127.0.0.1:9464"},
        {"Sec-Fetch-Site": "same-origin", "Origin": "https://status.example.org"},  # a proxy with TLS of another name
        {"Origin": "http://status.example.org", "X-Forwarded-Host": "status.example.org"},
    ],
)
def test_a_retry_gets_through_a_proxy(node: Node, headers: dict[str, str]) -> None:
    client = node.client(user=CREDENTIALS, credentials=CREDENTIALS)
    assert retry(client, headers, token=token(client)) == 303
    assert node.retries == [ITEM]


@pytest.mark.parametrize("item", ["", "../x", ".x", "a b", "a" * 201, "a\n", "a/b", "%"])
def test_a_retry_of_what_can_not_be_a_name_is_refused(node: Node, item: str) -> None:
    client = node.client()
    assert retry(client, token=token(client), id=item) == 404
    assert retry(client, token=token(client), padding="x" * 5000) == 403
    assert node.retries == []


def test_the_cookie_is_for_the_page_alone(node: Node) -> None:
    client = node.client()
    cookie = client.get("/").headers["set-cookie"]
    assert {"HttpOnly", "SameSite=strict"} <= set(cookie.split("; "))
    assert "Path" not in cookie
    assert "set-cookie" not in client.get("/").headers
    client.cookies.clear()
    assert client.get("/", headers={"Cookie": "sbnode=chosen-by-another"}).headers["set-cookie"] != cookie


def test_every_answer_tells_the_browser_what_not_to_do(node: Node) -> None:
    client = node.client()
    for path in ("/", "/parts", f"{RESULT}/preview.png", "/metrics", "/healthz", "/none", "/static/style.css"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-frame-options"] == "DENY"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        kept = headers["cache-control"]
        assert kept == ("private, max-age=31536000, immutable" if path.startswith("/static") else "no-store")


def test_wrong_passwords_are_limited_by_address(node: Node) -> None:
    client = node.client(user=CREDENTIALS, address=ELSEWHERE)
    right = (b"radiology", CREDENTIALS.partition(":")[2].encode())
    for _ in range(20):
        assert client.get("/").status_code == 401  # a browser that has yet to ask for it
    assert client.get("/", auth=right).status_code == 200
    with structlog.testing.capture_logs() as records:
        for _ in range(10):
            assert client.get("/", auth=("radiology", "wrong")).status_code == 401
    assert [(one["event"], one["address"]) for one in records] == [("login_refused", ELSEWHERE)] * 10
    refused = client.get("/", auth=right)
    assert refused.status_code == 429
    assert 1 <= int(refused.headers["retry-after"]) <= 10
    assert client.get("/healthz", auth=right).status_code == 200


def two_accounts(node: Node, credentials: str | None = None, address: str = ELSEWHERE) -> Browser:
    return node.client(
        user=CREDENTIALS, monitor=MONITOR, credentials=credentials, address=address, host="node.example.org"
    )


@pytest.mark.parametrize("address", [ELSEWHERE, "127.0.0.1"])
def test_a_monitor_reads_metrics_and_readiness_and_nothing_else(node: Node, address: str) -> None:
    client = two_accounts(node, MONITOR, address)
    for path in ("/metrics", "/readyz", "/healthz"):
        assert client.get(path).status_code == 200, path
        assert client.request("HEAD", path).status_code == 200
    for path in (
        *("/", "/parts", "/static/style.css", "/static/script.js", f"{RESULT}/preview.png", f"{RESULT}/surface.stl"),
        *(f"{RESULT}/seg.dcm", "/none", "//metrics", "/metrics/", "/metrics/..", "/readyz/../", "/%6detrics/x"),
    ):
        answer = client.get(path)
        assert answer.status_code == 403, path
        assert answer.headers["x-frame-options"] == "DENY"
        assert "set-cookie" not in answer.headers
    people = two_accounts(node, CREDENTIALS, address)
    for form in ("/retry", "/dismiss"):
        data = {"id": ITEM, "reason": "test", "token": token(people)}
        cookie = {"Cookie": f"sbnode={people.cookies['sbnode']}"}
        assert client.post(form, data=data, headers=cookie).status_code == 403
    assert (node.retries, node.dismissals, node.audited, node.asked) == ([], [], [], [])


def test_with_a_monitor_people_see_and_do_what_they_did(node: Node) -> None:
    client = two_accounts(node, CREDENTIALS)
    for path in ("/", "/metrics", "/readyz", f"{RESULT}/seg.dcm"):
        assert client.get(path).status_code == 200, path
    assert retry(client, token=token(client)) == 303
    assert node.audited[-1] == ("radiology", ELSEWHERE, ITEM)


@pytest.mark.parametrize(
    "wrong",
    [
        ("prometheus", "gei\u00dfbock"),
        ("radiology", "b\u00e4r"),
        ("prometheus", ""),
        ("", "b\u00e4r"),
        ("prometheus:", "b\u00e4r"),
        ("PROMETHEUS", "b\u00e4r"),
    ],
)
def test_each_user_has_a_password_of_their_own(node: Node, wrong: tuple[str, str]) -> None:
    client = two_accounts(node)
    user, password = wrong
    assert client.get("/metrics", auth=(user.encode(), password.encode())).status_code == 401


@pytest.mark.parametrize("address", [ELSEWHERE, "127.0.0.1"])
def test_a_monitor_with_a_wrong_password_keeps_nobody_out(node: Node, address: str) -> None:
    """Behind a proxy, people and monitor come from one address."""
    client = two_accounts(node, address=address)
    with structlog.testing.capture_logs() as records:
        for _ in range(10):
            assert client.get("/metrics", auth=("prometheus", "wrong")).status_code == 401
        assert client.get("/metrics", auth=("prometheus", "wrong")).status_code == 429
        assert client.get("/", auth=("radiology", "wrong")).status_code == 401
    assert [one["account"] for one in records] == ["monitor"] * 10 + ["people"]
    client.log_in(MONITOR)
    assert client.get("/metrics").status_code == 429
    client.log_in(CREDENTIALS)
    assert client.get("/").status_code == 200
    assert client.get("/metrics", auth=("prometheus", "wrong")).status_code == 429, "that clears nothing of a monitor's"


def test_typing_errors_of_people_stop_no_monitor(node: Node) -> None:
    client = two_accounts(node)
    for user in ("radiology", "radiologie", "", "Prometheus", "prometheus "):
        for _ in range(2):
            assert client.get("/", auth=(user, "wrong")).status_code == 401
    client.log_in(CREDENTIALS)
    assert client.get("/").status_code == 429
    client.log_in(MONITOR)
    assert client.get("/metrics").status_code == 200


@pytest.mark.parametrize("header", ["Basic", "Basic !", "Bearer x", "Basic cHJvbWV0aGV1cw==", "Basic \u00e4"])
def test_what_names_no_user_counts_as_of_people(node: Node, header: str) -> None:
    """The fourth is "prometheus" without the colon that ends a name."""
    client = two_accounts(node)
    for _ in range(10):
        assert client.get("/metrics", headers={"Authorization": header.encode("latin-1")}).status_code == 401
    assert client.get("/", auth=("radiology", "wrong")).status_code == 429


def test_a_right_password_of_a_monitor_allows_no_more_wrong_ones(node: Node) -> None:
    client = two_accounts(node, MONITOR)
    for _ in range(9):
        assert client.get("/metrics", auth=("prometheus", "wrong")).status_code == 401
    assert client.get("/metrics").status_code == 200
    assert client.get("/metrics", auth=("prometheus", "wrong")).status_code == 401
    assert client.get("/metrics", auth=("prometheus", "wrong")).status_code == 429


def test_the_password_of_a_monitor_helps_nobody_to_guess_the_other_one(node: Node) -> None:
    """Each right one of the lesser account in between would have allowed ten more wrong ones."""
    client = two_accounts(node, MONITOR)
    for _ in range(9):
        assert client.get("/metrics", auth=("radiology", "wrong")).status_code == 401
    assert client.get("/metrics").status_code == 200
    assert client.get("/").status_code == 403
    assert client.get("/metrics", auth=("radiology", "wrong")).status_code == 401
    assert client.get("/metrics", auth=("radiology", "wrong")).status_code == 429


def test_the_limit_fades_and_its_memory_is_bounded() -> None:
    now_s = 0.0
    attempts = Attempts(lambda: now_s)
    for _ in range(12):
        attempts.failed("192.0.2.1")
    assert attempts.wait_s("192.0.2.1") == 30.0
    assert attempts.wait_s("192.0.2.2") == 0.0
    now_s = 30.0
    assert attempts.wait_s("192.0.2.1") == 0.0
    attempts.failed("192.0.2.1")
    assert attempts.wait_s("192.0.2.1") == 10.0
    attempts.succeeded("192.0.2.1")
    assert attempts.wait_s("192.0.2.1") == 0.0
    for number in range(10):
        attempts.failed(f"2001:db8::{number}")
    assert attempts.wait_s("2001:db8::ffff") > 0
    assert attempts.wait_s("2001:db8:1::1") == 0
    for number in range(10_000):
        attempts.failed(f"10.0.{number // 256}.{number % 256}")
    assert len(attempts._spent) == 4096
