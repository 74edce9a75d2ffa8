"""Checksums of numbers that people are known by: pure arithmetic on digits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

_VERHOEFF = [
    "0123456789",
    "1234067895",
    "2340178956",
    "3401289567",
    "4012395678",
    "5987604321",
    "6598710432",
    "7659821043",
    "8765932104",
    "9876543210",
]
_VERHOEFF_TURN = [
    "0123456789",
    "1576283094",
    "5803796142",
    "8916043527",
    "9453126870",
    "4286573901",
    "2793806415",
    "7046913258",
]


def luhn(digits: str) -> bool:
    """Tell whether the last digit is right by Luhn's formula (ISO/IEC 7812-1)."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + place % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def mod_97(text: str) -> bool:
    """Tell whether an IBAN's check digits are right (ISO 13616)."""
    return int("".join(str(int(char, 36)) for char in text[4:] + text[:4])) % 97 == 1


def iso_7064(digits: str) -> bool:
    """Tell whether the last digit is right by ISO 7064, MOD 11,10."""
    product = 10
    for digit in digits[:-1]:
        product = ((int(digit) + product) % 10 or 10) * 2 % 11
    return (11 - product) % 10 == int(digits[-1])


def verhoeff(digits: str) -> bool:
    """Tell whether the last digit is right by Verhoeff's scheme."""
    check = 0
    for place, digit in enumerate(reversed(digits)):
        check = int(_VERHOEFF[check][int(_VERHOEFF_TURN[place % 8][int(digit)])])
    return check == 0


def _weighted(digits: str, weights: Sequence[int]) -> int:
    return sum(int(digit) * weight for digit, weight in zip(digits, weights, strict=False))


def _is_date(month: int, day: int) -> bool:
    return 1 <= month <= 12 and 1 <= day <= 31


def german_tax_id(digits: str) -> bool:
    """Eleven digits; in the first ten one stands twice or thrice, and at most one more is gone."""
    most = Counter(digits[:10]).most_common(2)
    return digits[0] != "0" and most[0][1] in (2, 3) and most[1][1] == 1 and iso_7064(digits)


def german_insurance(text: str) -> bool:
    """Area, date of birth, letter, serial number, check digit."""
    letter = f"{ord(text[8]) - ord('a') + 1:02}"
    digits = text[:8] + letter + text[9:11]
    products = (
        int(d) * w for d, w in zip(digits, (2, 1, 2, 5, 7, 1, 2, 1, 2, 1, 2, 1), strict=True)
    )
    right = sum(product // 10 + product % 10 for product in products) % 10
    return _is_date(int(text[4:6]), int(text[2:4]) % 50) and right == int(text[11])


def french_nir(text: str) -> bool:
    """Sex, year, month, place, serial number; a key of two digits."""
    number = text[:13].replace("2a", "19").replace("2b", "18")
    month = int(number[3:5])
    known = 1 <= month <= 12 or 20 <= month <= 42 or month >= 50
    return known and 97 - int(number) % 97 == int(text[13:])


def spanish_id(text: str) -> bool:
    """DNI and NIE: digits, and a letter that follows from them."""
    number = int(text[:-1].translate(str.maketrans("xyz", "012")))
    return text[-1] == "trwagmyfpdxbnjzsqvhlcke"[number % 23]


def italian_code(text: str) -> bool:
    """Codice fiscale: the last letter follows from the fifteen before."""
    odd = (
        1,
        0,
        5,
        7,
        9,
        13,
        15,
        17,
        19,
        21,
        2,
        4,
        18,
        20,
        11,
        3,
        6,
        8,
        12,
        14,
        16,
        10,
        22,
        25,
        24,
        23,
    )
    values = [int(c) if c.isdigit() else ord(c) - ord("a") for c in text[:15]]
    total = sum(odd[value] if at % 2 == 0 else value for at, value in enumerate(values))
    return text[15] == chr(ord("a") + total % 26)


def polish_pesel(digits: str) -> bool:
    """Date of birth with the century in its month, serial number, check digit."""
    is_born = _is_date(int(digits[2:4]) % 20, int(digits[4:6]))
    total = _weighted(digits, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1))
    return is_born and total % 10 == 0


def brazilian_cpf(digits: str) -> bool:
    """Two check digits, each over all digits before it."""
    for length in (9, 10):
        right = _weighted(digits[:length], range(length + 1, 1, -1)) * 10 % 11 % 10
        if right != int(digits[length]):
            return False
    return len(set(digits)) > 1


def turkish_id(digits: str) -> bool:
    """T.C. kimlik: two check digits."""
    values = [int(digit) for digit in digits]
    tenth = (7 * sum(values[0:9:2]) - sum(values[1:8:2])) % 10
    return values[0] != 0 and tenth == values[9] and sum(values[:10]) % 10 == values[10]


def chinese_id(text: str) -> bool:
    """Place, date of birth, serial number, and a check digit that may be X (GB 11643)."""
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    is_born = text[6:8] in ("18", "19", "20") and _is_date(int(text[10:12]), int(text[12:14]))
    return is_born and "10x98765432"[_weighted(text, weights) % 11] == text[17]


def japanese_number(digits: str) -> bool:
    """Kojin bangō: eleven digits and a check digit."""
    rest = _weighted(digits[10::-1], (2, 3, 4, 5, 6, 7, 2, 3, 4, 5, 6)) % 11
    return int(digits[11]) == (0 if rest <= 1 else 11 - rest)


def russian_snils(digits: str) -> bool:
    """Nine digits and two that follow from them."""
    return _weighted(digits[:9], range(9, 0, -1)) % 101 % 100 == int(digits[9:])


def russian_inn(digits: str) -> bool:
    """Tax number of a person: ten digits and two check digits."""
    weights = (3, 7, 2, 4, 10, 3, 5, 9, 4, 6, 8)
    first = _weighted(digits[:10], weights[1:]) % 11 % 10
    return first == int(digits[10]) and _weighted(digits, weights) % 11 % 10 == int(digits[11])


def dutch_bsn(digits: str) -> bool:
    """Nine digits by the test of eleven."""
    return _weighted(digits, (9, 8, 7, 6, 5, 4, 3, 2, -1)) % 11 == 0 and int(digits) > 0


def swiss_ahv(digits: str) -> bool:
    """Thirteen digits with the check digit of an EAN."""
    return _weighted(digits, (1, 3) * 6 + (1,)) % 10 == 0


def belgian_number(digits: str) -> bool:
    """Date of birth, serial number, and 97 less the rest; with a 2 before it since 2000."""
    check = int(digits[9:])
    centuries = (int(digits[:9]), int("2" + digits[:9]))
    is_born = int(digits[2:4]) <= 12 and int(digits[4:6]) <= 31
    return is_born and any(97 - number % 97 == check for number in centuries)


def swedish_number(digits: str) -> bool:
    """Date of birth, serial number, check digit by Luhn."""
    return _is_date(int(digits[2:4]), int(digits[4:6]) % 60) and luhn(digits)


def finnish_code(text: str) -> bool:
    """Date of birth, sign of the century, serial number, and a sign that follows from them."""
    number = int(text[:6] + text[-4:-1])
    is_born = _is_date(int(text[2:4]), int(text[:2]))
    return is_born and "0123456789abcdefhjklmnprstuvwxy"[number % 31] == text[-1]


def korean_number(digits: str) -> bool:
    """Date of birth and serial number; since 2020 the check digit says nothing."""
    return _is_date(int(digits[2:4]), int(digits[4:6]))


def british_nino(text: str) -> bool:
    """Two letters, six digits and one letter; some pairs are never given out."""
    return text[:2] not in {"bg", "gb", "kn", "nk", "nt", "tn", "zz"}


def american_ssn(digits: str) -> bool:
    """Area, group and serial number, none of them in a range that is never given out."""
    area = digits[:3]
    return (
        area not in ("000", "666") and area < "900" and digits[3:5] != "00" and digits[5:] != "0000"
    )


def is_varied(text: str) -> bool:
    """Tell whether a number is more than one digit over and over."""
    return len(set(text)) > 1


Check = Callable[[str], bool]
