# SPDX-License-Identifier: GPL-2.0
"""Memory images for Bochs: a Linux kernel and its initramfs, in place and ready to be entered.

lab/boot.S says how they are used. Offsets in the file are physical addresses:
nothing in the first MiB, which is the BIOS's; from IMAGE on the header, the
boot parameters, the command line, page tables; the kernel where it is linked
to run; the initramfs behind it; the magic word again.
"""

import hashlib
import os
import shutil
import struct
import tempfile

import cache
from cache import LabError

IMAGE = 0x100000
MAGIC = 0x65746f6d
PARAMS = IMAGE + 0x1000
COMMAND_LINE = IMAGE + 0x2000
TABLES = IMAGE + 0x4000
PAGE = 4096
PT_LOAD = 1
HERE = os.path.dirname(os.path.abspath(__file__))


def rom():
    """The option ROM, assembled once for each version of its source."""
    source = os.path.join(HERE, "boot.S")
    with open(source, "rb") as handle:
        key = hashlib.sha256(handle.read()).hexdigest()[:16]
    target = cache.path("image", f"boot-{key}.rom")
    if os.path.exists(target):
        return target
    with cache.lock("image-boot"), tempfile.TemporaryDirectory(prefix="mote-boot-") as work:
        cache.make_dirs(os.path.dirname(target))
        compiled, binary = os.path.join(work, "boot.o"), os.path.join(work, "boot.bin")
        cache.run(["gcc", "-c", "-m64", "-o", compiled, source], "assembling lab/boot.S")
        cache.run(["objcopy", "-O", "binary", "-j", ".text", compiled, binary], "objcopy")
        with open(binary, "rb") as handle:
            data = bytearray(handle.read())
        data[-1] = -sum(data[:-1]) & 0xff
        with open(binary, "wb") as handle:
            handle.write(data)
        shutil.copy(binary, target + ".new")
        os.rename(target + ".new", target)
    return target


def segments(handle):
    """The loadable segments of a 64-bit ELF file as (offset, address, size in file, size in memory)."""
    head = handle.read(64)
    if head[:5] != b"\x7fELF\x02":
        raise LabError(f"{handle.name} is not a 64-bit kernel")
    entry, table = struct.unpack_from("<QQ", head, 24)
    size, count = struct.unpack_from("<HH", head, 54)
    found = []
    for index in range(count):
        handle.seek(table + index * size)
        kind, _, offset, _, physical, filesz, memsz = struct.unpack("<IIQQQQQ", handle.read(48))
        if kind == PT_LOAD:
            found.append((offset, physical, filesz, memsz))
    return entry, found


def page_tables():
    """4 GiB mapped to itself by 2 MiB pages: a PML4, a PDPT and four PDs."""
    pml4 = struct.pack("<Q", (TABLES + PAGE) | 3)
    pdpt = b"".join(struct.pack("<Q", (TABLES + (2 + i) * PAGE) | 3) for i in range(4))
    directories = b"".join(struct.pack("<Q", i << 21 | 0x83) for i in range(2048))
    return pml4.ljust(PAGE, b"\0") + pdpt.ljust(PAGE, b"\0") + directories


def boot_params(vmlinuz, initrd, initrd_size):
    """struct boot_params with the setup header that the kernel's own image has."""
    with open(vmlinuz, "rb") as handle:
        setup = handle.read(0x400)
    params = bytearray(PAGE)
    end = 0x202 + setup[0x201]
    params[0x1f1:end] = setup[0x1f1:end]
    params[0x210] = 0xff                                # type_of_loader: not registered
    struct.pack_into("<II", params, 0x218, initrd, initrd_size)
    struct.pack_into("<I", params, 0x228, COMMAND_LINE)
    return params


def up(value):
    return (value + PAGE - 1) & -PAGE


def copy(source, size, target):
    """Bytes of one open file to another, by the kernel."""
    done = 0
    while done < size:
        step = os.sendfile(target.fileno(), source.fileno(), None, size - done)
        if not step:
            raise LabError(f"{source.name} is shorter than it says")
        done += step


def write(path, kernel, initrd, command_line, memory):
    """Write the image; `memory` is the machine's size in bytes."""
    with open(path, "wb", buffering=0) as image, open(kernel.vmlinux, "rb", buffering=0) as vmlinux:
        entry, loads = segments(vmlinux)
        initrd_at = up(max(address + memsz for _, address, _, memsz in loads)) + (2 << 20)
        initrd_size = os.path.getsize(initrd)
        end = up(initrd_at + initrd_size) + PAGE
        if end + (64 << 20) > memory:
            raise LabError(f"--mem {memory >> 20}M is too little for this kernel and what is carried "
                           f"(take {(end >> 20) + 128}M or more)")
        header = struct.pack("<5I", MAGIC, end, PARAMS, TABLES, entry)
        for address, data in ((IMAGE, header), (PARAMS, boot_params(kernel.vmlinuz, initrd_at, initrd_size)),
                              (COMMAND_LINE, os.fsencode(command_line) + b"\0"), (TABLES, page_tables()),
                              (end - 4, struct.pack("<I", MAGIC))):
            image.seek(address)
            image.write(data)
        for offset, address, filesz, _ in loads:
            vmlinux.seek(offset)
            image.seek(address)
            copy(vmlinux, filesz, image)
        image.seek(initrd_at)
        with open(initrd, "rb", buffering=0) as source:
            copy(source, initrd_size, image)
