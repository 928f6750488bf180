"""Real containers by podman, as root and without a registry: a Debian base by debootstrap, the image by our Dockerfile.

    debootstrap ──> base image ──Dockerfile──> image ──> podman run, podman play kube

podman's storage lies in build/containers of the checkout (git-ignored), so that a second run of the tests finds the
base image again, or in CONTAINERS_FOLDER, such as one in memory (.ci/run). Where the kernel and the file system allow
it the storage is an overlay; otherwise vfs, which works everywhere and copies the whole image for each container (10 to
20 s instead of 0.4 s).
"""

import os
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

BASE = "localhost/snowplow-posthog-base:bookworm"
IMAGE = "localhost/snowplow-posthog-dagster:test"
SUITE = "bookworm"
# podman's own limits are above what some machines allow root to set; its own log needs systemd's journal.
CONFIGURATION = """\
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
log_driver = "k8s-file"
"""
# As in the pods: nothing of the image can be written.
READ_ONLY = ("--read-only", "--tmpfs", "/tmp", "--tmpfs", "/opt/dagster/dagster_home:mode=0777")


@dataclass(frozen=True)
class Podman:
    """podman with a storage of its own."""

    folder: Path
    driver: str = "vfs"

    @classmethod
    def here(cls, folder: Path) -> "Podman":
        """With the quickest storage that works in this folder."""
        overlay = cls(folder.resolve(), "overlay")
        return overlay if overlay.succeeds("info") else cls(folder.resolve())

    def _run(self, *arguments: str, timeout: float) -> "subprocess.CompletedProcess[str]":
        configuration = self.folder / "containers.conf"
        configuration.write_text(CONFIGURATION)
        # runc, because crun refuses hybrid cgroups.
        command = [
            "podman", "--runtime", "runc", "--cgroup-manager", "cgroupfs", "--storage-driver", self.driver,
            "--root", str(self.folder / self.driver), "--runroot", str(self.folder / f"run-{self.driver}"), *arguments,
        ]  # fmt: skip
        return subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            env={**os.environ, "CONTAINERS_CONF": str(configuration)},
            check=False,
        )

    def __call__(self, *arguments: str, timeout: float = 120, check: bool = True) -> str:
        """Run podman; returns what it printed, both streams."""
        done = self._run(*arguments, timeout=timeout)
        if check and done.returncode != 0:
            raise RuntimeError(f"podman {arguments[0]} ended with {done.returncode}: {done.stdout[-4000:]}")
        return done.stdout

    def succeeds(self, *arguments: str, timeout: float = 60) -> bool:
        """Whether a command of podman ends well."""
        return self._run(*arguments, timeout=timeout).returncode == 0

    def in_container(self, *command: str, options: tuple[str, ...] = (), timeout: float = 120) -> str:
        """Run a command in a new container of our image; returns what it printed."""
        return self(
            "run", "--rm", "--no-healthcheck", "--network", "host", *READ_ONLY, "--workdir", "/tmp",
            *options, IMAGE, *command, timeout=timeout,
        )  # fmt: skip


def may_run_containers() -> bool:
    """Whether the kernel lets us make what a container is made of: namespaces, and a mount within one."""
    command = ["unshare", "--mount", "--pid", "--fork", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return subprocess.run(command, capture_output=True, timeout=20, check=False).returncode == 0


def make_base(podman: Podman) -> None:
    """A Debian with Python, from Debian's archive."""
    if podman.succeeds("image", "exists", BASE):
        return
    root, archive = podman.folder / "root", podman.folder / "base.tar"
    shutil.rmtree(root, ignore_errors=True)
    packages = "python3,python3-venv,ca-certificates"
    subprocess.run(
        ["debootstrap", "--variant=minbase", f"--include={packages}", SUITE, str(root)],
        check=True,
        timeout=300,
        stdout=subprocess.DEVNULL,
    )
    with tarfile.open(archive, "w") as tar:
        for entry in sorted(root.iterdir()):
            tar.add(entry, arcname=entry.name, filter=_without_caches)
    podman("import", str(archive), BASE, timeout=200)
    shutil.rmtree(root)
    archive.unlink()


def _without_caches(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    wanted = not entry.name.startswith(("var/cache/apt/archives/", "var/lib/apt/lists/", "proc/", "sys/", "dev/"))
    return entry if wanted else None


def build(podman: Podman, repository: Path, version: str) -> None:
    """Our Dockerfile on the local base. The build sees this machine's CAs and pip configuration, the image does not."""
    seen = [path for path in ("/etc/ssl/certs", "/etc/pip.conf") if os.path.exists(path)]  # noqa: PTH110
    volumes = [option for path in seen for option in ("--volume", f"{path}:{path}:ro")]
    podman(
        "build", "--layers=false", "--isolation", "chroot", "--network", "host", "--format", "docker",
        "--file", str(repository / "deploy" / "Dockerfile"), "--build-arg", f"BASE={BASE}",
        "--build-arg", f"VERSION={version}", *volumes, "--tag", IMAGE, str(repository), timeout=550,
    )  # fmt: skip
