"""Letters that look like others: a compact choice of Unicode's confusables (UTS 39).

Only what is used to disguise Latin words, and Latin letters that disguise Cyrillic ones.
"""

from __future__ import annotations


def _pairs(text: str) -> dict[str, str]:
    """Return a table from words that end in the Latin letter all others look like."""
    return {char: word[-1] for word in text.split() for char in word[:-1]}


SURE = _pairs(
    "аαɑᴀꭺa ƅʙᏼꮟb сϲᴄꮯc ԁɗᴅꮷd еєεᴇҽꭼe ꜰf ɡɢցꮐg һհʜꮋh іɩιɪꭵӏi јϳᴊꭻj ᴋꮶk ʟꮮl ᴍꮇm ոɴn"
    " оοօᴏσo рρᴘꮲp ԛզq ʀꭱꮢr ѕꜱꮪs ᴛꭲt սʋᴜu ѵνᴠꮩv ԝωᴡѡꮃw хχx уүγʏꭹy ᴢꮓz"
)
"""Letters of other scripts that nobody tells from Latin ones in a Latin word."""

LOOSE = _pairs("вβьb нh кκk мm пηn гяr тτt иυμu зe")
"""Letters that pass for Latin ones only in a word that is Latin otherwise."""

ENCLOSED = {
    chr(first + letter): chr(ord("a") + letter)
    for first in (0x1F150, 0x1F170)
    for letter in range(26)
}
"""Letters in black discs and squares, which Unicode's compatibility forms leave alone."""

TO_CYRILLIC = dict(zip("acekmhoptxybis3", "асекмнортхувіѕз", strict=True))
"""Cyrillic letters by the Latin ones that pass for them in a word that is Cyrillic otherwise."""

# What nothing in the other script looks like decides to which script a mixed word belongs.
ONLY_CYRILLIC = frozenset("бвгджзийклмнптфцчшщъыьэюяёїґў")
ONLY_LATIN = frozenset("bdfghjklmnqrstuvwz")

LEET = dict(zip("013457@$!|+€", "oieastasilte", strict=True))
"""Digits and signs for letters, as they stand inside words; 1, ! and | may be an i or an l."""
