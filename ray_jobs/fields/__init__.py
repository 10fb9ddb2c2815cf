"""Fields: values that a suite asks for per image, beside or instead of a plain caption. A JSON schema names them."""
