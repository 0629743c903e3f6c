"""Programs that people already have, each set up as its own manual says, with nothing tuned for this product.

Each does something `before` the primary fails, goes on `after` the failover, and at `home` when the primary
is back, always by the tenant's name. It compares its data by its own check and, where its files are files, by
hash.
"""

import hashlib
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import textwrap
from urllib.parse import urlsplit

from lab import SWITCHBACK, eventually, expect

CLIENTS = pathlib.Path(__file__).resolve().parent / "clients"


class Tool:
    """One program: `needs` are the commands and devices without which it is skipped."""

    needs = ()
    environment = {}

    def __init__(self, lab, folder):
        self.lab, self.folder, self.s3 = lab, folder, lab.system("east")["s3"]
        self.host = urlsplit(self.s3["tenant_url"]).netloc
        self.files = Tree(folder / "files")
        folder.mkdir(parents=True)

    def command(self, *words):
        """`words`, run where the lab's name servers are the only resolver."""
        return [SWITCHBACK, "lab", "exec", "--dir", self.lab.dir, "--", *map(str, words)]

    def environ(self):
        # Settings of this machine for other clouds are not part of the test.
        plain = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "RCLONE_"))}
        keys = {
            "AWS_ACCESS_KEY_ID": self.s3["access_key"],
            "AWS_SECRET_ACCESS_KEY": self.s3["secret_key"],
            "AWS_DEFAULT_REGION": self.s3["region"],
            "HOME": str(self.folder),
        }
        return {**plain, **keys, **self.environment}

    def run(self, *words, timeout=90):
        done = subprocess.run(
            self.command(*words), env=self.environ(), cwd=self.folder, capture_output=True, text=True, timeout=timeout
        )
        expect(done.returncode == 0, f"{' '.join(map(str, words))}: {done.returncode}\n{done.stdout}\n{done.stderr}"[-4000:])
        return done.stdout

    def fresh(self, name):
        """An empty folder."""
        shutil.rmtree(self.folder / name, ignore_errors=True)
        (self.folder / name).mkdir()
        return self.folder / name

    def close(self):
        """Ends what still runs."""


class Tree:
    """A folder of files whose contents are known: small ones, an empty one, names of many kinds, a large one."""

    NAMES = ["notes.txt", "empty", "deep/er/est/file", "with space & plus+.txt", "Grüße/日本語.txt", "50%.txt", "large.bin"]

    def __init__(self, folder):
        self.folder, self.changes = folder, random.Random(folder.as_posix())

    def create(self, large=20 << 20):
        for name in self.NAMES:
            self.write(name, large if name == "large.bin" else 0 if name == "empty" else 5000)
        return self.folder

    def write(self, name, size):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.changes.randbytes(size))

    def change(self, stage):
        """A file written again, one that is new, one that is gone."""
        self.write("notes.txt", 6000)
        self.write(f"new {stage}.txt", 100)
        if stage == "after":
            (self.folder / "deep/er/est/file").unlink()

    def same_as(self, other):
        expect(hashes(self.folder) == hashes(other), f"{self.folder} and {other} differ")


def hashes(folder):
    files = [path for path in pathlib.Path(folder).rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


class S3cmd(Tool):
    """s3cmd, by a configuration as `s3cmd --configure` writes it: names of buckets before the tenant's name."""

    needs = ("s3cmd",)
    bucket = "s3://s3cmd-files"

    def before(self):
        (self.folder / ".s3cfg").write_text(
            textwrap.dedent(
                f"""
                [default]
                access_key = {self.s3["access_key"]}
                secret_key = {self.s3["secret_key"]}
                bucket_location = {self.s3["region"]}
                host_base = {self.host}
                host_bucket = %(bucket)s.{self.host}
                use_https = False
                """
            )
        )
        self.files.create()
        self.run("s3cmd", "mb", self.bucket)
        self.sync()

    def sync(self):
        self.run("s3cmd", "sync", "--delete-removed", "files/", f"{self.bucket}/files/")
        down = self.fresh("down")
        self.run("s3cmd", "sync", f"{self.bucket}/files/", f"{down}/")
        self.files.same_as(down)

    def after(self):
        self.files.change("after")
        self.sync()
        self.run("s3cmd", "cp", f"{self.bucket}/files/large.bin", f"{self.bucket}/copy.bin")
        self.run("s3cmd", "mv", f"{self.bucket}/copy.bin", f"{self.bucket}/moved.bin")
        assert "moved.bin" in self.run("s3cmd", "ls", "--recursive", self.bucket)
        assert "MD5 sum" in self.run("s3cmd", "info", f"{self.bucket}/files/notes.txt")

    def home(self):
        self.files.change("home")
        self.sync()
        # By parts, which s3cmd compares one by one when it goes on with an upload.
        self.run("s3cmd", "put", "--multipart-chunk-size-mb=5", "files/large.bin", f"{self.bucket}/parts.bin")
        self.run("s3cmd", "get", f"{self.bucket}/parts.bin", "parts.bin")
        assert (self.folder / "parts.bin").read_bytes() == (self.files.folder / "large.bin").read_bytes()
        self.run("s3cmd", "rb", "--recursive", self.bucket)


def configure_rclone(tool):
    """As `rclone config` writes it."""
    config = tool.folder / ".config/rclone"
    config.mkdir(parents=True)
    (config / "rclone.conf").write_text(
        textwrap.dedent(
            f"""
            [acme]
            type = s3
            provider = Other
            access_key_id = {tool.s3["access_key"]}
            secret_access_key = {tool.s3["secret_key"]}
            region = {tool.s3["region"]}
            endpoint = {tool.s3["tenant_url"]}
            """
        )
    )


class Rclone(Tool):
    """rclone: `sync` one way, `bisync` both ways, `check --download`, which compares every byte."""

    needs = ("rclone",)

    def before(self):
        configure_rclone(self)
        self.files.create()
        self.both = Tree(self.folder / "both")
        self.both.create(large=1 << 20)
        self.run("rclone", "mkdir", "acme:rclone-files")
        self.sync()
        self.run("rclone", "bisync", "--resync", "both", "acme:rclone-files/both")
        self.compare()

    def sync(self):
        self.run("rclone", "sync", "files", "acme:rclone-files/one-way")

    def compare(self):
        self.run("rclone", "check", "--download", "files", "acme:rclone-files/one-way")
        self.run("rclone", "check", "--download", "both", "acme:rclone-files/both")

    def change(self, stage):
        self.files.change(stage)
        self.sync()
        self.both.change(stage)
        (self.folder / "other").write_text(f"somebody else's, {stage}\n")
        self.run("rclone", "copyto", "other", f"acme:rclone-files/both/other-{stage}")
        self.run("rclone", "bisync", "both", "acme:rclone-files/both")
        assert (self.both.folder / f"other-{stage}").read_text() == f"somebody else's, {stage}\n"
        self.compare()

    def after(self):
        self.change("after")

    def home(self):
        self.change("home")
        self.run("rclone", "moveto", "acme:rclone-files/one-way/large.bin", "acme:rclone-files/moved.bin")
        self.run("rclone", "purge", "acme:rclone-files/both")
        self.run("rclone", "cleanup", "acme:rclone-files")


class Restic(Tool):
    """restic: a backup on each side, all of them restored and checked on either."""

    needs = ("restic",)

    @property
    def environment(self):
        return {"RESTIC_REPOSITORY": f"s3:{self.s3['tenant_url']}/restic-backups", "RESTIC_PASSWORD": "of the test"}

    def before(self):
        self.files.create()
        self.run("restic", "init")
        self.backup()

    def backup(self):
        self.run("restic", "backup", "files")
        self.restored("latest")

    def restored(self, snapshot):
        target = self.fresh("restored")
        self.run("restic", "restore", snapshot, "--target", target)
        self.files.same_as(target / "files")

    def snapshots(self):
        return [entry["short_id"] for entry in json.loads(self.run("restic", "snapshots", "--json"))]

    def after(self):
        self.restored("latest")
        self.run("restic", "check", "--read-data")
        self.files.change("after")
        self.backup()
        assert len(self.snapshots()) == 2

    def home(self):
        self.restored(self.snapshots()[1])
        self.files.change("home")
        self.backup()
        self.run("restic", "forget", "--keep-last", "1", "--prune")
        assert len(self.snapshots()) == 1
        self.run("restic", "check", "--read-data")
        self.restored("latest")


class Duplicity(Tool):
    """duplicity: a full backup on the primary, increments on each side, encrypted with a passphrase."""

    needs = ("duplicity", "gpg")
    environment = {"PASSPHRASE": "of the test"}

    def duplicity(self, *words):
        where = ["--s3-endpoint-url", self.s3["tenant_url"], "--s3-region-name", self.s3["region"]]
        return self.run("duplicity", *words[:1], *where, *words[1:])

    target = "boto3+s3://duplicity-backups/files"

    def before(self):
        self.files.create()
        # It wants the bucket to be there.
        self.lab.s3("east").create_bucket(Bucket="duplicity-backups")
        self.duplicity("full", "files", self.target)
        self.restored()

    def restored(self):
        self.duplicity("verify", "--compare-data", self.target, "files")
        shutil.rmtree(self.folder / "restored", ignore_errors=True)
        self.duplicity("restore", self.target, "restored")
        self.files.same_as(self.folder / "restored")

    def after(self):
        # What it remembers of its own backups is another thing than what is there.
        shutil.rmtree(self.folder / ".cache/duplicity")
        self.restored()
        self.files.change("after")
        self.duplicity("incremental", "files", self.target)
        self.restored()

    def home(self):
        self.files.change("home")
        self.duplicity("incremental", "files", self.target)
        self.restored()
        assert "Number of contained backup sets: 3" in self.duplicity("collection-status", self.target)


class Mount(Tool):
    """A bucket as a folder, by FUSE: files are written, renamed, appended to and deleted."""

    process = None

    def start(self):
        """Mounts in the foreground. The mount is in the namespace of its own process, and seen through it."""
        point = self.fresh("mount")
        with open(self.folder / "log", "a", encoding="utf-8") as log:
            words = self.command(*self.words(point))
            self.process = subprocess.Popen(words, env=self.environ(), stdout=log, stderr=subprocess.STDOUT)
        of_process = pathlib.Path(f"/proc/{self.process.pid}")

        def mounted():
            expect(self.process.poll() is None, (self.folder / "log").read_text())
            expect(f" {point} fuse" in (of_process / "mounts").read_text(), "no mount")

        eventually(mounted)
        self.mounted = of_process / f"root{point}" / type(self).__name__

    def copy(self):
        shutil.copytree(self.files.folder, self.mounted, dirs_exist_ok=True, copy_function=shutil.copyfile)
        self.files.same_as(self.mounted)

    def before(self):
        self.start()
        self.files.create()
        self.copy()

    def after(self):
        self.files.same_as(self.mounted)
        self.files.change("after")
        (self.mounted / "deep/er/est/file").unlink()
        self.copy()
        for folder in (self.mounted, self.files.folder):
            (folder / "notes.txt").rename(folder / "renamed.txt")
        self.files.same_as(self.mounted)

    def home(self):
        self.files.same_as(self.mounted)
        self.files.change("home")
        self.copy()
        for folder in (self.files.folder, self.mounted):
            with open(folder / "renamed.txt", "ab") as file:
                file.write(b"appended")
        self.files.same_as(self.mounted)

    def close(self):
        if self.process:
            self.process.terminate()
            self.process.wait(20)
            self.process = None


class S3fs(Mount):
    """s3fs. libcurl keeps a name for a minute, whatever its time to live."""

    needs = ("s3fs", "fusermount3", "/dev/fuse")

    def words(self, point):
        credentials = self.folder / ".passwd-s3fs"
        credentials.write_text(f"{self.s3['access_key']}:{self.s3['secret_key']}")
        credentials.chmod(0o600)
        # As many attempts, four seconds apart, as it takes to outlast the minute.
        options = f"url={self.s3['tenant_url']},endpoint={self.s3['region']},use_path_request_style,retries=20"
        return ["s3fs", self.lab.bucket, point, "-f", "-o", f"passwd_file={credentials},{options}"]

    def home(self):
        # It goes on by itself too, as soon as its libcurl asks for the name again: a minute that this test does not wait.
        self.close()
        self.start()
        super().home()


class RcloneMount(Mount):
    """`rclone mount`, with the cache that writing takes."""

    needs = ("rclone", "fusermount3", "/dev/fuse")

    def words(self, point):
        configure_rclone(self)
        return ["rclone", "mount", "--vfs-cache-mode", "writes", f"acme:{self.lab.bucket}", point]

    def copy(self):
        super().copy()
        # What was written is sent when it was left alone for five seconds.
        sent = {f"{type(self).__name__}/{name}" for name in hashes(self.files.folder)}
        system = "west" if self.lab.link("west")["mode"] == "read_write" else "east"
        eventually(lambda: expect(sent <= set(self.lab.keys(system)), "not sent"))


class Living(Tool):
    """A program of one of Python's SDKs that runs all the time."""

    program = ""
    process = None

    @property
    def environment(self):
        return {"ENDPOINT": self.s3["tenant_url"]}

    def do(self, stage):
        if not self.process:
            words = self.command(sys.executable, CLIENTS / self.program)
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
            self.process = subprocess.Popen(words, env=self.environ(), cwd=self.folder, **pipes)
        print(stage, file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        expect(answer and json.loads(answer) == "done", answer and json.loads(answer))

    def before(self):
        self.do("before")

    def after(self):
        self.do("after")

    def home(self):
        self.do("home")

    def close(self):
        if self.process:
            self.process.stdin.close()
            self.process.wait(20)


class Boto3(Living):
    """boto3."""

    program = "use_boto3.py"


class Minio(Living):
    """minio-py."""

    program = "use_minio.py"


class Arrow(Living):
    """Apache Arrow and, through it, DuckDB."""

    program = "use_arrow.py"


ALL = [S3cmd, Rclone, Restic, Duplicity, S3fs, RcloneMount, Boto3, Minio, Arrow]
