"""Personal data and secrets: what is found, and what only looks like it."""

from __future__ import annotations

import pytest

from rlhf_operator.api.stages import Recognizer
from rlhf_operator.guard.checks.recognizers import recognizer_finder
from rlhf_operator.guard.checks.views import read
from rlhf_operator.guard.text import normal_view

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJub2JvZHkifQ.c2lnbmF0dXJlc2lnbmF0dXJl"


def found(recognizer: Recognizer, said: str) -> list[str]:
    spans = recognizer_finder(recognizer).find(read(normal_view(said))) or []
    return [said[start:end] for start, end in spans]


@pytest.mark.parametrize(
    ("recognizer", "said", "what"),
    [
        ("Email", "Write to Ana.Ruiz+x@mail.example.org, please.", "Ana.Ruiz+x@mail.example.org"),
        ("Email", "邮箱是li@pochta.example。", "li@pochta.example"),
        ("Email", "иван@почта.example", "иван@почта.example"),
        ("Email", "jo [at] home [dot] example", "jo [at] home [dot] example"),
        ("Email", "mailto:jo%40home.example", "jo%40home.example"),
        ("Phone", "Call +44 20 7946 0321 now", "+44 20 7946 0321"),
        ("Phone", "Call +1 (202) 555-0173.", "+1 (202) 555-0173"),
        ("Phone", "0049 171 3920034", "0049 171 3920034"),
        ("Phone", "Mobile: 0171 3920034", "0171 3920034"),
        ("Phone", "her phone is 612 345 678", "612 345 678"),
        ("Phone", "Tel. ٠٥٠ ٠٠٠ ٤٥١٢", "٠٥٠ ٠٠٠ ٤٥١٢"),
        ("Phone", "call (415) 555-0198", "(415) 555-0198"),
        ("Phone", "She is in at 030 23125 067.", "030 23125 067"),
        ("Phone", "Son numéro : 06.39.98.41.26.", "06.39.98.41.26"),
        ("CreditCard", "pay 4111 1111 1111 1111", "4111 1111 1111 1111"),
        ("CreditCard", "2024 4111 1111 1111 1111", "4111 1111 1111 1111"),
        ("CreditCard", "3782 822463 10005", "3782 822463 10005"),
        (
            "CreditCard",
            "４１１１－１１１１－１１１１－１１１１",
            "４１１１－１１１１－１１１１－１１１１",
        ),
        ("IBAN", "to DE89 3704 0044 0532 0130 00 today", "DE89 3704 0044 0532 0130 00"),
        ("IBAN", "gb82west12345698765432", "gb82west12345698765432"),
        ("IPAddress", "from 94.201.33.7, at night", "94.201.33.7"),
        ("IPAddress", "address 5.8.4.4", "5.8.4.4"),
        ("IPAddress", "2a01:4f9:12:3400::5c1e", "2a01:4f9:12:3400::5c1e"),
        ("SocialSecurityNumber", "SSN 536-22-8741", "536-22-8741"),
        ("SocialSecurityNumber", "social security no. 529887413", "529887413"),
        ("NationalID", "Steuer-ID 86 095 742 719", "86 095 742 719"),
        ("NationalID", "1 85 05 78 006 084 91", "1 85 05 78 006 084 91"),
        ("NationalID", "DNI 12345678Z", "12345678Z"),
        ("NationalID", "NIE X1234567L", "X1234567L"),
        ("NationalID", "RSSMRA85T10A562S", "RSSMRA85T10A562S"),
        ("NationalID", "PESEL 44051401359", "44051401359"),
        ("NationalID", "CPF 111.444.777-35", "111.444.777-35"),
        ("NationalID", "NINO AB 12 34 56 C", "AB 12 34 56 C"),
        ("NationalID", "TC kimlik no 10000000146", "10000000146"),
        ("NationalID", "身份证11010519491231002X。", "11010519491231002X"),
        ("NationalID", "СНИЛС 112-233-445 95", "112-233-445 95"),
        ("NationalID", "AHV 756.9217.0769.85", "756.9217.0769.85"),
        ("NationalID", "rijksregister 85.07.30-033.28", "85.07.30-033.28"),
        ("NationalID", "personnummer 811218-9876", "811218-9876"),
        ("NationalID", "hetu 131052-308T", "131052-308T"),
        ("NationalID", "BSN 111222333", "111222333"),
        ("NationalID", "आधार 2341 2341 2346", "2341 2341 2346"),
        ("Secret", "export K=AKIAIOSFODNN7EXAMPL3", "AKIAIOSFODNN7EXAMPL3"),
        ("Secret", f"token {JWT}", JWT),
        ("Secret", "db at postgres://app:s3cr3tword@db:5432", "postgres://app:s3cr3tword@"),
    ],
)
def test_it_is_found_as_it_stands(recognizer: Recognizer, said: str, what: str) -> None:
    assert found(recognizer, said) == [what]


@pytest.mark.parametrize(
    ("recognizer", "said"),
    [
        pytest.param("Email", "@pytest.fixture and icon@2x.png", id="decorators and file names"),
        pytest.param("Email", "git clone git@host.example:team/code", id="a remote"),
        pytest.param("Email", "see backup@home.service and getty@tty1.timer", id="units"),
        pytest.param("Email", "ssh -p 22 ann@host.example", id="an account on a host"),
        pytest.param("Email", "scp a.txt ann@host.example:/srv", id="a place on a host"),
        pytest.param("Email", "ftp://user:word@host.example/", id="a password in an address"),
        pytest.param("Phone", "order number 555-014-8831", id="the number of an order"),
        pytest.param("Phone", "the hotline is 030 23125 067", id="a hotline"),
        pytest.param("Phone", "phone 0800 123 4567", id="free to call"),
        pytest.param("Phone", "call 1-800-555-0198", id="free to call in North America"),
        pytest.param("Phone", "folder 0012.445-91/2020", id="a file of a year"),
        pytest.param("Phone", "part 0445 110 369-b is out", id="a piece of something longer"),
        pytest.param("Phone", "on 01/02/2023 10:30 and 2023-01-02", id="dates"),
        pytest.param("Phone", "version 10.15.2.33 of 2024", id="a version"),
        pytest.param("Phone", "my phone has 128 GB and cost 799", id="short numbers near a phone"),
        pytest.param("Phone", "ISBN 978-0-306-40615-7", id="a book"),
        pytest.param("Phone", "Boston, MA 02110-1301; +35236450.6", id="a postal code, a sum"),
        pytest.param("Phone", "meter 5300 0026 3528 7316 shows 12", id="groups within a number"),
        pytest.param("CreditCard", "4111 1111 1111 1112", id="a wrong check digit"),
        pytest.param("CreditCard", "tracking number 4111 1111 1111 1111", id="named as another"),
        pytest.param("CreditCard", "0000000000000000", id="all zeros"),
        pytest.param("CreditCard", "1714141414141", id="a moment in milliseconds"),
        pytest.param("IBAN", "DE88 3704 0044 0532 0130 00", id="wrong check digits"),
        pytest.param("IBAN", "de44fa12bc90aa71e3f0de44fa12bc", id="hexadecimal digits"),
        pytest.param("IPAddress", "192.168.1.1, 127.0.0.1, 0.0.0.0, ::1, fe80::1", id="private"),
        pytest.param("IPAddress", "chapter 1.2.3.4, version 94.201.33.7.1", id="versions"),
        pytest.param("IPAddress", "Version 10.4.55.2, upgrade from 9.12.40.1", id="releases"),
        pytest.param("IPAddress", "Upgrade path: 9.1.0.4, 9.2.0.77", id="a list of releases"),
        pytest.param("IPAddress", "149.112.112.112, 2620:fe::fe", id="resolvers open to all"),
        pytest.param("IPAddress", "12:34:56 and a::b", id="times and scopes"),
        pytest.param("SocialSecurityNumber", "666-45-1234, 900-12-3456, 123-00-4567", id="never"),
        pytest.param("SocialSecurityNumber", "item 529887413", id="nine digits of something"),
        pytest.param("NationalID", "44051401358, 12345678A", id="wrong check digits"),
        pytest.param("NationalID", "item 10000000146 and 111222333", id="nobody says what it is"),
        pytest.param("NationalID", "3.14051401359", id="decimals"),
        pytest.param("NationalID", "Batch 85010100128 expires in May", id="a batch"),
        pytest.param("Secret", 'password = os.environ["DB_PASSWORD"]', id="no value"),
        pytest.param("Secret", "api_key: <your-api-key-1>", id="a placeholder"),
        pytest.param("Secret", "postgres://USER:PASSWORD@HOST:5432/DB is its form", id="a form"),
        pytest.param("Secret", "token = tokens[index2]", id="code"),
        pytest.param("Secret", "sk-learn-estimators-and-pipelines", id="no digit"),
        pytest.param("Secret", "The password is too short; 8 characters are needed.", id="prose"),
    ],
)
def test_look_alikes_are_let_pass(recognizer: Recognizer, said: str) -> None:
    assert found(recognizer, said) == []


@pytest.mark.parametrize(
    "said",
    [
        "password: Tr0ub4dor&3",
        "PASSWORD=hunter2hunter2",
        '"client_secret": "9f8e7d6c5b4a"',
        "Das Passwort lautet Geheim-0815",
        "пароль от сервера: Tajna0000!",
        "Authorization: Bearer abcdef0123456789abcdef",
        "-----BEGIN RSA PRIVATE KEY-----\nMIIB\n-----END RSA PRIVATE KEY-----",
        "ghp_0123456789abcdefghij0123456789abcdef",
    ],
)
def test_secrets_are_found(said: str) -> None:
    assert found("Secret", said)


def test_a_private_key_goes_as_a_whole() -> None:
    key = "-----BEGIN PRIVATE KEY-----\nRkFLRQ==\n-----END PRIVATE KEY-----"
    assert found("Secret", f"here: {key} end") == [key]
