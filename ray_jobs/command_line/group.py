"""A group of commands that lists its commands in the order in which they were added."""

import click


class OrderedGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)
