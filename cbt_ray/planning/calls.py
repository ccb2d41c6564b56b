"""What a stage will call: expected calls, in the order of a chain."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from cbt_ray.study import Study
from cbt_ray.study.endpoint import LiteLLMEndpoint, Role
from cbt_ray.unit import Stage

PROMPT_SPEEDUP = 8
"""Prompt tokens are read about so many times as fast as reply tokens are written, most of them from
a cache."""


@dataclass
class Call:
    """One expected call."""

    role: Role
    prompt_tokens: float
    reply_tokens: float
    own: bool = False
    """Counted with the endpoint's own tokenizer."""

    @property
    def times(self) -> float:
        """How often it is made for one useful answer."""
        return 1 + self.role.expected_retries

    def seconds(self, study: Study) -> float:
        """How long it takes at the endpoint's expected speed."""
        tokens = self.reply_tokens + self.prompt_tokens / PROMPT_SPEEDUP
        return tokens / study.endpoints[self.role.endpoint].expected_speed


@dataclass(frozen=True)
class Chains:
    """Chains that make the same calls, each in this order."""

    number: int
    calls: list[Call]

    def seconds(self, study: Study, besides: float = 0.0) -> float:
        """One of them from end to end, with so much time for each call besides."""
        return sum(call.times * (call.seconds(study) + besides) for call in self.calls)


@dataclass
class StageCalls:
    """What a stage will take: chains that run beside each other."""

    stage: Stage
    chains: list[Chains]
    extra: list[Call] = field(default_factory=list)
    """Calls outside the chains: the probe of each remote role."""

    def all(self) -> Iterator[tuple[Call, float]]:
        """Every kind of call and how often it is made."""
        for same in self.chains:
            yield from ((call, same.number * call.times) for call in same.calls)
        yield from ((call, 1.0) for call in self.extra)

    @property
    def roles(self) -> list[Role]:
        """Whom the chains ask."""
        return [call.role for same in self.chains for call in same.calls]

    @property
    def calls(self) -> float:
        """Calls in all."""
        return sum(times for _, times in self.all())

    @property
    def prompt_tokens(self) -> float:
        """Prompt tokens in all."""
        return sum(call.prompt_tokens * times for call, times in self.all())

    @property
    def reply_tokens(self) -> float:
        """Reply tokens in all."""
        return sum(call.reply_tokens * times for call, times in self.all())

    def cost(self, study: Study) -> float | None:
        """Dollars.

        None where a called endpoint has no known price, 0 where all models are in this process.
        """
        total = 0.0
        for call, times in self.all():
            endpoint = study.endpoints[call.role.endpoint]
            if not isinstance(endpoint, LiteLLMEndpoint):
                continue
            rates = _price(endpoint)
            if rates is None:
                return None
            total += times * (call.prompt_tokens * rates[0] + call.reply_tokens * rates[1]) / 1e6
        return total

    def path(self, study: Study) -> float:
        """Seconds that no number of workers makes shorter: the longest chain from end to end, or
        what an endpoint bears in all.
        """
        chains = (same.seconds(study) for same in self.chains)
        return max([*chains, *(seconds for _, seconds in self.bounds(study))])

    def bounds(self, study: Study) -> Iterator[tuple[str, float]]:
        """Seconds that an endpoint needs for its calls, by each of its limits."""
        for name in sorted({role.endpoint for role in self.roles}):
            limits = study.endpoints[name]
            own = [(call, times) for call, times in self.all() if call.role.endpoint == name]
            if limits.max_concurrency:
                seconds = sum(times * call.seconds(study) for call, times in own)
                yield name, seconds / limits.max_concurrency
            if limits.requests_per_minute:
                yield name, 60 * sum(times for _, times in own) / limits.requests_per_minute
            if limits.tokens_per_minute:
                tokens = sum(
                    times * (call.prompt_tokens + call.reply_tokens) for call, times in own
                )
                yield name, 60 * tokens / limits.tokens_per_minute

    def at_once(self, study: Study) -> int:
        """More jobs at once than this wait: one a chain, and no more than an endpoint bears that
        all chains ask.
        """
        asked = [{call.role.endpoint for call in same.calls} for same in self.chains]
        each = [
            min([same.number, *_concurrency(study, names)])
            for same, names in zip(self.chains, asked, strict=True)
        ]
        return min([sum(each), *_concurrency(study, set.intersection(*asked))])


def _concurrency(study: Study, endpoints: set[str]) -> list[int]:
    limits = (study.endpoints[name].max_concurrency for name in endpoints)
    return [limit for limit in limits if limit]


def _price(endpoint: LiteLLMEndpoint) -> tuple[float, float] | None:
    from cbt_ray.llm.prices import price

    return endpoint.price or price(endpoint.model)
