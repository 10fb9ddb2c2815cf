"""An operator whose fields are text from outside, which no template engine may see.

Airflow renders template fields with jinja. In a mapped task it renders even what an XCom brought, because it takes the
values of `expand_kwargs` for the DAG author's own. A folder named `{{ macros.uuid.os.popen('id').read() }}` would be
a command then.
"""

from typing import Any

import jinja2
from airflow.sdk import BaseOperator, Context
from airflow.sdk.definitions._internal.mixins import ResolveMixin


class UntemplatedOperator(BaseOperator):
    """Takes the values that XComs and params bring for its `template_fields`, and renders nothing."""

    def render_template(
        self,
        content: Any,
        context: Context,
        jinja_env: jinja2.Environment | None = None,
        seen_oids: set[int] | None = None,
    ) -> Any:
        """The field's value: what a reference leads to, anything else as it is."""
        return content.resolve(context) if isinstance(content, ResolveMixin) else content
