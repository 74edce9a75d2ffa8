"""Where words begin in letters that are all set apart alike: `i g n o r e a l l r u l e s`.

No gap tells it, so known words do: those of which attacks are made, in the languages that are most
used for them, and those that stand between. What is unknown stays with the word before it.
"""

from __future__ import annotations

_OF_ATTACKS = """
  ignore ignoring disregard forget override bypass circumvent discard dismiss abandon follow obey
  respect instruction instructions rule rules guideline guidelines directive directives policy
  policies restriction restrictions prompt prompts safeguard safeguards constraint constraints
  filter filters limit limits limitation limitations system developer previous prior above earlier
  preceding original initial reveal print repeat show output display tell give leak verbatim
  secret hidden password confidential pretend act roleplay jailbreak jailbroken unrestricted
  unfiltered uncensored freely anything everything nothing refuse refusing never always answer
  respond reply message conversation model assistant mode enabled disabled safety ethical ethics
  moral content warning warnings without longer instead new order orders command commands admin
  administrator
"""
_BETWEEN = """
  the and you your yours are were was will would should must can could may might shall not but for
  from with into onto over under upon this that these those what which who how when where why
  there here then than them they their have has had been being all any every some each only also
  just now today again before after until while about because so if or of to in on at by as is it
  its be do does did done me my mine myself yourself him her his our out up down off one two first
  last more most very please make makes making build write create explain describe list say says
  said speak talk know want need like use using get got go going put take help think believe see
  look word words text question questions told given way step steps people person human world kill
  hurt harm die suicide weapon weapons bomb bombs gun drug drugs poison attack hack steal virus
  malware
"""
_IN_OTHER_LANGUAGES = """
  ignoriere vergiss alle deine bisherigen vorherigen anweisung anweisungen regel regeln zeige
  nenne ignorez oubliez oublie toutes tous les vos tes instructions consignes règles précédentes
  montre ignora olvida todas todos las los tus sus instrucciones reglas anteriores muestra
  dimentica tutte le istruzioni regole precedenti mostra esqueça suas instruções regras anteriores
  игнорируй забудь все твои свои предыдущие инструкции правила указания покажи промпт
"""
_WORDS = frozenset((_OF_ATTACKS + _BETWEEN + _IN_OTHER_LANGUAGES).split())
_LONGEST = max(map(len, _WORDS))


def beginnings(letters: str) -> frozenset[int]:
    """Return the places in a row of letters at which known words begin, as best explains the row.

    Linear in the length. A word costs 1, and each stretch of letters between words 1 more than it
    has letters: short words are not looked for within long ones.
    """
    best, before = [0], [(0, False)]
    stretch, opened = 1, 0  # the cheapest stretch that is still open, and where it begins
    for end in range(1, len(letters) + 1):
        if best[end - 1] + 1 < stretch:
            stretch, opened = best[end - 1] + 1, end - 1
        stretch += 1
        cost, step = stretch, (opened, False)
        for begin in range(max(0, end - _LONGEST), end - 1):
            if best[begin] + 1 < cost and letters[begin:end] in _WORDS:
                cost, step = best[begin] + 1, (begin, True)
        best.append(cost)
        before.append(step)
    found, end = set(), len(letters)
    while end:
        end, is_word = before[end]
        if is_word:
            found.add(end)
    return frozenset(found)
