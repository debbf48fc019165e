"""The texts that customers get, and how their places are filled."""

import re
import unicodedata
from dataclasses import dataclass

from notifications.models.notification import Field
from shop_common.fields import Invalid, byte_length

# The longest value of a place, in bytes.
MAX_VALUE = 256


@dataclass(frozen=True)
class Template:
    """A text with places, each `{name}`. The names are sorted."""

    name: str
    places: tuple[str, ...]
    text: str

    def arrange(self, fields: list[Field]) -> list[Field]:
        """Puts the fields in the order of the places. There is one for each place and no other."""
        for index, field in enumerate(fields):
            if field.name not in self.places:
                raise Invalid(f"fields[{index}].name", f"must be one of: {', '.join(self.places)}")
            if any(other.name == field.name for other in fields[:index]):
                raise Invalid(f"fields[{index}].name", "must not be given twice")
            if byte_length(field.value) > MAX_VALUE:
                raise Invalid(f"fields[{index}].value", f"must not be longer than {MAX_VALUE} bytes")
            # So that a notice is one line of the log, and one line of the database per field.
            if any(unicodedata.category(char) == "Cc" for char in field.value):
                raise Invalid(f"fields[{index}].value", "must not have control characters")
        by_name = {field.name: field for field in fields}
        for place in self.places:
            if place not in by_name:
                raise Invalid("fields", f"must have a field named {place}")
        return [by_name[place] for place in self.places]

    def render(self, fields: list[Field]) -> str:
        """The text with its places filled. What a value says is never read as a place again."""
        values = {field.name: field.value for field in fields}
        return re.sub(r"\{([^}]*)\}", lambda place: values[place[1]], self.text)


TEMPLATES = [
    Template("order-placed", ("order", "total"), "Thank you! Your order {order} over {total} was placed."),
    Template(
        "order-cancelled",
        ("order", "total"),
        "Your order {order} over {total} was cancelled. What was charged is given back.",
    ),
]


def find(name: str) -> Template:
    """The template of this name."""
    for template in TEMPLATES:
        if template.name == name:
            return template
    raise Invalid("template", f"must be one of: {', '.join(template.name for template in TEMPLATES)}")
