"""A group of commands that lists them in the order in which they were added, not by name."""

import click


class OrderedGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)
