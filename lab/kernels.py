# SPDX-License-Identifier: GPL-2.0
"""The kernels of the emulated hosts: found, downloaded or built, always in the cache.

A kernel is a directory with these entries, whatever it came from:
  release   text: what `uname -r` says       vmlinuz   the bootable image
  vmlinux   the image unpacked, an ELF file  modules   lib/modules/RELEASE
  kdir      the tree for building modules
"""

import bz2
import contextlib
import glob
import hashlib
import lzma
import os
import re
import shutil
import struct
import subprocess
import time
import zlib

import cache
from cache import LabError

NAMES = ("distro", "next", "debug")
HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE_PACKAGE = "linux-source-6.1"


class Kernel:
    """A kernel directory of the layout above."""

    def __init__(self, name, directory):
        self.name = name
        self.directory = directory
        with open(self.at("release")) as handle:
            self.release = handle.read().strip()

    def at(self, *parts):
        return os.path.join(self.directory, *parts)

    @property
    def kdir(self):
        return os.path.realpath(self.at("kdir"))

    @property
    def vmlinuz(self):
        return os.path.realpath(self.at("vmlinuz"))

    @property
    def vmlinux(self):
        return os.path.realpath(self.at("vmlinux"))

    @property
    def image(self):
        """What QEMU is to boot: the ELF image where that works, for it needs no decompression.

        With KASAN the code behind the PVH entry runs before its shadow memory is there.
        """
        with contextlib.suppress(OSError), open(os.path.join(self.kdir, ".config")) as handle:
            config = set(handle.read().splitlines())
            if "CONFIG_PVH=y" in config and "CONFIG_KASAN=y" not in config:
                return self.vmlinux
        return self.vmlinuz

    @property
    def modules(self):
        return os.path.realpath(self.at("modules"))


def find(name, renew=False):
    """The kernel NAME, made available first if it is one of ours and is missing."""
    if name in NAMES:
        link = cache.path("kernel", name)
        if name == "debug":
            return debug()
        if renew or not os.path.exists(link):
            with cache.lock(f"kernel-{name}"):
                if renew or not os.path.exists(link):
                    distribution(name, link)
        return Kernel(name, os.path.realpath(link))
    if os.path.isdir(name):
        return from_path(name)
    raise LabError(f"no such kernel: {name} (there are {', '.join(NAMES)}, or the directory of a kernel)")


# --- Debian's kernels ------------------------------------------------------

def version_key(text):
    """Orders Debian versions of one kernel series well enough (numbers compare as numbers)."""
    return [int(part) if part.isdigit() else 0 for part in re.split(r"(\d+)", text)]


def needed(apt, release, version):
    """The (package, version) pairs of a kernel, headers and all; None while Debian lacks one of them."""
    headers = f"linux-headers-{release}"
    if version not in apt.versions(headers):
        return None
    # The tools are one package for all kernels of a series: an upload's are there before its kernels.
    kbuild = re.search(r"linux-kbuild-[^\s,]+", apt.depends(headers, version)).group()
    tools = [other for other in apt.versions(kbuild) if version_key(other) >= version_key(version)]
    common = re.sub(r"-amd64$", "-common", headers)
    if not tools or version not in apt.versions(common):
        return None
    return [(f"linux-image-{release}", version), (headers, version), (common, version),
            (kbuild, min(tools, key=version_key))]


def resolve(apt, name):
    """The (release, version, packages) of the newest kernel of a series that is there with its headers."""
    series = {"distro": "6.1.0", "next": "6.12"}[name]
    images = apt.search(rf"^linux-image-{re.escape(series)}.*[0-9]-amd64$")
    candidates = []
    for image in images:
        release = image[len("linux-image-"):]
        candidates += [(version, release) for version in apt.versions(image)]
    for version, release in sorted(candidates, key=lambda pair: version_key(pair[0]), reverse=True):
        packages = needed(apt, release, version)
        if packages:
            return release, version, packages
    raise LabError(f"Debian {cache.RELEASE} has no kernel {series} with headers")


def distribution(name, link):
    with cache.lock("apt-amd64"):
        apt = cache.Apt("amd64")
        apt.update(force=os.path.exists(link))
        release, version, packages = resolve(apt, name)
        destination = cache.path("kernel", f"{name}-{version}")
        if not os.path.isdir(destination):
            with cache.step(f"fetching Debian's kernel {release} ({version})"), \
                 cache.building(destination) as new:
                unpack(apt, release, packages, new, destination)
    cache.point(link, os.path.basename(destination))


def unpack(apt, release, packages, new, destination):
    apt.unpack(packages, new)
    kdir = f"usr/src/linux-headers-{release}"
    for entry, target in (("vmlinuz", f"boot/vmlinuz-{release}"), ("modules", f"lib/modules/{release}"),
                          ("kdir", kdir)):
        os.symlink(target, os.path.join(new, entry))
    with open(os.path.join(new, "release"), "w") as handle:
        handle.write(release + "\n")
    relocate(new, kdir, destination)
    extract(os.path.join(new, "vmlinuz"), os.path.join(new, "vmlinux"))
    # Module BTF is made against the kernel's own, which is in its image.
    if not os.path.lexists(os.path.join(new, kdir, "vmlinux")):
        os.symlink("../../../vmlinux", os.path.join(new, kdir, "vmlinux"))
    provide_resolve_btfids(os.path.join(new, kdir, "tools/bpf/resolve_btfids"))
    cache.run(["depmod", "-b", new, release], "depmod")


RESOLVE_BTFIDS = """#!/bin/sh
# Debian's 6.1 headers lack this tool. A module that has no kfuncs needs nothing done.
for module; do :; done
if readelf -SW "$module" | grep -q '\\.BTF_ids'; then
    echo "$module has BTF ids, and there is no resolve_btfids to fill them in" >&2
    exit 1
fi
"""


def provide_resolve_btfids(directory):
    tool = os.path.join(directory, "resolve_btfids")
    if not os.path.exists(tool):
        os.makedirs(directory, exist_ok=True)
        with open(tool, "w") as handle:
            handle.write(RESOLVE_BTFIDS)
        os.chmod(tool, 0o755)


def relocate(new, kdir, destination):
    """Debian's headers name one another by absolute path: make that the path in the cache."""
    for makefile in glob.glob(os.path.join(new, kdir, "**", "Makefile"), recursive=True):
        if os.path.islink(makefile):
            continue
        with open(makefile) as handle:
            text = handle.read()
        fixed = re.sub(r"(?<![\w./])/usr/(src|lib)/linux-", rf"{destination}/usr/\1/linux-", text)
        if fixed != text:
            with open(makefile, "w") as handle:
                handle.write(fixed)
    for directory, subdirectories, files in os.walk(new):
        for name in subdirectories + files:
            entry = os.path.join(directory, name)
            if os.path.islink(entry) and os.readlink(entry).startswith("/usr/"):
                target = os.readlink(entry)
                os.unlink(entry)
                os.symlink(destination + target, entry)


COMPRESSIONS = ((b"\xfd7zXZ\0", lambda data: lzma.LZMADecompressor(lzma.FORMAT_XZ).decompress(data)),
                (b"\x1f\x8b\x08", lambda data: zlib.decompressobj(16 + zlib.MAX_WBITS).decompress(data)),
                (b"BZh", lambda data: bz2.BZ2Decompressor().decompress(data)),
                (b"\x28\xb5\x2f\xfd", lambda data: pipe(["zstd", "-dcq"], data)),
                (b"\x02\x21\x4c\x18", lambda data: pipe(["lz4", "-dcq"], data)))


def pipe(command, data):
    return subprocess.run(command, input=data, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout


def extract(vmlinuz, vmlinux):
    """Take the ELF image out of a bzImage ("The Linux/x86 Boot Protocol", payload_offset)."""
    with open(vmlinuz, "rb") as handle:
        image = handle.read()
    if image[0x202:0x206] != b"HdrS":
        raise LabError(f"{vmlinuz} is not an x86 kernel")
    setup = (image[0x1f1] or 4) + 1
    offset, length = struct.unpack_from("<II", image, 0x248)
    payload = image[setup * 512 + offset:][:length]
    for magic, decompress in COMPRESSIONS:
        if payload.startswith(magic):
            elf = decompress(payload)
            break
    else:
        elf = payload
    if elf[:4] != b"\x7fELF":
        raise LabError(f"cannot unpack the kernel image {vmlinuz}")
    with open(vmlinux, "wb") as handle:
        handle.write(elf)


# --- a kernel of the user's own --------------------------------------------

BZIMAGE = "arch/x86/boot/bzImage"


def from_path(name):
    directory = os.path.abspath(name)
    own_name = os.path.basename(directory)
    if os.path.exists(os.path.join(directory, "release")):
        return Kernel(own_name, directory)
    image = os.path.join(directory, BZIMAGE)
    if not os.path.exists(image):
        raise LabError(f"{name} is neither a built kernel tree nor a kernel of the cache")
    status = os.stat(image)
    key = hashlib.sha256(f"{image} {status.st_mtime_ns} {status.st_size}".encode()).hexdigest()[:12]
    destination = cache.path("kernel", f"tree-{key}")
    with cache.lock(f"kernel-tree-{key}"):
        if not os.path.isdir(destination):
            with cache.step(f"installing the kernel and the modules of {name}"), cache.building(destination) as new:
                install(directory, new)
    return Kernel(own_name, destination)


def clean_environment():
    """For a make of ours: one above us must not lend its job server or its variables."""
    mine = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "KBUILD_OUTPUT", "O", "M")
    return {key: value for key, value in os.environ.items() if key not in mine}


def install(tree, new):
    """Give the built kernel `tree` the layout of the cache in the directory `new`."""
    with open(os.path.join(tree, "include/config/kernel.release")) as handle:
        release = handle.read().strip()
    cache.run(["make", "-s", "-C", tree, f"INSTALL_MOD_PATH={new}", "INSTALL_MOD_STRIP=1", "modules_install"],
              "make modules_install", env=clean_environment())
    for link in ("build", "source"):
        with contextlib.suppress(OSError):
            os.unlink(os.path.join(new, "lib/modules", release, link))
    shutil.copyfile(os.path.join(tree, BZIMAGE), os.path.join(new, "vmlinuz"))
    extract(os.path.join(new, "vmlinuz"), os.path.join(new, "vmlinux"))
    cache.point(os.path.join(new, "modules"), f"lib/modules/{release}")
    if not os.path.exists(os.path.join(new, "kdir")):
        os.symlink(tree, os.path.join(new, "kdir"))
    # The last thing: what has this file is whole.
    with open(os.path.join(new, "release"), "w") as handle:
        handle.write(release + "\n")


# --- the debug kernel ------------------------------------------------------

# Counts changes of build_debug() that make a difference to what is built.
RECIPE = 2
FORGET_AFTER = 3 * 24 * 3600
FRAGMENT = os.path.join(HERE, "debug.config")

# Parts of the source that no x86 kernel of ours needs, three quarters of its size.
UNWANTED = ("arch/[a-w]*/", "arch/xt*/", "Documentation/[a-z]*", "drivers/gpu/drm/*/*.[ch]",
            "drivers/gpu/drm/*/*/*.[ch]", "drivers/media/*.[ch]", "drivers/staging/*.[ch]", "sound/*.[ch]",
            "drivers/net/ethernet/*.[ch]", "drivers/net/wireless/*.[ch]")


def source():
    """The kernel source that the debug kernel and the kselftest harness come from, unpacked."""
    package = cache.fetch(SOURCE_PACKAGE)
    version = os.path.basename(package).partition("=")[2]
    destination = cache.path("source", version)
    if not os.path.isdir(destination):
        with cache.lock("source"):
            if not os.path.isdir(destination):
                with cache.step(f"unpacking the kernel source {version}"), cache.building(destination) as new:
                    excluded = [f"--exclude=*/{pattern}" for pattern in UNWANTED]
                    cache.run(["tar", "-C", new, "--strip-components=1", *excluded, "-xf",
                               f"{package}/usr/src/{SOURCE_PACKAGE}.tar.xz"], "unpacking the kernel source")
    return destination


def debug_key(version):
    with open(FRAGMENT, "rb") as handle:
        return hashlib.sha256(f"{version} {RECIPE} ".encode() + handle.read()).hexdigest()[:12]


def debug():
    """Built in its final place, so that a build that was interrupted goes on where it was."""
    package = cache.fetch(SOURCE_PACKAGE)
    version = os.path.basename(package).partition("=")[2]
    destination = cache.path("kernel", f"debug-{version}-{debug_key(version)}")
    if not os.path.exists(os.path.join(destination, "release")):
        with cache.lock("kernel-debug"):
            if not os.path.exists(os.path.join(destination, "release")):
                build_debug(source(), destination)
                forget_unused(destination)
    with contextlib.suppress(OSError):
        os.utime(os.path.join(destination, "release"))
    return Kernel("debug", destination)


# KASAN looks into what works on the memory that a module may have mistreated, and not where it must not.
KASAN_SANITIZE = ("KASAN_SANITIZE=$(if $(filter-out kernel/entry/% mm/kasan/%,"
                  "$(filter kernel/% mm/% virt/% fs/% lib/% arch/x86/kernel/% arch/x86/kvm/% arch/x86/mm/%,$(obj)/)),y,n)")

# The kernel has what it has for KVM, and mote needs that; but not KVM itself.
NO_KVM = "CONFIG_KVM="


def build_debug(tree, destination):
    objects = os.path.join(destination, "kdir")
    cache.make_dirs(objects)
    # Debian's next version, or a change of the configuration, leaves most files as they are, but only ccache sees
    # that, if they are called the same: by a link to the version's source.
    always = cache.path("source", "linux")
    cache.point(always, os.path.basename(tree))
    make = ["make", "-s", "-C", tree, f"O={objects}", f"-j{os.cpu_count()}", "KBUILD_BUILD_HOST=mote-lab",
            "KBUILD_BUILD_USER=mote", "KBUILD_BUILD_TIMESTAMP=1 January 2026", KASAN_SANITIZE, NO_KVM,
            f"abs_srctree={always}", "CC=ccache gcc"]
    env = clean_environment() | {"CCACHE_DIR": cache.path("ccache"), "CCACHE_NOHASHDIR": "1", "CCACHE_MAXSIZE": "1G"}
    with cache.step("building the debug kernel (several minutes on 2 cores, once)"):
        cache.run([*make, f"KCONFIG_ALLCONFIG={FRAGMENT}", "allnoconfig"], "configuring the debug kernel", env=env)
        check_config(os.path.join(objects, ".config"))
        cache.run([*make, "bzImage", "modules"], "building the debug kernel", env=env)
        stay_with(tree, always, objects)
    # The kernel proper serves booting and module builds alike.
    with cache.step("installing it"):
        install(objects, destination)
        prune(objects)
        os.symlink("../vmlinux", os.path.join(objects, "vmlinux"))
        # Modules are built against it, which may add to it.
        cache.seal(destination, leave_out=("kdir",))


def stay_with(tree, always, objects):
    """What is built against this kernel later is built with its source, whatever the link leads to then."""
    cache.point(os.path.join(objects, "source"), tree)
    makefile = os.path.join(objects, "Makefile")
    with open(makefile) as handle:
        text = handle.read()
    with open(makefile, "w") as handle:
        handle.write(text.replace(always, tree))


def check_config(config):
    """Every line of the fragment has to be in force: a debug kernel without KASAN finds nothing."""
    with open(config) as handle:
        have = set(handle.read().splitlines())
    with open(FRAGMENT) as handle:
        lost = [line.strip() for line in handle if line.startswith("CONFIG_") and line.strip() not in have]
    if lost:
        raise LabError("lab/debug.config asks for what this kernel does not grant: " + ", ".join(lost))


def prune(objects):
    """Drop what is not needed to build modules against the tree."""
    for directory, _, names in os.walk(objects):
        keep = os.path.relpath(directory, objects).startswith(("scripts", "tools/objtool"))
        for name in names:
            if name.endswith((".o", ".a", ".cmd", ".ko", ".mod.c", ".mod", ".order")) and not keep:
                os.unlink(os.path.join(directory, name))
    for name in ("vmlinux", "vmlinux.symvers", "arch/x86/boot/bzImage", "arch/x86/boot/compressed/vmlinux",
                 "arch/x86/boot/compressed/vmlinux.bin", "arch/x86/boot/vmlinux.bin", "vmlinux.map"):
        with contextlib.suppress(OSError):
            os.unlink(os.path.join(objects, name))
    for name in glob.glob(os.path.join(objects, "arch/x86/boot/compressed/vmlinux.*")) \
            + glob.glob(os.path.join(objects, ".tmp_*")) + glob.glob(os.path.join(objects, ".vmlinux*")):
        if os.path.isfile(name):
            os.unlink(name)


def forget_unused(destination):
    """Debug kernels that nobody asked for in days: of another version or configuration."""
    for other in glob.glob(cache.path("kernel", "debug-*")):
        used = os.path.getmtime(os.path.join(other, "release") if os.path.exists(os.path.join(other, "release"))
                                else other)
        if other != destination and not other.endswith(cache.SEAL) and time.time() - used > FORGET_AFTER:
            cache.remove(other)
