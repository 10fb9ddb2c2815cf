"""An operator whose fields are text from outside, which Jinja must not render.

Airflow renders template fields with Jinja. In a mapped task it renders even values from an XCom, because it treats the
values of `expand_kwargs` as the DAG author's own. So a folder named `{{ macros.uuid.os.popen('id').read() }}` would run
a command.
"""

from typing import Any

import jinja2
from airflow.sdk import BaseOperator, Context
from airflow.sdk.definitions._internal.mixins import ResolveMixin


class UntemplatedOperator(BaseOperator):
    """Resolves references to XComs and params in its `template_fields`, and renders no template."""

    def render_template(
        self,
        content: Any,
        context: Context,
        jinja_env: jinja2.Environment | None = None,
        seen_oids: set[int] | None = None,
    ) -> Any:
        """The field's value: a reference is resolved, anything else is returned unchanged."""
        return content.resolve(context) if isinstance(content, ResolveMixin) else content
