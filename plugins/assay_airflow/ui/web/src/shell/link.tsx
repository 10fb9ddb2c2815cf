// A link to another state or page of this app, without loading the document again.
import type { ComponentChildren } from "preact";
import { changedQuery, type Change, goTo } from "./query";

export function Link(props: { to: Change; class?: string; title?: string; current?: boolean; children: ComponentChildren }) {
  const search = changedQuery(props.to);
  const follow = (event: MouseEvent) => {
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.button !== 0) return;
    event.preventDefault();
    goTo(search);
    window.scrollTo(0, 0);
  };
  return (
    <a href={search} class={props.class} title={props.title} aria-current={props.current ? "page" : undefined} onClick={follow}>
      {props.children}
    </a>
  );
}
