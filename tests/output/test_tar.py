"""A tar gives back what it was given, and is the same bytes for the same members."""

import io
import tarfile

from sam_batch.output.tar import tar_bytes, tar_members


def test_what_is_packed_can_be_unpacked():
    members = [("b/1.png", b"one"), ("a/ä.png", b""), (f"{'long/' * 60}0.png", b"two")]
    assert list(tar_members(tar_bytes(members))) == members


def test_a_tar_holds_its_members_in_order_without_times_and_owners():
    members = [("b/ü.jpg/0.png", b"one"), ("a" * 300, b""), ("c", b"three")]
    with tarfile.open(fileobj=io.BytesIO(tar_bytes(members))) as tar:
        read_back = [(member.name, tar.extractfile(member).read()) for member in tar]
        assert read_back == members
        assert {(member.mtime, member.uid, member.gid, member.uname) for member in tar.getmembers()} == {(0, 0, 0, "")}


def test_the_same_members_are_the_same_bytes():
    assert tar_bytes([("a/0.png", b"one")]) == tar_bytes(iter([("a/0.png", b"one")]))
