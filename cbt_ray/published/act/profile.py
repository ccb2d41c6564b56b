"""The profiles of the simulated patients, and which of their fields are one variable."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from cbt_ray.count import many
from cbt_ray.published.remark import Remark
from cbt_ray.published.source import Source
from cbt_ray.reading import loads

ARCHETYPE, STYLE, TEXT = "archetype_name", "interaction_style_name", "profile_summary_for_prompt"
DIGEST = "profile_hash"
_HALF = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Profile:
    """Who a simulated patient is."""

    number: int
    """Which place of the file it has: that of its sessions."""
    text: str
    """As the patient's model read it."""
    archetype: str
    style: str
    digest: str

    @property
    def name(self) -> str:
        """What the patient is called here; the publication has no names."""
        return name_of(self.number)


def name_of(number: int) -> str:
    """What a patient is called by its number."""
    return f"Profile {number}"


def read_profiles(source: Source) -> tuple[dict[int, Profile], list[Remark]]:
    """The profiles by number; one that lacks a field is remarked on."""
    try:
        found = loads(source.text)
    except ValueError as error:
        return {}, [Remark(source.path, 0, f"expected JSON ({error})", lost=True)]
    if not isinstance(found, list):
        return {}, [Remark(source.path, 1, "expected a list of profiles", lost=True)]
    profiles, remarks = {}, []
    for number, one in enumerate(found, 1):
        fields = one if isinstance(one, dict) else {}
        texts = {name: fields.get(name) for name in (TEXT, ARCHETYPE, STYLE, DIGEST)}
        wrong = next((name for name, text in texts.items() if not _is_text(text)), None)
        if wrong:
            said = f"profile {number}: expected a field {wrong} with text"
            remarks.append(Remark(source.path, 0, said, lost=True))
            continue
        text, archetype, style, digest = (str(text) for text in texts.values())
        profiles[number] = Profile(number, text, archetype, style, digest)
    return profiles, remarks


def held_with(source: Source) -> str | None:
    """The digest of the profile that is beside a session; None where none can be read."""
    try:
        fields = loads(source.text.partition("\n")[2])
    except ValueError:
        return None
    digest = fields.get(DIGEST) if isinstance(fields, dict) else None
    return digest if isinstance(digest, str) else None


def levels(profiles: Sequence[Profile]) -> list[tuple[str, str, int]]:
    """Archetype, style of interaction, and how many profiles have both; the most frequent first."""
    counts = Counter((one.archetype, one.style) for one in profiles)
    return [(*both, count) for both, count in counts.most_common()]


def variables(profiles: Sequence[Profile]) -> str:
    """Whether archetype and style of interaction can be told apart, in words."""
    found = levels(profiles)
    archetypes, styles = {one for one, _, _ in found}, {one for _, one, _ in found}
    listed = ", ".join(f"{one} = {other} ({count})" for one, other, count in found)
    if len(archetypes) == len(styles) == len(found):
        return (
            f"{ARCHETYPE} and {STYLE} are one variable of {many(len(found), 'level')}, whose "
            f"effects cannot be told apart: {listed}"
        )
    return f"{ARCHETYPE} and {STYLE} are two variables: {listed}"


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip()) and not _HALF.search(value)
