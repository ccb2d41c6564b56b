"""Endpoints (where a model answers) and roles (who asks, and how it is sampled)."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from cbt_ray.study.block import Block, Share, refuse_all

FINETUNED = "finetuned"
Price = Annotated[float, Field(ge=0, le=1_000_000)]
PACE = frozenset(
    {"max_concurrency", "requests_per_minute", "tokens_per_minute", "expected_speed", "licence"}
)
"""What every endpoint has and decides none of its words."""
SECRET = re.compile(r"(?i)^(sk-|hf_|gsk_|AKIA|AIza|xai-|Bearer )|^[A-Za-z0-9_\-]{32,}$")


class Limits(Block):
    """What an endpoint bears, shared by all workers of a study."""

    max_concurrency: int | None = Field(None, ge=1, le=1_000_000)
    """Calls in flight at once."""
    requests_per_minute: int | None = Field(None, ge=1)
    """Calls begun in any 60 s."""
    tokens_per_minute: int | None = Field(None, ge=1)
    """Prompt and reply tokens in any 60 s."""
    expected_speed: float = Field(40, ge=0.001, le=1_000_000)
    """Tokens of a reply written in a second; used by `plan` only."""


class LlamaCppEndpoint(Limits):
    """A GGUF in this process, by llama.cpp."""

    decides_nothing: ClassVar[frozenset[str]] = PACE | {"threads", "gpu_layers"}

    kind: Literal["llama_cpp"]
    """Which kind."""
    gguf: str = Field(min_length=1)
    """The model.

    A path, `package:NAME/FILE` for a file in an installed Python package, or `finetuned` for what
    the export made.
    """
    context: int = Field(8192, ge=512, le=100_000_000)
    """Tokens of the context.

    The context belongs to the model's identity, since it decides what is forgotten.
    """
    parallel: int = Field(1, ge=1, le=64)
    """Conversations that a worker decodes together.

    Above 1 the weights are read once for all of them, which is faster where they are large, and a
    text depends on what was decoded with it. Twice as many stay evaluated, each with `context`.
    """
    threads: int = Field(1, ge=1, le=4096)
    """Threads a worker gives it; also the CPUs that a worker takes."""
    requantize: Literal["q8_0", "q4_0"] | None = None
    """Another quantization that the file is turned into, for speed.

    `q8_0` loses nearly nothing, `q4_0` is faster. It is made once a machine, in its cache. A key
    holds what identifies the file that is named, and this word. Of `finetuned`, the recipe's
    `quantization` decides.
    """
    gpu_layers: int = Field(0, ge=0, le=100_000)
    """Layers that a GPU computes; needs a llama.cpp with CUDA or Metal.

    More than the model has: all of them. One worker a machine then makes all calls.
    """
    licence: str | None = None
    """Of the model, or the provider's terms; in no key.

    The generator needs one where a model is tuned on its texts.
    """

    @model_validator(mode="after")
    def _quantized_by_one(self) -> LlamaCppEndpoint:
        if self.gguf == FINETUNED and self.requantize is not None:
            refuse_all(
                [
                    f"requantize: expected none of `{FINETUNED}`, which has its recipe's "
                    f"`quantization`, found {self.requantize}"
                ]
            )
        return self


class Remote(Limits):
    """What answers over HTTP."""

    decides_nothing: ClassVar[frozenset[str]] = PACE | {
        *("api_base", "api_key_env", "timeout_s", "retries")
    }

    api_base: str | None = None
    """The server's address; providers have their own."""
    api_key_env: str | None = None
    """Name of the environment variable that holds the key; never the key."""
    timeout_s: float = Field(120, gt=0, le=86_400)
    """Seconds until a call counts as lost, from its start to the answer's last byte."""
    retries: int = Field(5, ge=0, le=1000)
    """Times that a call is repeated after a fault of the world.

    Such faults are 429, 5xx, a time-out, a cut connection, an answer that is not whole.
    """

    @field_validator("api_key_env")
    @classmethod
    def _a_name(cls, value: str | None) -> str | None:
        if value is not None and (
            SECRET.search(value) or not re.fullmatch(r"[A-Z_][A-Z0-9_]{0,63}", value)
        ):
            raise ValueError(
                "expected the name of an environment variable (A-Z, 0-9, _), never the key itself"
            )
        return value

    @field_validator("api_base")
    @classmethod
    def _without_a_key(cls, value: str | None) -> str | None:
        if value is not None and not _is_address(value):
            raise ValueError(
                "expected http(s)://host[:port][/path] without user, password or query"
            )
        return value


class LiteLLMEndpoint(Remote):
    """Anything that litellm can call: an OpenAI-compatible server (vLLM, llama-server) or a
    provider.
    """

    decides_nothing: ClassVar[frozenset[str]] = Remote.decides_nothing | {"price"}

    kind: Literal["litellm"]
    """Which kind."""
    model: str = Field(min_length=1)
    """litellm's name for it, `provider/model`."""
    revision: str | None = None
    """What else identifies the model: a checkpoint's date or digest."""
    structured: Literal["json_schema", "json_object", "none"] = "json_schema"
    """How far it can be held to a JSON schema.

    Below `json_schema` the schema is in the prompt. llama-cpp-python's server takes `json_object`.
    """
    system: Literal["message", "first_user"] = "message"
    """Where the system prompt goes.

    A message of its own, or joined to the first message: for chat templates that take no system
    message (Gemma, Mistral 7B v0.1).
    """
    price: tuple[Price, Price] | None = None
    """Dollars for a million prompt and reply tokens.

    Needed where litellm does not know the model's price.
    """
    licence: str | None = None
    """Of the model, or the provider's terms; in no key.

    The generator needs one where a model is tuned on its texts.
    """

    def cost(self, prompt: int, reply: int) -> float | None:
        """Dollars by `price`; None without one."""
        if self.price is None:
            return None
        return (prompt * self.price[0] + reply * self.price[1]) / 1_000_000


class VllmEndpoint(Remote):
    """The study's own models in vLLM, which `cbt-ray serve` starts: a server for each base model,
    with the adapters of all arms that are tuned from it.
    """

    decides_nothing: ClassVar[frozenset[str]] = Remote.decides_nothing | {"wait_s"}

    kind: Literal["vllm"]
    """Which kind."""
    weights: Literal["finetuned"]
    """What the export made.

    An arm that is not tuned gets the recipe's `compare`.
    """
    form: Literal["adapter", "merged"] = "adapter"
    """How a tuned model is served.

    `adapter`: on the base that it was trained on, which serves arms that are not tuned, too.
    `merged`: as one model in 16 bit, alone in its server.
    """
    dtype: Literal["float32", "bfloat16", "float16"]
    """What the server computes in."""
    context: int = Field(8192, ge=512, le=100_000_000)
    """Tokens of the context.

    The context belongs to the model's identity, since it decides what is forgotten.
    """
    api_base: str = "http://localhost:8000/v1"
    """Address of the servers.

    `{model}` in it is the name of the base model. On a cluster the submission fills it in.
    """
    wait_s: float = Field(900, ge=0, le=86_400)
    """Seconds that sessions wait for a server to be ready."""

    def server(self, model: str, served: str) -> LiteLLMEndpoint:
        """The server of a base model as one of one's own, asked for a model by its name there."""
        return LiteLLMEndpoint(
            kind="litellm",
            model=f"hosted_vllm/{served}",
            api_base=self.address(model),
            price=(0, 0),
            **self.model_dump(include={"api_key_env", "timeout_s", "retries"}),
        )

    def address(self, model: str) -> str:
        """Where the server of a base model answers."""
        return self.api_base.replace("{model}", model)


def _is_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        _ = parts.port  # raises where it is none
    except ValueError:
        return False
    return bool(re.fullmatch(r"https?://[^@\s?#]+", text) and parts.hostname)


class ScriptedEndpoint(Limits):
    """No model: a rehearsal that answers by rule, the same for the same question, and shows that a
    study file runs through.
    """

    decides_nothing: ClassVar[frozenset[str]] = PACE | {"latency_s"}

    kind: Literal["scripted"]
    """Which kind."""
    latency_s: float = Field(0.0, ge=0, le=86_400)
    """Seconds an answer takes."""
    invalid: Share = 0.0
    """Share of answers that are of no use, to rehearse retries and rejects."""
    licence: str | None = None
    """A licence to rehearse with; a script needs none. In no key."""


Kind = LlamaCppEndpoint | LiteLLMEndpoint | VllmEndpoint | ScriptedEndpoint
Endpoint = Annotated[Kind, Field(discriminator="kind")]


def is_finetuned(endpoint: Endpoint | None) -> bool:
    """Whether what answers there is what the export made."""
    if isinstance(endpoint, LlamaCppEndpoint):
        return endpoint.gguf == FINETUNED
    return isinstance(endpoint, VllmEndpoint)


class Sampling(Block):
    """How a reply is drawn."""

    temperature: float = Field(0.7, ge=0, le=2)
    """0 takes the likeliest token."""
    top_p: float = Field(0.95, gt=0, le=1)
    """Nucleus: the likeliest tokens that together have this share."""
    min_p: float = Field(0.0, ge=0, lt=1)
    """llama.cpp and vLLM only."""
    repeat_penalty: float = Field(1.0, ge=1, le=2)
    """llama.cpp and vLLM only; 1 is none."""
    max_tokens: int = Field(512, ge=1, le=10_000_000)
    """Longest reply in tokens."""


class Role(Block):
    """One speaker of the study: where it is asked and how."""

    decides_nothing: ClassVar[frozenset[str]] = frozenset({"expected_tokens", "expected_retries"})

    endpoint: str
    """A name under `endpoints`."""
    sampling: Sampling = Sampling()
    """How a reply is drawn."""
    prose: Literal["free", "letters"] = "free"
    """What structured replies may hold.

    `letters`: only letters and plain punctuation, for small models that lose themselves in digits,
    lists and markup.
    """
    attempts: int = Field(3, ge=1, le=1000)
    """Times that a useless answer is asked for anew.

    Useless is an answer that is empty, invalid, refused or cut; after the last its unit is
    rejected.
    """
    expected_tokens: int = Field(200, ge=1, le=1_000_000)
    """Tokens of a usual reply; used by `plan` only."""
    expected_retries: float = Field(0.0, ge=0, le=1000)
    """Useless answers for one good one; used by `plan` only."""


class Roles(Block):
    """Every role but the therapists' arms and the raters."""

    generator: Role | None = None
    """Writes profiles and courses. Tuning needs it."""
    course_patient: Role | None = None
    """Writes the patient's turns of courses (`write: turns`); none: the generator."""
    critic: Role | None = None
    """Reads each turn of a course (`write: turns`); none: nobody does."""
    patient: Role | None = None
    """Plays the simulated patients. Needed unless `sessions.max_messages` is 2."""
    summariser: Role | None = None
    """Sums up each simulated session for the next. Needed where a session has one."""
    therapist: Role
    """What all arms share; an arm may name another endpoint, prompt or sampling."""

    @property
    def named(self) -> dict[str, Role]:
        """The roles that are there, by name."""
        return {name: role for name, role in self if role is not None}
