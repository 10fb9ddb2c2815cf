"""Read the bytes of many images, in order and in bounded memory."""
