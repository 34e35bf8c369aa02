"""clip_skip counts as A1111 and sd-scripts do."""

import pytest

from lorakiln.console.errors import ConfigError
from lorakiln.schema.base import check
from lorakiln.schema.encode import EncodeSettings


def test_clip_skip_counts_from_one_and_what_it_was_is_told():
    assert EncodeSettings().clip_skip == check(EncodeSettings, {"clip_skip": 1}).clip_skip == 1
    with pytest.raises(ConfigError, match=r"1 is the last layer, 2 the one before \(what was 0 is 1, and 1 is 2\)"):
        check(EncodeSettings, {"clip_skip": 0})


@pytest.mark.parametrize("value", [-1, 13, True, False, "1", 1.5, None])
def test_what_is_no_layer_is_refused(value):
    with pytest.raises(ConfigError, match="clip_skip"):
        check(EncodeSettings, {"clip_skip": value})
