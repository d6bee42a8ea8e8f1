"""Who may use a served page."""

from urllib.parse import urlsplit

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from agg_pipeline.web.access import HEADERS, Guard, host_name
from agg_pipeline.web.web_server import address_of, bound, check_access, is_everywhere, serve
from schemas.errors import UserError

TOKEN = "a-long-secret"


async def hello(request):
    return PlainTextResponse(f"hello {request.query_params.get('name', '')}")


def client(token=None, host="localhost:8400"):
    app = Starlette(routes=[Route("/", hello, methods=["GET", "POST"])])
    return TestClient(Guard(app, 8400, token), base_url=f"http://{host}", follow_redirects=False)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8400", "[::1]:8400", "LOCALHOST:1"])
def test_this_machine_is_served(host):
    answer = client().get("/", headers={"host": host})
    assert answer.status_code == 200
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8400", "localhost.evil.example", "127.0.0.1@x", "[::1", ""]
)
def test_other_names_of_this_machine_are_refused(host):
    answer = client().get("/", headers={"host": host})
    assert answer.status_code == 403
    assert "localhost" in answer.text


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost:9000"},
        {"origin": "http://[::1"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"},
        {"sec-fetch-site": "same-site", "sec-fetch-mode": "cors"},
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_other_pages_are_refused(headers, method):
    assert client().request(method, "/", headers=headers).status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://localhost:8400"},
        {"sec-fetch-site": "same-origin", "sec-fetch-mode": "cors"},
        {"sec-fetch-site": "none", "sec-fetch-mode": "navigate"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"},
    ],
)
def test_the_page_itself_and_links_to_it_are_served(headers):
    assert client().get("/", headers=headers).status_code == 200


def test_without_the_token_nothing_is_served():
    page = client(TOKEN, "elsewhere.example:8400")
    refused = [
        {},
        {"authorization": "Bearer other"},
        {"cookie": "agg_token_8400=other"},
        {"cookie": f"agg_token_1={TOKEN}"},
    ]
    for headers in refused:
        answer = page.get("/", headers=headers)
        assert (answer.status_code, TOKEN in answer.text) == (401, False)
    assert page.get("/?token=other").status_code == 401
    assert page.post(f"/?token={TOKEN}").status_code == 401
    assert page.get("/", headers={"authorization": f"Bearer {TOKEN}"}).text == "hello "


def test_the_token_of_the_address_becomes_a_cookie():
    page = client(TOKEN)
    first = page.get(f"/?name=me&token={TOKEN}")
    assert first.status_code == 303
    assert first.headers["location"] == "http://localhost:8400/?name=me"
    cookie = first.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert page.get("/?name=me").text == "hello me"


@pytest.mark.parametrize("token", ["a&b#c%d+e?f=g", "semi;colon, comma", 'with "quotes" \\073', " spaces at ends "])
def test_the_printed_address_opens_the_page_with_any_token(token):
    with bound("127.0.0.1", 0) as listening:
        address = urlsplit(address_of(listening, "127.0.0.1", token))
    page = client(token)
    first = page.get(f"{address.path}?{address.query}")
    assert (first.status_code, address.fragment) == (303, "")
    # The cookie as a browser sends it back.
    cookie = first.headers["set-cookie"].split("; HttpOnly")[0]
    page.cookies.clear()
    assert page.get("/", headers={"cookie": cookie}).text == "hello "


def test_a_name_of_another_page_that_leads_here_has_no_cookie():
    page = client(TOKEN)
    page.get(f"/?token={TOKEN}")
    assert page.get("/").status_code == 200
    assert page.get("http://evil.example:8400/").status_code == 401


@pytest.mark.parametrize(
    ("host", "shown", "everywhere"),
    [("0.0.0.0", "127.0.0.1", True), ("127.0.0.1", "127.0.0.1", False), ("localhost", "localhost", False)],
)
def test_the_printed_address_can_be_opened(host, shown, everywhere):
    with bound(host, 0) as listening:
        assert address_of(listening, host, None) == f"http://{shown}:{listening.getsockname()[1]}/"
        assert is_everywhere(listening) == everywhere


@pytest.mark.parametrize(
    ("host", "token"), [("0.0.0.0", None), ("gpu1", None), ("127.0.0.1", "short"), ("gpu1", "ünsicher-lang")]
)
def test_other_machines_need_a_token(host, token):
    with pytest.raises(UserError, match="--token"):
        check_access(host, token)


def test_a_port_in_use_and_a_foreign_address_are_named():
    with bound("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(UserError, match=f"port {port} is in use"):
            bound("127.0.0.1", port)
    with pytest.raises(UserError, match=r"cannot listen on 192\.0\.2\.1"):
        bound("192.0.2.1", 0)


def test_nothing_is_loaded_for_a_port_in_use():
    made = []
    with bound("127.0.0.1", 0) as first, pytest.raises(UserError, match="is in use"):
        serve(lambda: made.append(1), "127.0.0.1", first.getsockname()[1], None, print)
    assert made == []


def test_host_names():
    assert [host_name(each) for each in ("a:1", "[::1]:2", "A", "", "[", "a b")] == ["a", "::1", "a", "", "", "a b"]
