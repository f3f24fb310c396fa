# SPDX-License-Identifier: GPL-2.0
"""The root file system of an emulated host: cpio archives for the kernel's initramfs.

Three archives follow one another in memory, and the kernel unpacks all of
them: the base (busybox, GNU tools, the kernel's modules), mote itself, and
what belongs to one run (the job and the files that it carries). The first
two are cached by what went into them.
"""

import glob
import hashlib
import lzma
import os
import re
import shutil
import stat
import subprocess
import tempfile

import cache
import kernels
from cache import LabError

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(HERE)
BUILD = os.environ.get("MOTE_BUILD") or os.path.join(TOP, "build")

DIRECTORIES = ("dev", "proc", "sys", "run", "root", "etc", "mnt", "lab", "var", "var/tmp", "usr",
               "usr/bin", "usr/lib", "usr/lib64")
LINKS = (("bin", "usr/bin"), ("sbin", "usr/bin"), ("usr/sbin", "bin"), ("lib", "usr/lib"),
         ("lib64", "usr/lib64"), ("init", "lab/agent"), ("var/run", "/run"), ("etc/mtab", "/proc/mounts"))
TEXTS = (("etc/passwd", "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534:nobody:/:/bin/false\n"),
         ("etc/group", "root:x:0:\ntty:x:5:\nkvm:x:104:\nnogroup:x:65534:\n"),
         ("etc/hosts", "127.0.0.1 localhost mote-lab\n"),
         ("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n"),
         ("root/.profile", "PS1='\\h:\\w# '\nalias ls='ls --color=auto'\n"))

# GNU programs, where busybox's applet of that name is not enough for kselftest's runner
# or for those who work in the host. The last line is taken where the machine has it.
PROGRAMS = ("bash", "timeout", "stdbuf", "env", "realpath", "nproc", "stat", "date", "sort", "mktemp",
            "taskset", "chrt", "setpriv", "unshare", "prlimit", "kmod")
PROGRAMS_IF_THERE = ("strace", "ip", "perf", "genisoimage", "ssh", "ssh-keygen", "dmsetup", "mkfs.ext4", "mkfs.btrfs")
LOADED = ("libslirp.so.0",)
KMOD_NAMES = ("modprobe", "insmod", "rmmod", "lsmod", "modinfo", "depmod")

# Of a distribution's thousands of modules, those that a host of a hypervisor may want.
MODULES = """kvm kvm-amd kvm-intel ccp irqbypass msr cpuid loop nbd tun tap vhost vhost_net vhost_vsock
vhost_iotlb vsock vsock_loopback macvtap macvlan bridge veth dummy virtio virtio_ring virtio_pci virtio_blk
virtio_net virtio_balloon virtio_console virtio_scsi virtio-rng virtio_mmio ata_piix ata_generic ahci sd_mod
sr_mod ext4 isofs vfat squashfs overlay 9p 9pnet_virtio userfaultfd zram vfio-pci kunit rapl e1000 configfs
nf_tables nft_masq nft_chain_nat intel_rapl_msr squashfs crc32c_generic button evdev
autofs4 btrfs dm-log-writes""".split()
ALL_MODULES_UP_TO = 48 << 20


# --- cpio ------------------------------------------------------------------

class Archive:
    """Writes the "newc" format (Documentation/driver-api/early-userspace/buffer-format)."""

    def __init__(self, handle):
        self.handle = handle
        self.inode = 0
        self.seen = set()

    def entry(self, name, mode, size=0, device=(0, 0), mtime=0):
        self.inode += 1
        encoded = os.fsencode(name) + b"\0"
        fields = (self.inode, mode, 0, 0, 1, int(mtime), size, 0, 0, *device, len(encoded), 0)
        header = b"070701" + b"".join(b"%08x" % field for field in fields) + encoded
        self.handle.write(header + b"\0" * (-len(header) % 4))

    def content(self, data):
        self.handle.write(data + b"\0" * (-len(data) % 4))

    def directory(self, name, mode=0o755):
        """A directory and those above it, each once."""
        name = name.strip("/")
        if name and name not in self.seen:
            self.directory(os.path.dirname(name))
            self.seen.add(name)
            self.entry(name, stat.S_IFDIR | mode)

    def link(self, name, target):
        self.directory(os.path.dirname(name))
        data = os.fsencode(target)
        self.entry(name, stat.S_IFLNK | 0o777, len(data))
        self.content(data)

    def text(self, name, text, mode=0o644):
        self.directory(os.path.dirname(name))
        data = text if isinstance(text, bytes) else text.encode()
        self.entry(name, stat.S_IFREG | mode, len(data))
        self.content(data)

    def device(self, name, major, minor, mode=0o600):
        self.directory(os.path.dirname(name))
        self.entry(name, stat.S_IFCHR | mode, device=(major, minor))

    def file(self, name, source):
        self.directory(os.path.dirname(name))
        with open(source, "rb") as handle:
            status = os.fstat(handle.fileno())
            if status.st_size >= 1 << 32:
                raise LabError(f"{source} is too large to carry (4 GiB is the limit)")
            self.entry(name, status.st_mode, status.st_size, mtime=status.st_mtime)
            shutil.copyfileobj(handle, self.handle, 1 << 20)
            self.handle.write(b"\0" * (-status.st_size % 4))

    def tree(self, name, source):
        """A file, a link or a directory with all below it."""
        if os.path.islink(source):
            self.link(name, os.readlink(source))
        elif os.path.isdir(source):
            self.directory(name, stat.S_IMODE(os.stat(source).st_mode))
            for entry in sorted(os.listdir(source)):
                self.tree(os.path.join(name, entry), os.path.join(source, entry))
        elif os.path.isfile(source):
            self.file(name, source)
        else:
            raise LabError(f"cannot carry {source}: neither a file nor a directory")

    def end(self):
        self.entry("TRAILER!!!", 0)
        self.handle.write(b"\0" * (-self.handle.tell() % 512))


def cached(name, inputs, fill):
    """The archive `name`, made by fill(Archive) unless one of just these inputs is there already."""
    digest = hashlib.sha256()
    for source in [__file__, *inputs]:
        status = os.stat(source)
        digest.update(f"{os.path.realpath(source)} {status.st_mtime_ns} {status.st_size}\n".encode())
    destination = cache.path("image", f"{name}-{digest.hexdigest()[:16]}.cpio")
    if os.path.exists(destination):
        os.utime(destination)
        return destination
    with cache.lock(f"image-{name}"):
        if not os.path.exists(destination):
            cache.make_dirs(os.path.dirname(destination))
            with tempfile.NamedTemporaryFile(dir=os.path.dirname(destination), prefix=".new-") as new:
                archive = Archive(new)
                fill(archive)
                archive.end()
                new.flush()
                cache.seal(new.name, destination)
                os.link(new.name, destination)
            forget_old(name)
    return destination


def forget_old(name):
    """Keep the newest few of an archive's versions."""
    versions = sorted(glob.glob(cache.path("image", f"{name}-????????????????.cpio")), key=os.path.getmtime)
    for version in versions[:-3]:
        cache.remove(version)


# --- the base --------------------------------------------------------------

def libraries(programs):
    """The shared libraries, and the dynamic linker, that the programs need."""
    if not programs:
        return []
    done = subprocess.run(["ldd", *programs], capture_output=True, text=True)
    missing = re.search(r"^\s*(\S+) => not found", done.stdout, re.MULTILINE)
    if missing:
        raise LabError(f"the library {missing.group(1)}, which {programs[0]} or another one needs, is not there")
    return sorted(set(re.findall(r"(?:=> |^\s+)(/\S+) \(0x", done.stdout, re.MULTILINE)))


def loaded():
    """Libraries that mote loads by itself, when it wants them, of which ldd says nothing."""
    done = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True)
    rows = re.findall(r"^\s*(\S+) \(.*x86-64.*\) => (\S+)$", done.stdout, re.MULTILINE)
    return [path for name, path in rows if name in LOADED]


def programs():
    found = []
    for name in PROGRAMS + PROGRAMS_IF_THERE:
        # Not what a user's PATH says: a program of the system.
        program = shutil.which(name, path="/usr/bin:/usr/sbin:/bin:/sbin")
        if program:
            found.append(program)
        elif name in PROGRAMS:
            raise LabError(f"{name} is not installed on this machine (see lab/packages)")
    return found


def add_libraries(archive, files, more=()):
    for library in sorted({*libraries([*files, *more]), *more}):
        archive.file("usr" + re.sub(r"^/usr/", "/", library), os.path.realpath(library))


def add_programs(archive):
    busybox = "/bin/busybox"
    if not os.path.exists(busybox):
        raise LabError("busybox is not installed on this machine (package busybox-static)")
    archive.file("usr/bin/busybox", busybox)
    chosen = programs()
    names = {os.path.basename(program) for program in chosen} | set(KMOD_NAMES)
    applets = subprocess.run([busybox, "--list"], capture_output=True, text=True).stdout.split()
    for applet in sorted(set(applets) - names - {"busybox", "init"}):
        archive.link(f"usr/bin/{applet}", "busybox")
    for program in chosen:
        archive.file(f"usr/bin/{os.path.basename(program)}", os.path.realpath(program))
    for name in KMOD_NAMES:
        archive.link(f"usr/bin/{name}", "kmod")
    extra = glob.glob("/usr/libexec/coreutils/libstdbuf.so")
    for library in extra:
        archive.file(library, library)
    add_libraries(archive, chosen + extra)


def module_files(kernel):
    """Paths, relative to lib/modules/RELEASE, of the modules that a host gets."""
    with open(os.path.join(kernel.modules, "modules.dep")) as handle:
        depends = {left: right.split() for left, right in
                   (line.rstrip("\n").split(":", 1) for line in handle)}
    if sum(os.path.getsize(os.path.join(kernel.modules, name)) for name in depends) <= ALL_MODULES_UP_TO:
        return sorted(depends)
    wanted = {name.replace("-", "_") for name in MODULES}
    chosen = set()
    for name, needs in depends.items():
        if os.path.basename(name).split(".ko")[0].replace("-", "_") in wanted:
            chosen |= {name, *needs}
    return sorted(chosen)


def plain(kernel, name):
    """A module as it is to be loaded: an emulated processor should not have to decompress it."""
    source = os.path.join(kernel.modules, name)
    if not name.endswith(".xz"):
        return source
    target = cache.path("modules", os.path.basename(kernel.directory), name[:-len(".xz")])
    if not os.path.exists(target):
        cache.make_dirs(os.path.dirname(target))
        new = f"{target}.new-{os.getpid()}"
        with lzma.open(source) as compressed, open(new, "wb") as handle:
            shutil.copyfileobj(compressed, handle)
        os.rename(new, target)
    return target


def base(kernel, agent):
    """The archive of everything but mote."""
    def fill(archive):
        for name in DIRECTORIES:
            archive.directory(name)
        archive.directory("tmp", 0o1777)
        for name, target in LINKS:
            archive.link(name, target)
        for name, text in TEXTS:
            archive.text(name, text)
        archive.device("dev/console", 5, 1)
        archive.device("dev/null", 1, 3, 0o666)
        archive.file("lab/agent", agent)
        add_programs(archive)
        for name in module_files(kernel):
            archive.file(f"usr/lib/modules/{kernel.release}/{name.removesuffix('.xz')}", plain(kernel, name))
        for name in ("modules.builtin", "modules.builtin.modinfo", "modules.order"):
            source = os.path.join(kernel.modules, name)
            if os.path.exists(source):
                archive.file(f"usr/lib/modules/{kernel.release}/{name}", source)

    inputs = [agent, "/bin/busybox", *programs(), os.path.join(kernel.modules, "modules.dep")]
    return cached(f"base-{os.path.basename(kernel.directory)}", inputs, fill)


# --- mote ------------------------------------------------------------------

def vermagic(module):
    with open(module, "rb") as handle:
        found = re.search(rb"\0vermagic=([^\0]*)", handle.read())
    return found.group(1).decode().strip() if found else ""


def check_module(module, kernel):
    built_for = vermagic(module).split(" ")[0]
    if built_for != kernel.release:
        raise LabError(f"{os.path.relpath(module)} is built for kernel {built_for or '(unknown)'}, "
                       f"the host runs {kernel.release}")


def tree_files(directory):
    for where, _, names in os.walk(directory):
        for name in sorted(names):
            yield os.path.join(where, name)


def is_dynamic(path):
    with open(path, "rb") as handle:
        return handle.read(4) == b"\x7fELF" and not path.endswith((".o", ".ko"))


def add_modules(archive, kernel, modules):
    """The modules of mote, and the indices that modprobe wants of all modules together."""
    with tempfile.TemporaryDirectory(prefix="mote-depmod-") as staging:
        where = os.path.join(staging, "lib/modules", kernel.release)
        for name in module_files(kernel):
            os.makedirs(os.path.dirname(os.path.join(where, name)), exist_ok=True)
            os.symlink(plain(kernel, name), os.path.join(where, name.removesuffix(".xz")))
        os.makedirs(os.path.join(where, "extra"))
        for name in ("modules.builtin", "modules.builtin.modinfo", "modules.order"):
            if os.path.exists(os.path.join(kernel.modules, name)):
                shutil.copy(os.path.join(kernel.modules, name), where)
        for module in modules:
            shutil.copy(module, os.path.join(where, "extra"))
            archive.file(f"usr/lib/modules/{kernel.release}/extra/{os.path.basename(module)}", module)
        cache.run(["depmod", "-b", staging, kernel.release], "depmod")
        for index in sorted(glob.glob(os.path.join(where, "modules.*"))):
            if not index.endswith((".builtin", ".modinfo", ".order")):
                archive.file(f"usr/lib/modules/{kernel.release}/{os.path.basename(index)}", index)


def built_modules(kernel):
    """The directory with mote's modules for this kernel, and the make target that builds them."""
    directory = os.path.join(BUILD, kernel.name)
    if kernel.name in kernels.NAMES or glob.glob(os.path.join(directory, "mote*.ko")):
        return directory, f"build/{kernel.name}/mote.ko"
    return TOP, f"KDIR={kernel.kdir}"


def mote(kernel):
    """The archive of mote: its modules for this kernel, its programs and its selftests."""
    directory, _ = built_modules(kernel)
    modules = sorted(glob.glob(os.path.join(directory, "mote*.ko")))
    for module in modules:
        check_module(module, kernel)
    binaries = sorted(glob.glob(os.path.join(BUILD, "bin", "*")))
    shared = sorted(glob.glob(os.path.join(BUILD, "lib", "*.so")))
    selftests = os.path.join(BUILD, "selftests")
    tests = list(tree_files(selftests))

    def fill(archive):
        add_modules(archive, kernel, modules)
        for binary in binaries:
            archive.tree(f"usr/bin/{os.path.basename(binary)}", binary)
        for library in shared:
            archive.file(f"usr/lib/{os.path.basename(library)}", library)
        if tests:
            archive.tree("usr/lib/mote/selftests", selftests)
        elves = [f for f in binaries + shared + tests if os.path.isfile(f) and is_dynamic(f)]
        add_libraries(archive, elves, loaded())

    directories = sorted({os.path.dirname(test) for test in tests})
    inputs = [os.path.join(kernel.modules, "modules.dep"), *modules, *binaries, *shared, *loaded(), *tests, *directories]
    return cached(f"mote-{os.path.basename(kernel.directory)}", inputs, fill)
