# SPDX-License-Identifier: GPL-2.0
"""What the benchmarks' programs share."""

import argparse


def words(allowed):
    """For argparse: a list of some of these words, with commas."""
    def parse(text):
        for word in text.split(","):
            if word not in allowed:
                raise argparse.ArgumentTypeError(f"{word} is none of {', '.join(allowed)}")
        return text.split(",")
    return parse
