"""Makes the weights of the embedded model alfa-mini (docs/alfa-mini.md): `python -m tools.alfa_mini`."""
