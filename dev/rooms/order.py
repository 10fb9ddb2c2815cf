"""The rooms of this repository, lowest first. A room imports only rooms that stand before it."""

ORDER: tuple[str, ...] = ()
PUBLIC_MODULES: tuple[str, ...] = ()  # files at the top of ray_jobs/ that are no programs, and are meant for users
