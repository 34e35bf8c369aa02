"""The hashes by which other programs know a base model."""

import hashlib

from lorakiln.families.file_hashes import compute_kohya_hashes, compute_short_hash


def test_a_single_files_are_those_of_a1111(tmp_path):
    file = tmp_path / "dream.safetensors"
    file.write_bytes(bytes(range(256)) * 5000)  # more than 0x110000 bytes
    whole = hashlib.sha256(file.read_bytes()).hexdigest()
    assert compute_short_hash(str(file), "f" * 64) == whole[:10]
    old = hashlib.sha256(file.read_bytes()[0x100000:0x110000]).hexdigest()[:8]
    assert compute_kohya_hashes(str(file)) == (old, whole)
    # Another content under the same name is another model.
    file.write_bytes(b"x")
    assert compute_short_hash(str(file), "f" * 64) == hashlib.sha256(b"x").hexdigest()[:10]


def test_what_is_no_single_file_goes_by_its_identity(tmp_path):
    assert compute_short_hash(str(tmp_path), "0123456789abcdef") == "0123456789"
    assert compute_short_hash("owner/model", "0123456789abcdef") == "0123456789"
    assert compute_kohya_hashes(str(tmp_path)) == ("IsADirectory", "IsADirectory")
    assert compute_kohya_hashes("owner/model") is None
