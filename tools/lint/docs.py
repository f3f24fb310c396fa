# SPDX-License-Identifier: GPL-2.0
"""The rule that what the docs name is there: files, functions and other names, tests, targets, options, numbers.

Looked at is what stands in backquotes or behind a link, outside blocks of code, and the options
of the man page. Names that are not mote's own are in `allowed`.
"""

import fnmatch
import os
import re

FILE = re.compile(r"(?:[\w.*-]+/)+[\w.*-]*|[\w*.-]+\.(?:c|h|S|py|md|json|asl)")
NAME = re.compile(r"(?<![\w-])(?:\w*[a-z0-9A-Z]_\w*|_[A-Z]\w+)(?![\w…*.(])")
CALL = re.compile(r"(\w+)\(\)")
TEST = re.compile(r"(\w+)[/:](\w+)(?:: (.+))?")
UNIT_TESTS = re.compile(r'\{ "[^"]+", (\w+)[ ,]')
ROW = re.compile(r"^\| \d[^|]*\|.*$", re.MULTILINE)
TESTS_OF_C = re.compile(r"^TEST\w*\((?:\w+, )?(\w+)[,)]", re.MULTILINE)
MAKE = re.compile(r"(?:\w+=\S+ )*make((?: [a-z-]+)+)")
NUMBER = re.compile(r"`(MOTE_\w+)` (?:is |\()(\d+)")


class Docs:
    """The docs of a tree, and what they may name."""

    def __init__(self, tree):
        self.tree = tree
        self.files, self.docs, self.text = set(), {}, {}
        for folder, folders, names in os.walk(tree.root):
            folders[:] = set(folders) - {".git", "build", "__pycache__"}
            self.files.update(os.path.relpath(os.path.join(folder, name), tree.root) for name in [*names, *folders])
        for path in self.files:
            name = os.path.join(tree.root, path)
            # Lint's own files name what is not there.
            if os.path.isfile(name) and not path.endswith((".o", ".ko", ".svg")) and not path.startswith("tools/lint/"):
                with open(name, errors="replace") as handle:
                    kind = self.docs if path.endswith((".md", ".1")) else self.text
                    kind[path] = handle.read()
        code = [re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL) if path.endswith((".c", ".h", ".S")) else text
                for path, text in self.text.items()]
        self.words = set(re.findall(r"\w+", "\n".join(code)))
        self.calls = set(re.findall(r"(\w+)\(", "\n".join(code)))
        self.endings = {word[at.start():] for word in self.words for at in re.finditer("_", word)}
        self.limits = self.text["uapi/linux/mote.h"] + self.text["kmod/mote.h"]
        self.targets = set(" ".join(re.findall(r"^([a-z -]+):", self.text["Makefile"], re.MULTILINE)).split())

    def has_file(self, name):
        """A path from the root or from docs/, or the end of a path (dev/serial.c, vmenter_*.S)."""
        name = os.path.normpath(re.sub(r"^(\.\./)+", "", name))
        return name.startswith("build/") or any(fnmatch.fnmatch(path, pattern) for path in self.files
                                                for pattern in (name, "*/" + name))

    def has_tests(self, collection, program, tests):
        is_unit = collection == "unittests"
        path = f"unittests/{program}.c" if is_unit else f"selftests/{collection}/{program}.c"
        names = (UNIT_TESTS if is_unit else TESTS_OF_C).findall(self.text.get(path, ""))
        wanted = tests.split(", ") if tests else []
        return path in self.files and all(fnmatch.filter(names, test.replace("…", "*")) for test in wanted)

    def missing(self, words):
        """What is not there of that which stands between two backquotes."""
        first, *rest = words.split()
        words = " ".join([first, *rest])
        make, test = MAKE.fullmatch(words), TEST.fullmatch(words)
        is_test = test and (test[1] == "unittests" or f"selftests/{test[1]}/Makefile" in self.files)
        if is_test and not self.has_file(words):
            return [] if self.has_tests(*test.groups()) else [words]
        if make:
            return [target for target in make[1].split() if target not in self.targets]
        gone = []
        if FILE.fullmatch(first):
            gone = [] if self.has_file(first) else [first]
            gone += [word for word in rest if re.fullmatch("--(?!help)[a-z-]+", word)
                     and word not in self.text.get(first, word)]
        gone += [name for name in CALL.findall(words) if name not in self.calls]
        return gone + [name for name in NAME.findall(words) if name not in self.words | self.endings]

    def numbers(self, text):
        """Those that are not as the code defines them."""
        for name, number in NUMBER.findall(text):
            if f"#define {name} " in self.limits and not re.search(rf"#define {name} {number}\b", self.limits):
                yield f"{name} {number}"

    def man_options(self, text):
        runner = "".join(code for path, code in self.text.items() if path.startswith("userspace/"))
        return [f"--{name}" for name in set(re.findall(r"\bFl -([a-z][\w-]*)", text)) if f'"{name}' not in runner]

    def check(self, path, number, gone):
        for name in gone:
            self.tree.breach("docs", path, number, "there is nothing of this name", name)


def rule_docs(tree):
    """What the docs name is in the tree."""
    docs = Docs(tree)
    for path, text in sorted(docs.docs.items()):
        if path.endswith(".1"):
            docs.check(path, 1, docs.man_options(text))
            continue
        text = re.sub(r"^(    +\S|```).*$", "", text, flags=re.MULTILINE)
        for match in re.finditer(r"`([^`]+)`|\]\(([^):#]+)[^)]*\)", text):
            number = text.count("\n", 0, match.start()) + 1
            gone = docs.missing(match[1]) if match[1] else [] if docs.has_file(match[2]) else [match[2]]
            docs.check(path, number, gone)
        docs.check(path, 1, docs.numbers(text))


def rule_rows(tree):
    """Each row of docs/virtio.md that is about something that is offered names a test."""
    path = "docs/virtio.md"
    with open(os.path.join(tree.root, path)) as handle:
        text = handle.read()
    for match in ROW.finditer(text):
        last = match[0].split("|")[-2]
        if "| not offered: " not in match[0] and not re.search(r"`(?:unittests|boot|life)/\w+", last):
            tree.breach("rows", path, text.count("\n", 0, match.start()) + 1, "no test", match[0][:60])
