import inspect

import pytest

from edgeface import errors


def test_every_error_is_an_edgeface_error_and_is_drawn_in_the_docstring() -> None:
    classes = [value for _, value in inspect.getmembers(errors, inspect.isclass)]
    assert sorted(c.__name__ for c in classes) == sorted(errors.__all__)
    for error in classes:
        assert issubclass(error, errors.EdgeFaceError)
        assert error.__name__ in (errors.__doc__ or "")
        assert error.__doc__


def test_a_bad_argument_is_also_a_value_error() -> None:
    with pytest.raises(ValueError, match="max_faces"):
        raise errors.ArgumentError("max_faces must be above 0")
