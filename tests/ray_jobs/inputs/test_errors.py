from ray_jobs.inputs.errors import suggest


def test_a_wrong_name_gets_the_nearest_name_or_all_names() -> None:
    assert suggest("colour", ["color", "shape"]) == "; did you mean 'color'?"
    assert suggest("x", ["color", "shape"]) == "; known: color, shape"
