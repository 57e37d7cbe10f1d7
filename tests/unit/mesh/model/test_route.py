"""Header mutations."""

from mesh.model.route import HeaderMutation


def test_a_mutation_is_true_when_it_changes_anything():
    assert not HeaderMutation()
    assert HeaderMutation(remove=("x",)) and HeaderMutation(set=(("a", "b"),)) and HeaderMutation(add=(("a", "b"),))
