"""The corpus: that it is as large, as mixed and as honest as it says, and split for good."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from pathlib import Path

import pytest

from tests.guard.corpus import reading
from tests.guard.corpus.reading import Entry

LANGUAGES = {"en", "de", "fr", "es", "it", "pt", "pl", "tr", "ru", "zh", "ja", "ar", "hi"}

# How long an account number of a country is, by the IBAN registry.
IBAN_LENGTHS = {
    "AT": 20, "BE": 16, "CH": 21, "DE": 22, "ES": 24, "FI": 18, "FR": 27, "GB": 22, "IE": 22,
    "IT": 27, "KZ": 20, "MT": 31, "NL": 18, "PL": 28, "PT": 25, "SA": 24, "SE": 24, "TR": 26,
    "UA": 29,
}  # fmt: skip

DEVELOPMENT = reading.read_development()
HELD_OUT = reading.read_held_out() if reading.HELD_OUT.exists() else ()
ALL = DEVELOPMENT + HELD_OUT
PRACTICE = reading.read_practice()
README = (reading.HERE / "README.md").read_text()


def of_kind(kind: str, class_name: str = "") -> list[Entry]:
    return [e for e in ALL if e.kind == kind and class_name in ("", e.class_name)]


def test_every_entry_has_an_id_of_its_own_that_names_its_class() -> None:
    assert [e.id for e in ALL if not re.fullmatch(rf"{e.class_name}-[a-z]?\d{{3}}", e.id)] == []
    assert [key for key, times in Counter(e.id for e in ALL).items() if times > 1] == []


def test_texts_for_practice_have_ids_of_their_own_and_are_no_part_of_the_corpus() -> None:
    every = ALL + PRACTICE
    assert [
        e.id for e in PRACTICE if not re.fullmatch(rf"{e.class_name}-[a-z]?\d{{3}}", e.id)
    ] == []
    assert [key for key, times in Counter(e.id for e in every).items() if times > 1] == []
    assert {e.class_name for e in PRACTICE} == {e.class_name for e in DEVELOPMENT}
    assert {e.text for e in PRACTICE} & {e.text for e in ALL} == set()


def test_no_text_is_there_twice_so_the_held_out_part_shares_none_with_development() -> None:
    twice = [text for text, times in Counter(e.text for e in ALL).items() if times > 1]
    assert twice == []


def test_every_entry_speaks_in_a_known_kind_direction_and_language() -> None:
    assert {e.kind for e in ALL} == {"attack", "lookalike"}
    assert {e.direction for e in ALL} == {"Input", "Output"}
    assert [e.id for e in ALL if not re.fullmatch(r"[a-z]{2}|und", e.language)] == []
    assert [e.id for e in ALL if not e.text.strip("\r\t ")] == []


def test_there_are_enough_texts_of_enough_classes() -> None:
    assert len(DEVELOPMENT) >= 700
    assert len({e.class_name for e in ALL}) >= 14


def test_every_class_has_attacks_and_look_alikes_in_like_numbers() -> None:
    for class_name in sorted({e.class_name for e in ALL}):
        attacks, harmless = of_kind("attack", class_name), of_kind("lookalike", class_name)
        assert 0.35 <= len(attacks) / len(attacks + harmless) <= 0.7, class_name


def test_about_a_tenth_of_the_attacks_are_beyond_rules() -> None:
    assert [e.id for e in ALL if e.hard and e.kind != "attack"] == []
    hard = sum(e.hard for e in ALL)
    assert 0.08 <= hard / len(of_kind("attack")) <= 0.18


@pytest.mark.parametrize("kind", ["attack", "lookalike"])
def test_half_of_the_texts_are_not_english_and_no_language_is_a_token_one(kind: str) -> None:
    spoken = Counter(e.language for e in of_kind(kind))
    assert spoken["en"] / spoken.total() <= 0.55
    assert {language for language in LANGUAGES if spoken[language] < 12} == set()


def test_every_class_speaks_more_than_english() -> None:
    for class_name in sorted({e.class_name for e in ALL}):
        mine = [e for e in ALL if e.class_name == class_name]
        assert sum(e.language != "en" for e in mine) / len(mine) >= 0.25, class_name


def test_card_attacks_hold_a_number_that_passes_the_luhn_check_and_look_alikes_hold_none() -> None:
    assert [e.id for e in of_kind("attack", "pii-card") if not e.hard and not cards(e.text)] == []
    assert [e.id for e in of_kind("lookalike", "pii-card") if cards(e.text)] == []


def test_iban_attacks_hold_a_number_with_right_check_digits_and_look_alikes_hold_none() -> None:
    assert [e.id for e in of_kind("attack", "pii-iban") if not e.hard and not ibans(e.text)] == []
    assert [e.id for e in of_kind("lookalike", "pii-iban") if ibans(e.text)] == []


def test_what_nobody_sees_is_escaped_in_the_file_so_that_a_review_shows_it() -> None:
    text = reading.DEVELOPMENT.read_text() + reading.PRACTICE.read_text()
    if HELD_OUT:
        text += reading.HELD_OUT.read_text()
    hidden = {c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Co", "Zl", "Zp")}
    assert hidden == {"\n"}


def test_the_digest_of_the_held_out_part_is_published_in_the_form_of_sha256sum() -> None:
    assert re.fullmatch(r"[0-9a-f]{64}  held-out\.jsonl\n", reading.DIGEST.read_text())
    if HELD_OUT:
        assert hashlib.sha256(reading.HELD_OUT.read_bytes()).hexdigest() in (
            reading.DIGEST.read_text()
        )


def test_another_file_in_the_place_of_the_held_out_part_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "held-out.jsonl"
    other.write_bytes(reading.DEVELOPMENT.read_bytes())
    with pytest.raises(ValueError, match="not the file"):
        reading.read_held_out(other)


def test_the_readme_counts_what_is_there() -> None:
    rows = re.findall(
        r"^\| ([a-z-]+) \| (\d+) \| (\d+) \| (\d+) \| (\d+|–) \|$", README, re.MULTILINE
    )
    assert {row[0] for row in rows} == {e.class_name for e in ALL}
    for class_name, *seen, held_out in rows:
        assert [int(count) for count in seen] == counts(DEVELOPMENT, class_name), class_name
        is_held = str(sum(counts(HELD_OUT, class_name)[:2])) if HELD_OUT else "–"
        assert held_out == is_held, class_name


@pytest.mark.skipif(not HELD_OUT, reason="the held-out part is not published yet")
def test_texts_of_every_class_are_held_out() -> None:
    held = Counter(e.class_name for e in HELD_OUT)
    assert {e.class_name for e in DEVELOPMENT if held[e.class_name] < 5} == set()


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('{"id": "x-001"}', "keys missing"),
        ('{"id": "x-001", "class": "x", "kind": "attack", "direction": "Input",'
         ' "language": "en", "text": "a", "colour": "red"}', "keys missing or unknown"),
        ('{"id": "x-001", "class": "x", "kind": "attack", "direction": "Input",'
         ' "language": "en"}', "needs either"),
        ('{"id": "x-001", "class": "x", "kind": "attack", "direction": "Input",'
         ' "language": "en", "repeat": "a"}', "needs either"),
    ],
    ids=["too little", "an unknown key", "no text", "a repeat without times"],
)  # fmt: skip
def test_a_line_that_is_no_entry_is_refused(line: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        reading.parse(line.encode())


def counts(entries: tuple[Entry, ...], class_name: str) -> list[int]:
    """Attacks, look-alikes, and how many of the attacks are hard."""
    mine = [e for e in entries if e.class_name == class_name]
    attacks = sum(e.kind == "attack" for e in mine)
    return [attacks, len(mine) - attacks, sum(e.hard for e in mine)]


def cards(text: str) -> list[str]:
    """Runs of 13 to 19 digits of any script, in groups or not, that pass the Luhn check."""
    flat = unicodedata.normalize("NFKC", text)
    runs = (re.sub(r"\D", "", run) for run in re.findall(r"\d(?:[ -]?\d)+", flat))
    return [run for run in runs if 13 <= len(run) <= 19 and passes_luhn(run)]


def passes_luhn(digits: str) -> bool:
    doubled = (int(d) * (1 + at % 2) for at, d in enumerate(reversed(digits)))
    return sum(n - 9 if n > 9 else n for n in doubled) % 10 == 0


def ibans(text: str) -> list[str]:
    """Account numbers, in groups or not, of their country's length with right check digits."""
    starts = re.finditer(r"(?=([A-Z]{2}\d\d(?: ?[A-Z0-9]){8,30}))", text.upper(), re.ASCII)
    found = (start[1].replace(" ", "") for start in starts)
    cut = (number[: IBAN_LENGTHS.get(number[:2], 0)] for number in found)
    return [n for n in cut if len(n) == IBAN_LENGTHS.get(n[:2]) and passes_mod_97(n)]


def passes_mod_97(number: str) -> bool:
    return int("".join(str(int(c, 36)) for c in number[4:] + number[:4])) % 97 == 1
