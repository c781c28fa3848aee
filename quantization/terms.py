"""On what terms weights may be used: a function of the terms of every datum and teacher they learned from.

What was trained on a data set, or on what a teacher said, inherits the restrictions of both. So nobody writes
the licence of a student: `weights_terms` derives it, and `check_claim` and `check_card` refuse a recipe or a
model card that says more. Whether a restriction passes to trained weights is not settled law; the careful
reading is taken.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .datasets import UNSTATED, Terms

__all__ = ["TermsError", "WeightsTerms", "check_card", "check_claim", "short_title", "weights_terms"]

_CLAIM = re.compile(r"(research only|non-commercial research)\b", re.IGNORECASE)
_COMMERCE = re.compile(r"(?<!non-)(?<!no )\bcommercial", re.IGNORECASE)
_SPEAKS_OF_TERMS = re.compile(r"licen[cs]|commercial", re.IGNORECASE)


class TermsError(ValueError):
    """A licence is claimed that the data or the teachers do not give, or nobody declared their terms."""


@dataclass(frozen=True, slots=True)
class WeightsTerms:
    """What may be done with trained weights.

    Attributes:
        commercial: Whether every source is known to allow commercial use.
        licence: The terms in one line: each text that binds, and whose it is.
        binding: The sources that do not allow commercial use; all of them where every one allows it.
        attribution: One line per source: who it is, under what, where that is said.
    """

    commercial: bool
    licence: str
    binding: tuple[Terms, ...]
    attribution: tuple[str, ...]

    def inherited(self, title: str, source: str) -> Terms:
        """The same as the terms of a teacher that was trained here."""
        return Terms(title, self.licence, self.commercial, source)


def weights_terms(*terms: Terms) -> WeightsTerms:
    """The terms of weights that learned from sources under ``terms``.

    Commercial use is allowed only where every source allows it; the texts of those that do not hold side by
    side, so that the strictest of them is always among those named. Weights of nothing that is known are
    taken as research only. Order and repetition change nothing.
    """
    sources = sorted(set(terms), key=lambda t: (t.title.casefold(), t.licence)) or [UNSTATED]
    restricting = tuple(t for t in sources if not t.commercial)
    binding = restricting or tuple(sources)
    whose: dict[str, list[str]] = {}
    for source in binding:
        whose.setdefault(source.licence, []).append(short_title(source))
    texts = ", ".join(f"{' and '.join(names)} ({text})" for text, names in whose.items())
    return WeightsTerms(
        commercial=not restricting,
        licence=f"research only, by the terms of {texts}"
        if restricting
        else f"commercial use allowed, under the terms of {texts}",
        binding=binding,
        attribution=tuple(f"{t.title}: {t.licence}; {t.source}" for t in sources),
    )


def short_title(terms: Terms) -> str:
    """The title without its paper."""
    return terms.title.partition(" (")[0]


def check_claim(claim: str, derived: WeightsTerms, where: str) -> None:
    """Lets a claimed licence pass that grants no more than the derived one.

    A claim on weights that are for research only must begin with "research only" or "non-commercial
    research", and may not speak of commercial use but to deny it.

    Raises:
        TermsError: It grants more; the message names ``where``, the sources that forbid it, and the mend.
    """
    if derived.commercial or (_CLAIM.match(claim) and not _COMMERCE.search(claim)):
        return
    names = "; ".join(f"{t.title} ({t.licence})" for t in derived.binding)
    raise TermsError(
        f"{where}: claims the licence {claim!r}, but the student learned from {names}: "
        "leave the claim out (pack writes what follows from the sources), or train without them"
    )


def check_card(template: str, where: str) -> None:
    """Lets a card's text pass that leaves the licence to pack.

    Raises:
        TermsError: It speaks of terms itself; the message names ``where`` and the line.
    """
    for number, line in enumerate(template.splitlines(), 1):
        if said := _SPEAKS_OF_TERMS.search(line):
            raise TermsError(
                f"{where}:{number}: the text speaks of {said[0]!r} itself: take the sentence out; pack "
                "writes the terms at {terms}, from those of the data and the teachers"
            )
