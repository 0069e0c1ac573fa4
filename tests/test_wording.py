"""Parts of messages: lists that end in time, and words that may have been meant."""

from __future__ import annotations

from dask_dl.wording import and_more, closest, listed


def test_a_list_ends_in_time_and_says_how_many_there_are():
    assert listed(["a", "b"]) == "'a', 'b'"
    assert listed(range(5), 2, str) == "0, 1 and 3 more"
    assert listed([], 2) == "" and and_more(range(12), 12) == "" and and_more(range(2012), 12) == " and 2,000 more"


def test_the_closest_word_is_found_unless_all_are_far():
    assert closest("hiden", ["hidden", "epochs"]) == "hidden"
    assert closest("zzz", ["hidden", "epochs"]) is None
    assert closest("zzz", ["hidden", "epochs"], cutoff=0) in ("hidden", "epochs")
    assert closest("hidden", iter(["hide", "hidden"])) == "hidden"
