from secure_ray.base.commands import command, new_keys


def test_default_cluster_is_not_named() -> None:
    assert command("up --head", "default") == "secure-ray up --head"


def test_any_other_cluster_is_named() -> None:
    assert command("down", "team-a") == "secure-ray down --cluster team-a"
    assert new_keys("b") == "secure-ray reset --cluster b, then secure-ray up --head --cluster b"
