"""No closed form without its real class."""

from closed_forms import IMAGE, TEXT, VIDEO
from real_models import CLASSES

from crosscheck.closed_form.forms import FORMS


def test_every_form_is_held_against_its_real_class():
    assert set(FORMS) == {*CLASSES, *TEXT, *VIDEO, *(name for name, _ in IMAGE)}
