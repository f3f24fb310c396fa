# SPDX-License-Identifier: GPL-2.0
"""The lab's cache: kernels, firmware and other Debian packages, unpacked but never installed.

Packages come through an apt configuration of the lab's own, so the machine's
sources are neither used (but for the mirror's address and the proxy) nor
changed, and no privilege is needed. Everything is built in a temporary
directory and renamed into place, and every entry has a lock: callers that run
at once wait for one another, and an interrupted one leaves nothing half done.
"""

import contextlib
import fcntl
import glob
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

DEFAULT_MIRROR = "http://deb.debian.org/debian"
DEFAULT_SECURITY = "http://deb.debian.org/debian-security"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
RELEASE = "bookworm"
LISTS_FRESH_FOR = 24 * 3600


class LabError(Exception):
    """Something the user should read, in one line; `detail` may follow it."""

    def __init__(self, message, detail=""):
        super().__init__(message)
        self.detail = detail


def main(program, function):
    """Run a program's main function and turn its errors into one line and a status."""
    try:
        sys.exit(function())
    except LabError as error:
        if error.detail:
            print(error.detail.rstrip("\n"), file=sys.stderr)
        print(f"{program}: {error}", file=sys.stderr)
        sys.exit(125)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(141)
    except OSError as error:
        print(f"{program}: {error}", file=sys.stderr)
        sys.exit(125)


def root():
    base = os.environ.get("MOTE_CACHE")
    if not base:
        home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        base = os.path.join(home, "mote")
    return os.path.abspath(base)


def path(*parts):
    return os.path.join(root(), *parts)


def make_dirs(directory):
    try:
        os.makedirs(directory, exist_ok=True)
    except OSError as error:
        raise LabError(f"cannot make the cache directory {directory}: {error.strerror}") from None


@contextlib.contextmanager
def lock(name):
    """Hold the lock `name` of the cache; say so if somebody else has it."""
    make_dirs(path("locks"))
    with open(path("locks", name.replace("/", "_")), "w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"lab: waiting for another run to finish with {name}", file=sys.stderr)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def step(what):
    """Say on stderr what is being done, and afterwards how long it took."""
    start = time.monotonic()
    print(f"lab: {what} …", file=sys.stderr, flush=True)
    yield
    print(f"lab: {what}: {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)


@contextlib.contextmanager
def building(destination):
    """A temporary directory that becomes `destination` if the body succeeds."""
    make_dirs(os.path.dirname(destination))
    temporary = tempfile.mkdtemp(prefix=".new-", dir=os.path.dirname(destination))
    os.chmod(temporary, 0o755)
    try:
        yield temporary
        seal(temporary, destination)
        if os.path.isdir(destination):
            os.rename(destination, temporary + ".old")
        os.rename(temporary, destination)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(temporary + ".old", ignore_errors=True)


# --- seals -----------------------------------------------------------------

SEAL = ".seal"


def fingerprints(entry, leave_out=()):
    """What each file of an entry (or the one file that it is) has in it, by its name in there."""
    found = {}
    if os.path.isfile(entry):
        return {"": fingerprint(entry)}
    for directory, names, files in os.walk(entry):
        if os.path.relpath(directory, entry) in leave_out:
            names.clear()
            continue
        links = [name for name in names if os.path.islink(os.path.join(directory, name))]
        for name in files + links:
            path_of = os.path.join(directory, name)
            found[os.path.relpath(path_of, entry)] = fingerprint(path_of)
    return found


def fingerprint(file):
    if os.path.islink(file):
        return "-> " + os.readlink(file)
    with open(file, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def seal(entry, destination=None, leave_out=()):
    """Write down beside a finished entry, or where it will be, what is in it, but for what changes."""
    target = f"{destination or entry}{SEAL}"
    with open(f"{target}.new", "w") as handle:
        json.dump({"without": list(leave_out), "files": fingerprints(entry, leave_out)}, handle)
    os.rename(f"{target}.new", target)


def is_whole(entry):
    try:
        with open(f"{entry}{SEAL}") as handle:
            sealed = json.load(handle)
        return fingerprints(entry, sealed["without"]) == sealed["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return False


def remove(entry):
    """An entry, a directory or a file, and its seal."""
    shutil.rmtree(entry, ignore_errors=True)
    for file in (entry, f"{entry}{SEAL}"):
        with contextlib.suppress(OSError):
            os.unlink(file)


def entries():
    """What others rely on, once it is there under its name."""
    for pattern in ("kernel/*-*", "pkg/*/*=*", "source/*", "debian/*", "image/*.cpio"):
        for entry in sorted(glob.glob(path(pattern))):
            if not entry.endswith((SEAL, ".new")) and not os.path.islink(entry):
                yield entry


def is_busy():
    """Does anybody make something just now, perhaps from what is there?"""
    for name in glob.glob(path("locks", "*")):
        with open(name) as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
    return False


def check():
    """Remove what is damaged, or was never finished, so that it is made anew; return (whole, removed)."""
    whole, removed = 0, []
    if is_busy():
        return whole, removed
    for entry in entries():
        # A debug kernel that is not finished goes on where it was.
        unfinished = os.path.basename(entry).startswith("debug-") and not os.path.exists(os.path.join(entry, "release"))
        if unfinished or is_whole(entry):
            whole += 1
            continue
        remove(entry)
        removed.append(os.path.relpath(entry, root()))
    return whole, removed


def point(link, target):
    """Make the symbolic link `link` name `target`, in one step."""
    temporary = f"{link}.new-{os.getpid()}"
    os.symlink(target, temporary)
    os.rename(temporary, link)


def run(command, what, **options):
    """Run a command quietly; if it fails, its output is the error's detail."""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, errors="replace", **options)
    except FileNotFoundError as error:
        raise LabError(f"{what}: {error.filename} is not installed (see lab/packages)") from None
    if done.returncode:
        tail = "\n".join(done.stdout.splitlines()[-20:])
        raise LabError(f"{what} failed", tail)
    return done.stdout


# --- Debian packages -------------------------------------------------------

def deb822_stanzas(text):
    for block in re.split(r"\n\s*\n", text):
        fields, key = {}, None
        for line in block.splitlines():
            if line.startswith("#") or not line.strip():
                continue
            if line[0].isspace() and key:
                fields[key] += " " + line.strip()
            elif ":" in line:
                key, value = line.split(":", 1)
                key = key.lower()
                fields[key] = value.strip()
        if fields:
            yield fields


def machine_sources():
    """(URI, suite) of the binary sources that this machine itself uses."""
    for name in ["/etc/apt/sources.list"] + sorted(glob.glob("/etc/apt/sources.list.d/*")):
        try:
            with open(name, errors="replace") as handle:
                text = handle.read()
        except OSError:
            continue
        if name.endswith(".sources"):
            for fields in deb822_stanzas(text):
                if fields.get("enabled", "yes").lower() != "no":
                    for uri in fields.get("uris", "").split():
                        for suite in fields.get("suites", "").split():
                            yield uri, suite
        elif name.endswith(".list"):
            for line in text.splitlines():
                match = re.match(r"deb\s+(?:\[[^]]*\]\s*)?(\S+)\s+(\S+)", line)
                if match:
                    yield match.groups()


def mirrors():
    """The addresses of the Debian archive and of its security archive."""
    archive, security = DEFAULT_MIRROR, DEFAULT_SECURITY
    for uri, suite in machine_sources():
        uri = uri.rstrip("/")
        if suite == RELEASE and uri.endswith("/debian"):
            archive = uri
        elif suite == f"{RELEASE}-security":
            security = uri
    return archive, security


def proxy_settings():
    """The machine's own apt transport settings: a proxy is needed by whoever downloads."""
    dump = subprocess.run(["apt-config", "dump"], capture_output=True, text=True).stdout
    wanted = re.compile(r"Acquire::(https?|ftp|Check-|Retries|ForceIPv)", re.IGNORECASE)
    return [line for line in dump.splitlines() if wanted.match(line) and '""' not in line]


class Apt:
    """A private apt for one architecture."""

    def __init__(self, arch):
        self.arch = arch
        self.home = path("apt", arch)
        self.config = os.path.join(self.home, "apt.conf")

    def configure(self):
        for part in ("lists/partial", "archives/partial", "etc/empty"):
            make_dirs(os.path.join(self.home, part))
        archive, security = mirrors()
        signed = f" [signed-by={KEYRING}]" if os.path.exists(KEYRING) else ""
        with open(os.path.join(self.home, "etc/sources.list"), "w") as handle:
            for uri, suite in ((archive, RELEASE), (archive, f"{RELEASE}-updates"),
                               (security, f"{RELEASE}-security"), (archive, f"{RELEASE}-backports")):
                handle.write(f"deb{signed} {uri} {suite} main\n")
        open(os.path.join(self.home, "status"), "w").close()
        settings = {
            "APT::Architecture": self.arch, "APT::Sandbox::User": "root",
            "Acquire::Languages": "none", "Acquire::Retries": "3",
            "Dir::State": self.home, "Dir::State::Lists": f"{self.home}/lists/",
            "Dir::State::status": f"{self.home}/status", "Dir::Cache": self.home,
            "Dir::Cache::archives": f"{self.home}/archives/",
            "Dir::Etc::sourcelist": f"{self.home}/etc/sources.list",
            "Dir::Etc::sourceparts": f"{self.home}/etc/empty",
            "Dir::Etc::main": f"{self.home}/etc/none", "Dir::Etc::parts": f"{self.home}/etc/empty",
            "Dir::Etc::preferences": f"{self.home}/etc/none",
            "Dir::Etc::preferencesparts": f"{self.home}/etc/empty",
        }
        lines = [f'{key} "{value}";' for key, value in settings.items()]
        lines += [f'APT::Architectures {{ "{self.arch}"; }};',
                  'Acquire::IndexTargets::deb::DEP-11 { DefaultEnabled "false"; };']
        with open(self.config, "w") as handle:
            handle.write("\n".join(proxy_settings() + lines) + "\n")

    def call(self, *command, **options):
        env = dict(os.environ, APT_CONFIG=self.config, LC_ALL="C.UTF-8")
        return run(command, " ".join(command[:3]), env=env, **options)

    def update(self, force=False):
        stamp = os.path.join(self.home, "updated")
        with contextlib.suppress(OSError):
            if not force and time.time() - os.stat(stamp).st_mtime < LISTS_FRESH_FOR:
                return
        with step(f"fetching Debian's package lists ({self.arch})"):
            self.configure()
            try:
                self.call("apt-get", "-q", "update")
            except LabError:
                # A mirror may be in the middle of a change of one archive; the release alone will do.
                if not glob.glob(f"{self.home}/lists/*_{RELEASE}_main_binary-{self.arch}_Packages"):
                    raise
                print("lab: not all of them are to be had; going on with what there is", file=sys.stderr)
                return
        open(stamp, "w").close()

    def versions(self, package):
        """All versions on offer, newest first."""
        listing = self.call("apt-cache", "madison", package)
        return [line.split("|")[1].strip() for line in listing.splitlines() if "|" in line]

    def depends(self, package, version):
        shown = self.call("apt-cache", "show", f"{package}={version}")
        return next(deb822_stanzas(shown)).get("depends", "")

    def search(self, pattern):
        listing = self.call("apt-cache", "search", "--names-only", pattern)
        return [line.split()[0] for line in listing.splitlines() if line]

    def unpack(self, wanted, directory):
        """Download the (package, version) pairs and unpack them into one directory."""
        names = [f"{package}={version}" if version else package for package, version in wanted]
        with tempfile.TemporaryDirectory(prefix="deb-", dir=self.home) as downloads:
            try:
                self.call("apt-get", "-q", "download", *names, cwd=downloads)
            except LabError:
                # The mirror may have replaced a package since the lists were read.
                self.update(force=True)
                self.call("apt-get", "-q", "download", *names, cwd=downloads)
            for deb in sorted(os.listdir(downloads)):
                run(["dpkg-deb", "-x", os.path.join(downloads, deb), directory], f"unpacking {deb}")


def stands_for(apt, package, version):
    """The kernel for which a package without a release in its name, linux-image-686, only stands."""
    if not re.fullmatch(r"linux-image-[a-z0-9]+", package):
        return []
    return re.findall(r"(linux-image-\d\S+) \(= (\S+)\)", apt.depends(package, version))


def fetch(spec):
    """Make sure that PACKAGE[:ARCH][=VERSION] is unpacked in the cache; return its directory."""
    match = re.fullmatch(r"([a-z0-9][a-z0-9.+-]*)(?::([a-z0-9]+))?(?:=(\S+))?", spec)
    if not match:
        raise LabError(f"not a package name: {spec}")
    package, arch, version = match.group(1), match.group(2) or "amd64", match.group(3)
    entry = path("pkg", arch, package + (f"={version}" if version else ""))
    if os.path.exists(entry):
        return os.path.realpath(entry)
    with lock(f"pkg-{arch}-{package}"), lock(f"apt-{arch}"):
        if os.path.exists(entry):
            return os.path.realpath(entry)
        apt = Apt(arch)
        apt.update()
        on_offer = apt.versions(package)
        if not on_offer or (version and version not in on_offer):
            raise LabError(f"Debian {RELEASE} has no package {spec}")
        if not version:
            # Backports come only to those who ask for their version by name.
            version = next((v for v in on_offer if "~bpo" not in v), on_offer[0])
        destination = path("pkg", arch, f"{package}={version}")
        if not os.path.isdir(destination):
            with step(f"fetching {package} {version} ({arch})"), building(destination) as new:
                apt.unpack([(package, version), *stands_for(apt, package, version)], new)
        if entry != destination:
            point(entry, os.path.basename(destination))
    return os.path.realpath(entry)
