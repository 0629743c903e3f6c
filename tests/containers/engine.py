"""A Docker daemon of the test's own, a base image made here, and the images of the services."""

import os
import shutil
import subprocess
import sys
import tarfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SERVICES = ["data-mover", "link-manager", "dns-broadcaster", "certificate-service", "gateway"]
PACKAGES = {
    "dockerd": "docker.io",
    "docker-compose": "docker-compose",
    "busybox": "busybox-static",
    "dig": "bind9-dnsutils",
}
READY_SECONDS = 30


class CannotRun(Exception):
    """This machine does not let a container engine run."""


def run(arguments, **options):
    """Runs a command; what it printed is in the error when it fails."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options}
    done = subprocess.run([str(a) for a in arguments], **options)
    if done.returncode:
        said = (done.stderr or "") + (done.stdout or "")
        raise AssertionError(f"{' '.join(map(str, arguments))}: exit {done.returncode}\n{said[-4000:]}")
    return done.stdout


def install():
    """Installs Debian's packages for what is missing."""
    if os.getuid() != 0:
        raise CannotRun("a Docker daemon needs root")
    missing = [package for tool, package in PACKAGES.items() if not shutil.which(tool)]
    if not missing:
        return
    if not shutil.which("apt-get"):
        raise CannotRun(f"missing {', '.join(missing)}, and there is no apt-get to install them")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        run(["apt-get", "update", "-qq"])
        run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing], env=environment)
    except AssertionError as error:
        raise CannotRun(f"cannot install {', '.join(missing)}: {error}") from error


class Engine:
    """A daemon with folders and a socket of its own, ended by its own process id.

    It leaves the firewall of the host alone: published ports are carried by its proxy processes.
    """

    def __init__(self, folder):
        self.folder = folder
        self.process = None
        self.environment = {**os.environ, "DOCKER_HOST": f"unix://{folder}/docker.sock"}
        # Where the host's engine was configured by these, ours must not be.
        for name in ("DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "COMPOSE_FILE", "COMPOSE_PROJECT_NAME"):
            self.environment.pop(name, None)
        self.environment.update(DOCKER_BUILDKIT="0", COMPOSE_DOCKER_CLI_BUILD="0", DOCKER_CONFIG=str(folder / "client"))

    def start(self):
        log = open(self.folder / "dockerd.log", "wb")
        flags = {
            "data-root": self.folder / "data",
            "exec-root": self.folder / "exec",
            "pidfile": self.folder / "pid",
            "host": self.environment["DOCKER_HOST"],
            "bridge": "none",
            "iptables": "false",
            "ip6tables": "false",
        }
        command = ["dockerd", *(f"--{flag}={value}" for flag, value in flags.items())]
        self.process = subprocess.Popen(command, stdout=log, stderr=log)
        end = time.monotonic() + READY_SECONDS
        while True:
            try:
                return self.docker("info")
            except AssertionError as error:
                if self.process.poll() is None and time.monotonic() < end:
                    time.sleep(0.2)
                    continue
                tail = (self.folder / "dockerd.log").read_text(errors="replace")[-2000:]
                raise CannotRun(f"dockerd does not run here:\n{tail}") from error

    def stop(self):
        if self.process is None:
            return
        try:
            # Also what a failed step left behind; the daemon's end would only stop it.
            if containers := self.docker("ps", "--all", "--quiet").split():
                self.docker("rm", "--force", "--volumes", *containers)
            # Bridges live in the host's kernel and would stay.
            if networks := self.docker("network", "ls", "--quiet", "--filter", "type=custom").split():
                self.docker("network", "rm", *networks)
        except AssertionError as error:
            print(f"cleaning up: {error}", file=sys.stderr)
        self.process.terminate()
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def docker(self, *arguments, **options):
        return run(["docker", *arguments], env=self.environment, **options)

    def build(self, programs, tag):
        """Makes the base image and from it an image of each service, and of the CLI."""
        context = self.folder / "context"
        (context / "bin").mkdir(parents=True)
        binaries = []
        for name in [f"switchback-{service}" for service in SERVICES] + ["switchback"]:
            copied = context / "bin" / name
            shutil.copy2(programs / name, copied)
            if shutil.which("strip"):
                run(["strip", copied])
            binaries.append(copied)
        with open(self.base(binaries), "rb") as tar:
            self.docker("import", "-", "switchback-base", stdin=tar)
        for target in [*SERVICES, "cli"]:
            self.docker(
                *("build", "--network=none", "--quiet", f"--target={target}", f"--tag=switchback/{target}:{tag}"),
                *("--build-arg=BASE=switchback-base", "--build-arg=BIN_DIR=bin"),
                *("--file", ROOT / "deploy/Dockerfile", context),
            )

    def base(self, binaries):
        """A tar of the C library that the programs name, and a static busybox."""
        libraries = set()
        for binary in binaries:
            for line in run(["ldd", binary]).splitlines():
                # "libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x…)", "/lib64/ld-linux-x86-64.so.2 (0x…)"
                path = line.split("=>")[-1].strip().split(" ")[0]
                if path.startswith("/"):
                    libraries.add(path)
        made = self.folder / "base.tar"
        with tarfile.open(made, "w", dereference=True) as tar:
            for path in sorted(libraries):
                tar.add(path)
            tar.add(shutil.which("busybox"), "bin/busybox")
            for applet in run([shutil.which("busybox"), "--list"]).split():
                if applet != "busybox":
                    link = tarfile.TarInfo(f"bin/{applet}")
                    link.type, link.linkname = tarfile.SYMTYPE, "busybox"
                    tar.addfile(link)
            for folder in ("tmp", "etc", "usr/local/bin"):
                entry = tarfile.TarInfo(folder)
                entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if folder == "tmp" else 0o755
                tar.addfile(entry)
        return made
