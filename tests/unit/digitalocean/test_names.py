"""What names at the account say, without the account."""

import pytest

from e3.digitalocean import names


@pytest.mark.parametrize(
    ("stack", "expected"),
    [
        ("do-nebula", "e3-do-nebula-0123abcd"),
        ("Team.Vote_2", "e3-team-vote-2-0123abcd"),
        (80 * "x", f"e3-{30 * 'x'}-0123abcd"),
    ],
)
def test_a_label_may_be_a_tag_and_a_bucket(stack: str, expected: str) -> None:
    label = names.label("e3", stack, "0123abcd")
    assert label == expected
    assert 3 <= len(label) <= 63  # https://docs.digitalocean.com/products/spaces/details/limits/


def test_a_droplet_is_called_by_project_host_and_digits() -> None:
    assert names.droplet("e3", "ams3-0", "e3-do-nebula-0123abcd") == "e3-ams3-0-0123abcd"


def test_leases_are_read_from_tags_and_others_left_alone() -> None:
    lease = names.Lease(label="e3-do-0123abcd", until=1795280786)
    tags = ["web", lease.label, lease.tag, "e3-do-0123abcd:spaces:ams3", "x:until:5", ":until:9"]
    assert names.leases(tags) == [lease]
    assert names.spaces_region(lease.label, tags) == "ams3"
    assert names.spaces_region("e3-do-4567abcd", tags) == ""
