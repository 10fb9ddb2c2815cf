"""Turn the bytes of an image into an upright sRGB image on the model's patch grid, or reject them with a reason."""
