"""JSON that was damaged."""

import pytest

from lorakiln.artefacts.json_files import Damaged, iterate_jsonl, read_json, read_jsonl
from lorakiln.console.errors import UserError


@pytest.mark.parametrize("content", [b"{", b"\xff", b""])
def test_damaged_json_is_told_by_its_name(tmp_path, content):
    path = tmp_path / "facts.json"
    path.write_bytes(content)
    with pytest.raises(Damaged, match="facts.json: damaged") as caught:
        read_json(path)
    assert isinstance(caught.value, UserError) and caught.value.fix


def test_damaged_lines(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"a": 1}\n\n{"a":')
    with pytest.raises(Damaged, match="rows.jsonl"):
        read_jsonl(tmp_path / "rows.jsonl")
    one_by_one = iterate_jsonl(tmp_path / "rows.jsonl")
    assert next(one_by_one) == {"a": 1}  # before the next is read
    with pytest.raises(Damaged, match="rows.jsonl"):
        next(one_by_one)


def test_what_is_missing_or_of_another_shape_is_told_with_the_file(tmp_path):
    file = tmp_path / "facts.json"
    with pytest.raises(UserError, match=r"facts.json: no such file\n.*dvc repro"):
        read_json(file)
    for text in ("[]", "3", "[" * 100_000):
        file.write_text(text)
        with pytest.raises(Damaged, match=r"facts.json: damaged .*\n.*dvc repro -f"):
            read_json(file)
    file.write_text("{}")
    with pytest.raises(Damaged, match="nothing about 'pictures' in it"):
        read_json(file)["pictures"]
    file.write_text('{"a": 1}\n2\n')
    with pytest.raises(Damaged):
        read_jsonl(file)
