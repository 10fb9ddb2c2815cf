"""Fields: what a suite wants said of each image beside, or instead of, a plain caption. A JSON schema names them."""
