"""Checks a recording against the claims of a ledger, with nothing but the standard library.

    python3 recording.py recording.rec recording.json
"""

import hashlib
import hmac
import json
import struct
import sys


def leaf(salt, data):
    entry = hmac.new(salt, data, hashlib.sha256).digest()
    return hashlib.sha256(b"\x00" + entry).digest()


def root(leaves):
    """RFC 6962, section 2.1."""
    if len(leaves) == 1:
        return leaves[0]
    split = 1 << ((len(leaves) - 1).bit_length() - 1)
    return hashlib.sha256(b"\x01" + root(leaves[:split]) + root(leaves[split:])).digest()


def pieces(data):
    """The header, then each frame."""
    assert data[:8] == b"LOGGIARC" and data[8] == 1, "no recording of version 1"
    end = 10 + data[9] + 32 + 8
    begin = 0
    while True:
        yield data[begin:end]
        if end == len(data):
            return
        begin, end = end, end + 13 + struct.unpack(">I", data[end:end + 4])[0]
        assert end <= len(data), f"the frame at byte {begin} is torn"


def check(data, ledger):
    salt = bytes.fromhex(ledger["salt"])
    parts = list(pieces(data))
    named = 10 + len(ledger["session"])
    assert parts[0][10:named].decode() == ledger["session"], "of another session"
    committed = hmac.new(salt, b"loggia.recording.v1", hashlib.sha256).digest()
    assert parts[0][named:named + 32] == committed, "made with another salt"
    leaves = [leaf(salt, part) for part in parts]
    for claim in ledger["claims"]:
        count = claim["frames"] + 1
        assert len(leaves) >= count, "cut short"
        assert sum(map(len, parts[:count])) == claim["bytes"], f"frame {claim['frames']} ends elsewhere"
        assert root(leaves[:count]).hex() == claim["root"], f"altered before the end of frame {claim['frames']}"
    return len(parts) - 1


if __name__ == "__main__":
    with open(sys.argv[1], "rb") as recording, open(sys.argv[2]) as ledger:
        try:
            print(f"intact: {check(recording.read(), json.load(ledger))} frames")
        except AssertionError as wrong:
            sys.exit(f"altered: {wrong}")
