"""Candidates: what looks like personal data by its shape, to be judged by a small function."""

from __future__ import annotations

import dataclasses
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import re2

from rlhf_operator.guard.checks.expressions import compile_own
from rlhf_operator.guard.text import Span, View

BESIDE = 60
"""How many characters beside a candidate may say what it is."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A piece of text with the shape of something, and what stands around it."""

    text: str
    before: str
    after: str

    @property
    def compact(self) -> str:
        """Return its letters and digits alone."""
        return "".join(char for char in self.text if char.isalnum())


Judge = Callable[[Candidate], int]
"""Returns how many characters of a candidate are what is looked for: 0 when it is not."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """An expression whose first group is a candidate, and who judges it."""

    expression: re2._Regexp
    sign: str
    """An expression that is cheaper and occurs wherever there is a candidate."""
    judge: Judge
    longest: int
    """Of the candidate, in characters; of one that goes on without an end, how many it has when
    it is found for certain: from there on it is found as far as it got."""


def shape(
    expression: str, judge: Judge, *, longest: int, sign: str = "", edge: str = "0-9a-z_"
) -> Shape:
    """Return a shape whose candidates have none of the characters `edge` beside them."""
    before, after = (f"(?:^|[^{edge}])", f"(?:$|[^{edge}])") if edge else ("", "")
    whole = f"{before}({expression}){after}"
    return Shape(
        expression=compile_own(whole), sign=sign or expression, judge=judge, longest=longest
    )


def judged(check: Callable[[str], bool]) -> Judge:
    """Return a judge that asks a check about the letters and digits of a candidate."""
    return lambda candidate: len(candidate.text) if check(candidate.compact) else 0


def judged_near(check: Callable[[str], bool], words: re2._Regexp) -> Judge:
    """Return a judge that also wants one of some words beside the candidate."""

    def judge(candidate: Candidate) -> int:
        is_named = words.search(candidate.before) or words.search(candidate.after)
        return len(candidate.text) if is_named and check(candidate.compact) else 0

    return judge


OTHER_NUMBERS = compile_own(
    r"order|invoice|ticket|reference|\bref\b|tracking|serial|version|isbn|parcel|case n|account"
    r"|\bbatch|\blot\b|\bpart\b|\bsku\b|\bitem\b|voucher|shipment|\bmeter\b|\bseed\b"
    r"|\bmodel n|loyalty|error|fehler|erreur|errore|\berro\b|błąd|\bhata|ошибк|错误|エラー|خطأ"
    r"|bestell|rechnung|auftrag|sendung|aktenzeichen|seriennummer|artikel|zähler|charge|gutschein"
    r"|commande|facture|dossier|colis|suivi|série|pièce|lot\b|bon d'achat"
    r"|pedido|factura|expediente|envío|seguimiento|serie|pieza|lote"
    r"|ordine|fattura|pratica|spedizione|tracciamento|serie|articolo|lotto"
    r"|encomenda|protocolo|rastreio|rastreamento|série|peça|fatura"
    r"|zamówieni|faktur|przesyłk|seryjn|parti|częś|sipariş|fatura|kargo|takip|seri no|parça"
    r"|заказ|счёт|накладн|посылк|отслежив|серийн|партии|артикул"
    r"|订单|快递|发票|单号|序列号|追踪|批号|注文|伝票|追跡|シリアル|製造番号|品番"
    r"|kundennummer|mitgliedsnummer|vertragsnummer|matrikel|inventar|einwohner|inhabitants"
    r"|population|(?:customer|member|membership|contract|policy|client) (?:no|number|id)\b"
    r"|inventory|num[ée]ro de (?:client|contrat)"
    r"|número de (?:cliente|contrato)|numero (?:cliente|di contratto)"
    r"|habitants|habitantes|abitanti|номер (?:клиента|договора)|客户编号|会員番号|顧客番号"
    r"|bigliett|\bbillet|\bboleto|\bbilet\b|protocolo|processo|\bpasta\b"
    r"|referenci|referência|référence|riferimento|repuesto|ricambio|arquivo|pantone|\bshade|\brgb\b"
    r"|طلب|فاتورة|شحن|تتبع|تسلسلي|शिपमेंट|ऑर्डर|पार्सल|ट्रैकिंग|सीरियल|बिल"
)
"""Words that say what else a number is: of an order, a parcel, a machine."""
_NAMING = 34
"""How many characters before a number such a word may be."""


def judged_alone(check: Callable[[str], bool], words: re2._Regexp) -> Judge:
    """Return a judge of numbers that pass a check by chance now and then.

    Where it is named as the number of something else, one of some words must be beside it.
    """

    def judge(candidate: Candidate) -> int:
        is_other = OTHER_NUMBERS.search(candidate.before[-_NAMING:]) and not (
            words.search(candidate.before) or words.search(candidate.after)
        )
        return len(candidate.text) if not is_other and check(candidate.compact) else 0

    return judge


def accepted(shape: Shape, view: View) -> Iterator[Span]:
    """Yield the ranges of bytes in which candidates were judged to be what is looked for.

    A candidate that is not may overlap one that is, so the search goes on one step behind its
    start. One that may be refused is short, or has no other within it: all this is linear.
    """
    encoded = view.encoded
    at = 0
    while found := shape.expression.search(encoded, at):
        start, end = found.span(1)
        # Four bytes a character, and what a cut leaves of one is no character.
        candidate = Candidate(
            text=encoded[start:end].decode(),
            before=_text(encoded[max(0, start - 4 * BESIDE) : start])[-BESIDE:],
            after=_text(encoded[end : end + 4 * BESIDE])[:BESIDE],
        )
        length = 0 if _goes_on(candidate) else shape.judge(candidate)
        if length:
            end = start + len(candidate.text[:length].encode())
            yield start, end
            at = end
        else:
            at = start + 1
            while at < len(encoded) and encoded[at] & 0xC0 == 0x80:
                at += 1


def _goes_on(candidate: Candidate) -> bool:
    """Tell whether a number is a piece of a longer one, such as a version or a decimal."""
    before, after = candidate.before[:-3:-1], candidate.after[:2]
    return (candidate.text[0].isdigit() and _joins(before)) or (
        candidate.text[-1].isdigit() and _joins(after)
    )


def _joins(beside: str) -> bool:
    """Tell whether two characters, the nearest first, are a digit behind a sign within numbers."""
    return len(beside) == 2 and beside[0] in ".,-" and beside[1].isdigit()


def _text(encoded: bytes) -> str:
    return encoded.decode("utf-8", "ignore")


# NFKC leaves the digits of other scripts as they are, and most dashes.
_PLAIN = {
    code: str(unicodedata.decimal(chr(code)))
    for code in range(0x80, 0x1FC00)
    if unicodedata.category(chr(code)) == "Nd"
} | dict.fromkeys((*range(0x2010, 0x2016), 0x2212), "-")


def with_plain_digits(view: View) -> View:
    """Return a view in which the digits of all scripts are 0 to 9, and all dashes the same."""
    if view.text.isascii():
        return view
    text = view.text.translate(_PLAIN)
    return view if text == view.text else dataclasses.replace(view, text=text)
