"""A site: a study on a cluster, with the overlay, the cluster's API, and the store as this machine
reaches it.
"""

from __future__ import annotations

import base64
import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from cbt_ray.batch.job import BatchJob
from cbt_ray.cluster.api import Cluster, KubernetesCluster
from cbt_ray.cluster.follow import Clock
from cbt_ray.cluster.overlay import Overlay, render
from cbt_ray.cluster.submission import Images
from cbt_ray.errors import Infrastructure, InputError
from cbt_ray.study import Study
from cbt_ray.work.bench import Bench
from cbt_ray.work.progress import Silent

T = TypeVar("T")
CREDENTIALS = "store"
"""The Secret with the store's credentials."""
AGAIN_S = 2.0


@dataclass(frozen=True)
class Options:
    """How to submit."""

    overlay: str = "kind"
    context: str | None = None
    images: Images = field(default_factory=Images)
    workers: int | None = None
    autoscaled: bool = False
    wait: bool = True
    patience: float = 600.0
    retry_rejected: bool = False
    arguments: tuple[str, ...] = ()
    """Study file and `--set`, as they were typed."""

    def command(self, study: Study, job: BatchJob, model: str | None) -> str:
        """The command that submits another job of the study to where this one goes."""
        given = {
            "--model": model if job.of_one_model else None,
            "--overlay": self.overlay,
            "--context": self.context,
            "--cpu-image": self.images.cpu,
            "--train-image": self.images.train,
            "--vllm-image": self.images.vllm,
            "--workers": str(self.workers) if self.workers and job.on_ray else None,
        }
        options = [word for name, value in given.items() if value for word in (name, value)]
        scaled = ["--autoscaled"] if self.autoscaled and job.on_ray else []
        file = self.arguments or (str(study.file),)
        return shlex.join(["cbt-ray", "submit", job, *file, *options, *scaled])


@dataclass
class Site:
    """A study on a cluster."""

    study: Study
    overlay: Overlay
    cluster: Cluster
    bench: Bench
    say: Callable[[str], object]
    options: Options
    clock: Clock = field(default_factory=Clock)

    def command(self, job: BatchJob, model: str | None = None) -> str:
        """The command that submits another job of the study to this site."""
        return self.options.command(self.study, job, model)

    def patiently(self, ask: Callable[[], T]) -> T:
        """What `ask` answers.

        Asked again while the cluster or the store is out of reach and the user's patience lasts.
        """
        begun, told = self.clock.now(), False
        while True:
            try:
                return ask()
            except Infrastructure as error:
                if self.clock.now() - begun > self.options.patience:
                    raise
                if not told:
                    self.say(f"{error}; waiting for it")
                told = True
                self.clock.sleep(AGAIN_S)


def open_site(study: Study, options: Options, say: Callable[[str], object]) -> Site:
    """Reach the cluster and the store of a study. Raises InputError or Infrastructure."""
    overlay = render(options.overlay)
    inside = store_in_cluster(study, overlay)
    cluster = KubernetesCluster(overlay.namespace, options.context)
    _take_credentials(cluster)
    there = study.model_copy(update={"store": overlay.settings.get("store_outside") or inside})
    return Site(study, overlay, cluster, Bench(there, Silent()), say, options)


def store_in_cluster(study: Study, overlay: Overlay) -> str:
    """The store's URL as pods reach it: the overlay's, or the study file's own."""
    store = overlay.settings.get("store") or study.store
    if not store.startswith("s3://"):
        raise InputError(
            f"{study.file}: store: expected s3://bucket/prefix, since {store!r} is a folder of "
            "this machine "
            f"and the overlay {overlay.name} names no store"
        )
    return store


def _take_credentials(cluster: Cluster) -> None:
    """Use the cluster's own credentials of the store.

    Those of this machine's environment only where it has none.
    """
    secret = cluster.get("Secret", CREDENTIALS)
    if secret is None:
        return
    os.environ.pop("AWS_SESSION_TOKEN", None)  # it belongs to the key that is replaced
    for name, value in (secret.get("data") or {}).items():
        if name.startswith("AWS_"):
            os.environ[name] = base64.b64decode(value).decode()
