"""Runs a command and writes the largest resident set it had: python -I -S peak.py REPORT COMMAND...

A process inherits the mark of the one that started it until it has its own memory, so that of a child of a large
process says nothing; this one is small.
"""

import json
import os
import sys


def main():
    report, *command = sys.argv[1:]
    _, status, usage = os.wait4(os.posix_spawn(command[0], command, os.environ), 0)
    # Linux counts in KiB, macOS in bytes.
    size = usage.ru_maxrss if sys.platform == "darwin" else usage.ru_maxrss << 10
    with open(report, "w") as file:
        json.dump({"peak_bytes": size}, file)
    sys.exit(abs(os.waitstatus_to_exitcode(status)))


main()
