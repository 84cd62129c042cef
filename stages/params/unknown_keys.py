"""Keys that no schema knows: which key was meant, or where it belongs."""

from collections.abc import Sequence

from stages.params.allowed import forms_at, join, keys_of, known_keys, types_of
from stages.params.problems import MAX_LINES, KeyPath, format_path
from stages.params.spelling import count_slips, find_nearest, may_resemble
from stages.params.yaml12_document import Document

Moves = dict[KeyPath, KeyPath]
"""From a key in the file to the key that was meant."""


def match_keys(document: Document, unknown: Sequence[KeyPath], missing: Sequence[KeyPath]) -> Moves:
    """Return which missing key each unknown one stands for, where that is plain."""
    moves: Moves = {}
    # Nobody is shown more than this, and comparing the keys of a wrong file of 10,000 would take minutes.
    unknown = unknown[:MAX_LINES]
    for match in (_match_slips, _match_misplaced, _match_the_only_one):
        still_unknown = [path for path in unknown if path not in moves]
        still_missing = [path for path in missing if path not in moves.values()]
        moves |= match(document, still_unknown, still_missing)
    return moves


def explain_move(old: KeyPath, new: KeyPath) -> str:
    """Return what to say about a key whose meaning is plain."""
    if old[:-1] == new[:-1]:
        return f"unknown key; did you mean {format_path(new)}?"
    return f"unknown key; it belongs under {format_path(new[:-1])}, as {format_path(new)}"


def explain_unknown(path: KeyPath) -> str:
    """Return what to say about a key that no missing one explains."""
    section, key = path[:-1], str(path[-1])
    siblings = keys_of(forms_at(section))
    near = find_nearest(key, siblings)
    if near and count_slips(key, near) == 1:
        return explain_move(path, (*section, near))
    known = known_keys()
    elsewhere = [other for other in known if other[-1] == key]
    within = [other for other in elsewhere if other[: len(section)] == section]
    if len(within or elsewhere) == 1:
        return explain_move(path, (within or elsewhere)[0])
    if near and not elsewhere:
        return explain_move(path, (*section, near))
    if not elsewhere:
        elsewhere = [other for other in known if count_slips(key, str(other[-1])) == 1]
        within = [other for other in elsewhere if other[: len(section)] == section]
    if elsewhere:
        meant = [format_path(other) for other in (within or elsewhere)[:4]]
        return f"unknown key; did you mean {join(meant)}?"
    if siblings:
        return f"unknown key; allowed: {join(siblings, 'and')}"
    return f"unknown key; {format_path(section[-1:])} takes none, write - {format_path(section[-1:])}"


def _match_slips(_document: Document, unknown: Sequence[KeyPath], missing: Sequence[KeyPath]) -> Moves:
    """Pair keys of one section that differ by a slip, the closest pairs first."""
    pairs = sorted(
        (count_slips(str(old[-1]), str(new[-1])), old, new)
        for old in unknown
        for new in missing
        if old[:-1] == new[:-1] and may_resemble(str(old[-1]).lower(), str(new[-1]).lower())
    )
    moves: Moves = {}
    for _, old, new in pairs:
        if old not in moves and new not in moves.values():
            moves[old] = new
    return moves


def _match_misplaced(document: Document, unknown: Sequence[KeyPath], missing: Sequence[KeyPath]) -> Moves:
    """Pair an unknown key with the one section that misses a key of its name, or is missing as a whole."""
    moves: Moves = {}
    for old in unknown:
        homes = [new for new in missing if new[-1] == old[-1] and document.is_section(new[:-1])]
        homes += [
            (*section, old[-1])
            for section in missing
            if old[-1] in keys_of(forms_at(section)) and document.is_section(section[:-1])
        ]
        if len(homes) == 1 and homes[0] not in moves.values():
            moves[old] = homes[0]
    return moves


def _match_the_only_one(document: Document, unknown: Sequence[KeyPath], missing: Sequence[KeyPath]) -> Moves:
    """Pair what is left when a section has one key too many and one too few: `learning_rate` for `lr`."""
    moves: Moves = {}
    names = {path[-1] for path in known_keys()}
    for old in unknown:
        rivals = [path for path in unknown if path[:-1] == old[:-1]]
        homes = [path for path in missing if path[:-1] == old[:-1]]
        if not len(rivals) == len(homes) == 1 or old[-1] in names:
            continue
        if document.is_section(old) == ("object" in types_of(forms_at(homes[0]))):
            moves[old] = homes[0]
    return moves
