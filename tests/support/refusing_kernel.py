"""A kernel that refuses system calls to this process, as it does on file systems that lack them."""

from __future__ import annotations

import ctypes
import os
import platform

# What the kernel calls them, by machine, and the argument with the flags of a mapping.
_NUMBERS = {
    "x86_64": {
        "mmap": 9,
        "flock": 73,
        "clock_getres": 229,
        "renameat": 264,
        "fallocate": 285,
        "prlimit64": 302,
    },
    "aarch64": {
        "mmap": 222,
        "flock": 32,
        "clock_getres": 114,
        "renameat": 38,
        "fallocate": 47,
        "prlimit64": 261,
    },
}[platform.machine()]
_FLAGS = 3

_PR_SET_SECCOMP, _FILTER = 22, 2
_PR_SET_NO_NEW_PRIVS = 38
_LOAD, _IF_EQUAL, _IF_ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06
_ALLOW, _FAIL = 0x7FFF0000, 0x00050000
_MAP_SHARED = 1


class _Instruction(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_ushort),
        ("if_true", ctypes.c_ubyte),
        ("if_false", ctypes.c_ubyte),
        ("operand", ctypes.c_uint32),
    )


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.POINTER(_Instruction)))


def refuse(call: str, code: int) -> None:
    """Have a system call fail with an error number from now on: mmap only for shared mappings."""
    # Of the arguments, which begin behind 16 bytes, the lower half is looked at.
    bits = _MAP_SHARED if call == "mmap" else 0
    program = [
        (_LOAD, 0, 0, 0),
        (_IF_EQUAL, 0, 3 if bits else 1, _NUMBERS[call]),
        *([(_LOAD, 0, 0, 16 + 8 * _FLAGS), (_IF_ANY_BIT, 0, 1, bits)] if bits else []),
        (_RETURN, 0, 0, _FAIL | code),
        (_RETURN, 0, 0, _ALLOW),
    ]
    instructions = (_Instruction * len(program))(*(_Instruction(*line) for line in program))
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    for arguments in (
        (_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
        (_PR_SET_SECCOMP, _FILTER, ctypes.byref(_Program(len(program), instructions)), 0, 0),
    ):
        if prctl(*arguments) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
