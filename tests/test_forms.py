"""No closed form without its real class."""

from real_models import CLASSES
from test_analytic_image import FORMS as IMAGE
from test_analytic_text import NAMES as TEXT
from test_analytic_video import MODULES as VIDEO

from crosscheck.closed_form.forms import FORMS


def test_every_form_is_held_against_its_real_class():
    assert set(FORMS) == {*CLASSES, *TEXT, *VIDEO, *(name for name, _ in IMAGE)}
