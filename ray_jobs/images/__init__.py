"""Bytes in, an upright sRGB image on the model's patch grid out, or a reason why not."""
