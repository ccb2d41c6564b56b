"""The file that an imported unit came from, written again from the unit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from cbt_ray.imports.form import Written, form_of
from cbt_ray.imports.harvest import LIST
from cbt_ray.imports.json_file import write_json
from cbt_ray.therapy.session import Session

SOURCE = "source"


def path_of(content: Mapping[str, Any]) -> PurePosixPath | None:
    """The path, inside what was published, of the file that a unit came from.

    None where it was not imported.
    """
    source = content.get(SOURCE)
    return PurePosixPath(source["path"]) if isinstance(source, Mapping) else None


def transcript_of(content: Mapping[str, Any]) -> str:
    """The transcript of an imported session or course session as it was published, made of the
    unit's turns and summaries.
    """
    source, session = content[SOURCE], Session.from_json(content)
    stopped = source.get("stopped")
    return Written(
        session.turns,
        form_of(source["form"]),
        session.opening,
        session.summary,
        (stopped[0], stopped[1]) if stopped else None,
    ).text()


def file_text(content: Mapping[str, Any]) -> bytes:
    """The whole file: the transcript, in its JSON where it had one, or the profile."""
    source = content[SOURCE]
    if "form" not in source:
        text = write_json(_profile(content), source["style"])
    elif "fields" in source:
        transcript = transcript_of(content)
        fields = {
            "transcript": transcript,
            "word_count": len(transcript.split()),
            **source["fields"],
        }
        text = write_json(
            {name: value for name, value in fields.items() if value is not None}, source["style"]
        )
    else:
        text = transcript_of(content)
    text = text.replace("\n", "\r\n") if source.get("crlf") else text
    return text.encode("utf-8-sig" if source.get("bom") else "utf-8")


def _profile(content: Mapping[str, Any]) -> dict[str, Any]:
    source, known = content[SOURCE], content["characteristics"]
    lists = source["lists"]
    published = {
        source["names"][name]: value.split(LIST) if name in lists else value
        for name, value in known.items()
    }
    return {
        "profile": content["narrative"],
        **({"characteristics": published} if published else {}),
    }
