"""Attempts to get out of the sandbox, and programs that use up what they can."""

# Prints "held" if `attempt` returns nothing true or raises, else what escaped.
TRY = """
import ctypes, os, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
FREE = {{"x86_64": 0, "aarch64": 1}}[os.uname().machine]
def call(x86, arm, *arguments):
    return libc.syscall((x86, arm)[FREE], *map(ctypes.c_long, arguments)) != -1
def works(function, *arguments):
    try:
        function(*arguments)
        return True
    except BaseException:
        return False
def attempt():
{body}
try:
    got = attempt()
except BaseException as error:
    got = False
print(f"escaped: {{got}}" if got else "held")
"""

# By name: the body of `attempt`.
ESCAPES = {
    "home folders": "return any(works(os.listdir, p) for p in ('/home', '/root/.ssh', '/work'))",
    "system files": "return any(os.path.exists(p) for p in ('/etc/passwd', '/etc/shadow', '/bin/sh', '/var'))",
    "environment": "return set(os.environ) - {'PYTHONHASHSEED', 'LC_CTYPE', 'PWD'}",
    "proc of its own": "return works(open, '/proc/self/mem', 'rb') or works(os.listdir, '/proc')",
    "environment of process 1": "return works(open, '/proc/1/environ', 'rb')",
    "open files of others": "return works(os.listdir, '/proc/1/fd')",
    "kernel settings": "return works(open, '/proc/sys/kernel/core_pattern', 'w') or os.path.exists('/sys')",
    "devices": "return os.path.exists('/dev') or works(os.mknod, 'disk', 0o60600, os.makedev(8, 0))",
    "inherited descriptors": "return [fd for fd in range(3, 2000) if works(os.fstat, fd)]",
    "source not sealed": "return works(os.write, 0, b'x') or works(os.ftruncate, 0, 2**20)",
    "write to the libraries": "return works(open, os.__file__, 'r+') or works(open, os.path.dirname(os.__file__) + '/x', 'w')",
    "write to the root": "return works(open, '/x', 'w') or works(os.mkdir, '/usr/x') or works(os.remove, '/lib')",
    "symbolic link": "return works(os.symlink, '/', 'root')",
    "hard link": "return works(os.link, os.__file__, 'os.py')",
    "out through dots": "return set(os.listdir('../../../..')) - {'etc', 'lib', 'lib64', 'root', 'tmp', 'usr', 'home', 'opt', 'nix'}",
    "packages": "import pytest; return True",
    "the project": "import score_ray; return True",
    "fork": "return works(os.fork)",
    "fork past the library": "return call(57, 9999) or call(58, 9999) or call(56, 220, 17, 0, 0, 0, 0)",
    "clone3": "return call(435, 435, ctypes.addressof(ctypes.create_string_buffer(88)), 88)",
    "process by clone with thread flags and more": "return call(56, 220, 0x3D0F00 | 0x10000000, 0, 0, 0, 0)",
    "another program": "os.execv(sys.executable, ['python', '-c', 'print(1)'])",
    "spawn": "import subprocess; return works(subprocess.run, [sys.executable, '-c', ''])",
    "multiprocessing": "import multiprocessing; return works(multiprocessing.Process(target=print).start)",
    "signal to process 1": "return works(os.kill, 1, 0) or works(os.kill, 1, 9)",
    "signal to all": "return works(os.kill, -1, 0) or works(os.killpg, 0, 0)",
    "signal to its parent": "return works(os.kill, os.getppid(), 0)",
    "signal to any process": "return any(works(os.kill, pid, 0) for pid in range(2, 5000))",
    "signal by descriptor": "return works(os.pidfd_open, 1)",
    "stop itself": "return works(os.kill, os.getpid(), 19)",
    "trace": "return call(101, 117, 0, 0, 0, 0) or call(101, 117, 16, 1, 0, 0)",
    "memory of others": "return call(310, 270, 1, 0, 0, 0, 0, 0) or call(311, 271, 1, 0, 0, 0, 0, 0)",
    "network": "return works(socket.socket)",
    "unix socket": "return works(socket.socket, socket.AF_UNIX)",
    "netlink": "return works(socket.socket, socket.AF_NETLINK, socket.SOCK_RAW)",
    "bind a pair to a name": "return works(socket.socketpair()[0].bind, b'\\0name')",
    "send descriptors": "a, b = socket.socketpair(); return works(socket.send_fds, a, [b'x'], [0])",
    "mount": "return libc.mount(b'none', b'/tmp', b'tmpfs', 0, None) == 0",
    "unmount": "return libc.umount2(b'/tmp', 2) == 0",
    "root of its own": "return works(os.chroot, '/tmp') or call(155, 41, 0, 0)",
    "new user namespace": "return libc.unshare(0x10000000) == 0",
    "other namespaces": "return libc.setns(0, 0) == 0",
    "become root": "return works(os.setuid, 0) or works(os.setresuid, 0, 0, 0) or os.getuid() == 0",
    "set groups": "return works(os.setgroups, [0]) or works(os.setgid, 0)",
    "capabilities": "return call(126, 91, 0, 0)",
    "outlive its parent": "return libc.prctl(1, 0, 0, 0, 0) == 0",
    "control group memory": "return works(open, '/sys/fs/cgroup/memory.max', 'w')",
    "lift limits": "import resource; return any(works(resource.setrlimit, r, (-1, -1)) for r in (resource.RLIMIT_AS, resource.RLIMIT_CPU, resource.RLIMIT_NPROC))",
    "shared memory": "return call(29, 194, 0x1234, 4096, 0o1666) or call(68, 186, 0x1234, 0o1666)",
    "file in memory": "return works(os.memfd_create, 'x')",
    "watch files": "return call(253, 9999) or call(294, 26, 0)",
    "io_uring": "return call(425, 425, 8, ctypes.addressof(ctypes.create_string_buffer(120)))",
    "bpf and perf": "return call(321, 280, 0, 0, 0) or call(298, 241, 0, 0, -1, -1, 0)",
    "keys": "return call(250, 219, 0, -3, 1) or call(248, 217, 0, 0, 0, 0, -3)",
    "page faults": "return call(323, 282, 0)",
    "open by handle": "return call(304, 265, -100, 0, 0) or call(303, 264, -100, 0, 0, 0, 0)",
    "kernel modules": "return call(175, 105, 0, 0, 0) or call(246, 104, 0, 0, 0, 0)",
    "clock and name": "return call(227, 112, 0, 0) or works(socket.sethostname, 'mine')",
    "reboot": "return call(169, 142, 0xFEE1DEAD, 672274793, 0, 0)",
    "terminal": "return works(open, '/dev/tty') or call(16, 29, 0, 0x5412, 0)",
    "calls of the x32 table": "return FREE == 0 and call(0x40000000 + 57, 0)",
}

GREEDY = {
    "memory": "x = [0]\nwhile True: x += x",
    "one block of memory": "bytearray(2**34)",
    "mapped memory": "import mmap\nkept = []\nwhile True: kept.append(mmap.mmap(-1, 2**24))",
    "recursion": "import sys\nsys.setrecursionlimit(10**9)\ndef f(): return f() + 1\nf()",
    "recursion in C": "x = []\nfor _ in range(10**6): x = [x]\nimport sys\nsys.setrecursionlimit(10**9)\nhash(repr(x))",
    "a file": "f = open('x', 'wb')\nwhile True: f.write(bytes(2**16))",
    "many files": "n = 0\nwhile True:\n    n += 1\n    f = open(str(n), 'wb')\n    f.write(bytes(2**14))\n    f.close()",
    "descriptors": "import os\nwhile True: os.pipe()",
    "threads": "import threading, time\nthreading.stack_size(2**15)\nwhile True: threading.Thread(target=time.sleep, args=(9,), daemon=True).start()",
    "zip bomb": "import zlib\nx = zlib.compress(bytes(2**20))\nfor _ in range(9): x = b''.join([x] * 999)\n",
    "power": "print(len(str(10 ** 10 ** 10)))",
    "crash": "import ctypes\nctypes.string_at(0)",
    "abort": "import os\nos.abort()",
}
