"""Files and texts from outside, read at one place: bounded, regular, UTF-8.

What is wrong is one line.
"""

from cbt_ray.reading.document import read_document, read_fields
from cbt_ray.reading.json_text import loads, read_json
from cbt_ray.reading.regular import located, opened, read_bytes, read_text
from cbt_ray.reading.yaml_text import read_yaml, yaml_of

__all__ = [
    "loads",
    "located",
    "opened",
    "read_bytes",
    "read_document",
    "read_fields",
    "read_json",
    "read_text",
    "read_yaml",
    "yaml_of",
]
