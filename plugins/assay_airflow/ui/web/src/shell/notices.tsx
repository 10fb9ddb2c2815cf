// What a page shows while it waits, when the server refuses, and when there is nothing.
import type { ComponentChildren } from "preact";
import type { AnswerError } from "./api";

export function ErrorLine(props: { error: AnswerError; retry: () => void }) {
  return (
    <p class="notice fail" role="alert">
      {props.error.message}{" "}
      <button type="button" class="button small" onClick={props.retry}>Try again</button>
    </p>
  );
}

/** What the server could not read: the rest of the page stands. */
export function Problems(props: { lines: string[] | undefined; title?: string; tone?: string }) {
  if (!props.lines?.length) return null;
  return (
    <section class={`notice ${props.tone ?? "unsure"}`} role="note">
      <h2>{props.title ?? "Not all could be read"}</h2>
      <ul>{props.lines.slice(0, 50).map((line) => <li>{line}</li>)}</ul>
    </section>
  );
}

export function Waiting(props: { what: string }) {
  return <p class="notice waiting" role="status">Loading {props.what}…</p>;
}

export function Empty(props: { children: ComponentChildren }) {
  return <p class="notice empty">{props.children}</p>;
}
