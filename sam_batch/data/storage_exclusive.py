"""Giving a finished file a name that nobody has: of any number of racing callers exactly one succeeds.

Whatever way is taken, the file was whole and durable before, and its name appears by one step of the file system:

1. By a hard link, which fails if the name is taken.
2. Where there are no links, as on FAT, exFAT, SMB and many FUSE mounts: by a rename that replaces nothing. The file
   system does it in one step; on SMB it is the server that refuses.
3. Where there is neither: by a look and a rename under a lock that all callers share. The kernel takes the lock from
   a holder that dies, so nothing is left behind. A name claimed by `O_EXCL` would be: somebody would have to judge a
   claim stale, and if its owner was only slow, it would later replace a file that had been put there meanwhile.

The first two exclude each other; the third excludes its own kind, on one machine and wherever else the file system
carries locks. It makes no file durable and no folder.
"""

import ctypes
import errno
import fcntl
import logging
import os

_UNSUPPORTED = {  # as file systems without links, or kernels without the call, put it; some say "not permitted"
    errno.ENOSYS,
    errno.EOPNOTSUPP,
    errno.ENOTSUP,
    errno.EINVAL,
    errno.EMLINK,
    errno.EPERM,
    errno.EACCES,
}
_AT_FDCWD = -100
_RENAME_NOREPLACE = 1
_log = logging.getLogger(__name__)


def put_exclusively(source: str, name: str, lock: str) -> None:
    """Move a file, or link it: it has the new name afterwards, and perhaps the old one too.

    Args:
        source: The file, with a name that only the caller knows, on the same file system.
        name: The name it gets, if nobody has it.
        lock: Of a file for all callers' lock, made when it is needed; it stays.

    Raises:
        FileExistsError: The name is taken.
        OSError: It cannot be done, for another reason or in none of the three ways.
    """
    for way in (_link, _rename_without_replacing):
        try:
            return way(source, name)
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
    return _rename_under_lock(source, name, lock)


def _link(source: str, name: str) -> None:
    try:
        os.link(source, name)
    except FileExistsError:
        # A network file system asks again where an answer got lost, and then finds the name taken by ourselves.
        if not os.path.samestat(os.stat(source), os.lstat(name)):
            raise


def _rename_without_replacing(source: str, name: str) -> None:
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:  # not Linux, or not with glibc
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if renameat2(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(name), _RENAME_NOREPLACE) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), source, None, name)


def _rename_under_lock(source: str, name: str, lock: str) -> None:
    _log.warning(
        "%s: its file system has neither hard links nor exclusive renames, so a lock keeps workers apart: work on it "
        "from one machine, unless its locks hold for all",
        os.path.dirname(lock),
    )
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.path.lexists(name):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name)
        os.rename(source, name)
    finally:
        os.close(descriptor)
