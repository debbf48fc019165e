"""What the shop's Python modules share: how a field is checked, pages of a list, and money. No business rule is here."""
