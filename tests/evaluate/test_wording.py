"""Numbers and names as the report writes them."""

import pytest

from stages.pages.wording import (
    Sentence,
    certainty,
    path,
    percent,
    percent_beside,
    plain,
    plural,
    score,
)


@pytest.mark.parametrize(
    ("fraction", "written"),
    [
        (0, "0.0 %"),
        (0.0004, "< 0.1 %"),
        (0.5, "50.0 %"),
        (0.9996, "> 99.9 %"),
        (0.9994, "99.9 %"),
        (1, "100.0 %"),
    ],
)
def test_percentages_do_not_round_to_certainty(fraction: float, written: str) -> None:
    """Only exactly 0 is 0 % and only exactly 1 is 100 %."""
    assert percent(fraction).replace("\xa0", " ") == written


@pytest.mark.parametrize(
    ("probability", "written"),
    [
        (0.976, "98 %"),
        (0.9962, "99.6 %"),
        (0.99999, "> 99.9 %"),
        (0.004, "0.4 %"),
        (1e-9, "< 0.1 %"),
        (1.0, "100.0 %"),
    ],
)
def test_certainty_is_exact_where_it_matters(probability: float, written: str) -> None:
    """Near 0 and near 1 there is one decimal, in between there is none."""
    assert certainty(probability).replace("\xa0", " ") == written


def test_plain_names_hide_nothing() -> None:
    """In an attribute, too, control characters are visible, and nothing is empty."""
    assert plain("a\u202eb\n") == "a\\u202eb\\n"
    assert plain("") == "(empty)"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.99975, "> 0.999"),
        (1.0, "1.000"),
        (0.0, "0.000"),
        (0.0001, "< 0.001"),
        (0.5, "0.500"),
        (-0.25, "-0.250"),
    ],
)
def test_a_score_is_never_rounded_to_perfection(value: float, text: str) -> None:
    """0.99975 is not 1.000, and a little above 0 is not 0.000."""
    assert score(value) == text


@pytest.mark.parametrize(
    ("fraction", "text"),
    [(0.9897, "98.97 %"), (0.99, "99.0 %"), (0.9900001, "99.000010 %")],
)
def test_a_miss_is_not_rounded_to_its_target(fraction: float, text: str) -> None:
    """98.97 % beside a target of 99 % is shown as what it is."""
    assert percent_beside(fraction, 0.99).replace("\xa0", " ") == text


def test_a_path_reads_from_left_to_right() -> None:
    """A folder in Hebrew keeps the number behind it from moving before it; others stay as they are."""
    assert path("raw/שלום/4.jpg") == '<bdi class="path" dir="ltr">raw/<bdi>שלום</bdi>/4.jpg</bdi>'
    assert path("/raw//cat/4.jpg") == '<bdi class="path" dir="ltr">/raw//cat/4.jpg</bdi>'


def test_a_sentence_writes_names_as_its_page_does() -> None:
    """As HTML they are escaped, by a writer of one's own as that says; the text is escaped, too."""
    sentence = Sentence("{} < {}", ("<b>", "{}"))
    assert sentence.__html__() == '<bdi class="name">&lt;b&gt;</bdi> &lt; <bdi class="name">{}</bdi>'
    assert sentence.write(repr) == "'<b>' < '{}'"


@pytest.mark.parametrize(("number", "written"), [(1, "1 class"), (2, "2 classes"), (1234, "1,234 classes")])
def test_plural(number: int, written: str) -> None:
    """The noun follows the number."""
    assert plural(number, "class", "classes") == written
