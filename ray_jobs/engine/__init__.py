"""Ask a vision-language model about images: requests in, answers out, one for one."""
