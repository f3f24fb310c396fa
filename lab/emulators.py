# SPDX-License-Identifier: GPL-2.0
"""The emulators: how each is told to boot a kernel with three pipes to lab/host.

The pipes are file descriptors that the emulator inherits: `frames` takes what
the agent writes to port 0xe9, `console` the kernel's serial console, and
`keyboard` (a terminal's name, or none) feeds the second serial port.
"""

import ctypes
import mmap
import os
import shutil
import signal
import subprocess
import time

import preload
from cache import LabError

CPUS = ("svm", "vmx", "svm-full")
COMMAND_LINE = "console=ttyS0,115200 loglevel=5 panic=-1 oops=panic nokaslr random.trust_cpu=on kunit.enable=1"
PR_SET_PDEATHSIG = 1
CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000

libc = ctypes.CDLL(None, use_errno=True)


class Machine:
    """What the options say about the host to be."""

    def __init__(self, cpu, smp, mem, count, model, append):
        self.cpu, self.smp, self.mem = cpu, smp, mem
        self.count, self.model, self.append = count, model, append
        self.disks, self.debug = [], None


def die_with_parent(parent=os.getpid()):
    """In the child: no emulator outlives lab/host, not even one that was killed outright."""
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    # A process group of its own: Ctrl-C on the terminal is for lab/host to handle.
    os.setpgid(0, 0)
    if os.getppid() != parent:
        os._exit(1)


def program(name, package):
    found = shutil.which(name)
    if not found:
        raise LabError(f"{name} is not installed (package {package})")
    return found


# Descriptions of empty hotplug slots, which a debug kernel takes seconds to read.
QEMU_MACHINE = ["-machine", "pc", "-global", "PIIX4_PM.acpi-pci-hotplug-with-bridge-support=off",
                "-global", "PIIX4_PM.acpi-root-pci-hotplug=off"]


RDTSC = bytes.fromhex("0f31 48c1e220 4809d0 c3")      # rdtsc; shl $32, %rdx; or %rdx, %rax; ret


def tsc_khz():
    """The rate of this machine's TSC, which QEMU shows the host as its own."""
    code = mmap.mmap(-1, len(RDTSC), prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(RDTSC)
    rdtsc = ctypes.CFUNCTYPE(ctypes.c_uint64)(ctypes.addressof(ctypes.c_char.from_buffer(code)))

    def moment():
        """Nanoseconds and ticks, read one soon after the other."""
        while True:
            before, ticks, after = time.monotonic_ns(), rdtsc(), time.monotonic_ns()
            if after - before < 20000:
                return before, ticks

    (began, first), _, (ended, last) = moment(), time.sleep(0.03), moment()
    return (last - first) * 1_000_000 // (ended - began)


def qemu_clock(machine):
    """What the kernel would measure wrongly, by factors, where QEMU has to wait for a processor."""
    if machine.count:
        return "tsc_early_khz=1000000"
    return f"tsc_early_khz={tsc_khz()}" if os.uname().machine == "x86_64" else ""


def qemu(machine, kernel, initrd, pipes, directory):
    """Start QEMU: AMD-V by its own translator, on any machine."""
    # One thread for all processors: with one each, QEMU trips over kernels that patch their code.
    clock = ["-icount", "shift=0,sleep=off"] if machine.count else []
    command = [
        program("qemu-system-x86_64", "qemu-system-x86"), "-nodefaults", "-no-user-config", "-no-reboot",
        "-display", "none", *QEMU_MACHINE, "-accel", "tcg,thread=single", *clock,
        "-cpu", machine.model or "EPYC,+svm,+npt", "-smp", str(machine.smp), "-m", f"{machine.mem}M",
        "-kernel", kernel.image, "-initrd", initrd, "-append",
        f"{COMMAND_LINE} {qemu_clock(machine)} {machine.append}",
        "-chardev", f"serial,id=console,path={pipes.console_terminal}", "-serial", "chardev:console",
        "-chardev", f"file,id=frames,path=/dev/fd/{pipes.frames}",
        "-device", "isa-debugcon,iobase=0xe9,chardev=frames", "-device", "isa-debug-exit,iobase=0x8900,iosize=1",
    ]
    if pipes.keyboard:
        command += ["-chardev", f"serial,id=keyboard,path={pipes.keyboard}", "-serial", "chardev:keyboard"]
    if machine.debug:
        command += ["-gdb", f"unix:path={machine.debug},server=on,wait=off"]
    for disk in machine.disks:
        command += ["-drive", f"file={disk.replace(',', ',,')},if=virtio,format=raw"]
    with open(os.path.join(directory, "emulator.log"), "wb") as log:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=directory,
                                pass_fds=(pipes.frames,), preexec_fn=die_with_parent)


# The instruction rate that Bochs is told to have: emulated seconds are counted in it.
BOCHS_IPS = 100_000_000
BOCHS_MOST_MEMORY = 2048
BOCHS_MODELS = {"vmx": "corei7_skylake_x", "svm-full": "trinity_apu"}
# Its TSC counts the same. CPUID claims another rate; a kernel that believes it takes a hundred
# timer interrupts for one, each of them early.
BOCHS_COMMAND_LINE = f"tsc=reliable tsc_early_khz={BOCHS_IPS // 1000} lpj=1000000 cryptomgr.notests"

# What a host loads for its disks, by whether QEMU emulates it.
DISK_MODULES = {True: ("virtio_pci", "virtio_blk"), False: ("ata_piix", "sd_mod")}

BOCHS_RC = """\
plugin_ctrl: unmapped=1, biosdev=0, speaker=0, extfpuirq=0, parallel=0, gameport=0
config_interface: textconfig
display_library: rfb, options="timeout=0"
memory: guest={mem}, host={mem}
cpu: model={model}, count={smp}, ips={ips}, reset_on_triple_fault=0
romimage: file=/usr/share/bochs/BIOS-bochs-latest, options=fastboot
vgaromimage: file=/usr/share/vgabios/vgabios.bin
optromimage1: file={rom}, address=0xd0000
optramimage1: file={image}, address=0
com1: enabled=1, mode=term, dev={console}
{disks}
port_e9_hack: enabled=1
clock: sync=none, time0=utc
mouse: enabled=0
log: {log}
panic: action=fatal
error: action=report
info: action=ignore
debug: action=ignore
"""


def without_network():
    """In the child: the display's port is on a network of its own, where it bothers nobody."""
    if libc.unshare(CLONE_NEWNET):
        libc.unshare(CLONE_NEWUSER | CLONE_NEWNET)


def bochs_disks(machine):
    lines = [f"ata{index // 2}-{('master', 'slave')[index % 2]}: type=disk, path={disk}, mode=flat"
             for index, disk in enumerate(machine.disks)]
    if not lines:
        lines = ["ata0: enabled=0", "ata1: enabled=0"]
    return "\n".join(lines)


def bochs(machine, kernel, initrd, pipes, directory):
    """Start Bochs: VT-x, or a fuller AMD-V, by interpretation."""
    def name(what):
        return os.path.join(directory, what)

    if machine.mem > BOCHS_MOST_MEMORY:
        raise LabError(f"--mem: vmx and svm-full hosts have at most {BOCHS_MOST_MEMORY}M")
    preload.write(name("memory"), kernel, initrd, f"{COMMAND_LINE} {BOCHS_COMMAND_LINE} {machine.append}",
                  machine.mem << 20)
    rc = BOCHS_RC.format(
        mem=machine.mem, model=machine.model or BOCHS_MODELS[machine.cpu], smp=machine.smp, ips=BOCHS_IPS,
        rom=preload.rom(), image=name("memory"), console=pipes.console_terminal, disks=bochs_disks(machine),
        log=name("emulator.log"))
    if pipes.keyboard:
        rc += f"com2: enabled=1, mode=term, dev={pipes.keyboard}\n"
    debugger = name("debugger")
    if machine.debug:
        debugger, rc = machine.debug, rc + f"debugger_log: {machine.debug}.out\n"
    else:
        with open(debugger, "w") as handle:
            handle.write("c\n")
    with open(name("bochsrc"), "w") as handle:
        handle.write(rc)
    command = [program("bochs-bin", "bochs"), "-q", "-f", name("bochsrc"), "-rc", debugger]
    with open(name("emulator.err"), "wb") as log:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=pipes.frames, stderr=log, cwd=directory,
                                preexec_fn=lambda: (without_network(), die_with_parent()))


def start(machine, kernel, initrd, pipes, directory):
    emulator = qemu if machine.cpu == "svm" else bochs
    return emulator(machine, kernel, initrd, pipes, directory)
