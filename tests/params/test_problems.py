"""How mistakes are told."""

from stages.params.problems import MAX_LINES, Problem, format_path, format_problems, shorten


def test_lines_in_the_order_of_the_file() -> None:
    """One line each, sorted by line; the key is left out where a problem is the whole file's."""
    problems = [Problem(9, ("a", 0, "b"), "second"), Problem(2, (), "first"), Problem(9, ("c",), "third")]
    assert (
        format_problems("p.yaml", problems) == "p.yaml:2: first\np.yaml:9: a.0.b: second\np.yaml:9: c: third"
    )


def test_no_more_lines_than_a_person_reads() -> None:
    """The rest is counted."""
    exactly = format_problems("p", [Problem(1, (), "x")] * MAX_LINES).splitlines()
    assert exactly == ["p:1: x"] * MAX_LINES
    more = format_problems("p", [Problem(1, (), "x")] * (MAX_LINES + 1)).splitlines()
    assert more == [*["p:1: x"] * (MAX_LINES - 1), "p: and 2 more"]


def test_keys_are_safe_to_print() -> None:
    """A key is text from outside: no line breaks, no colours, no megabytes."""
    assert format_path(("a\n\x1b[31m", "b" * 1000)) == f"a\\n\\x1b[31m.{'b' * 37}..."


def test_shorten() -> None:
    """Text within the limit stays; beyond it, the end is cut; escapes count as what they print."""
    assert shorten("a" * 60) == "a" * 60
    assert shorten("a" * 61) == "a" * 57 + "..."
    assert shorten("\n" * 40) == ("\\n" * 40)[:57] + "..."
    assert shorten("abcdef", limit=5) == "ab..."
    assert shorten("\u202e\x00\ud800") == "\\u202e\\x00\\ud800"
