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

export function Waiting(props: { what: string }) {
  return <p class="notice waiting" role="status">Loading {props.what}…</p>;
}

export function Empty(props: { children: ComponentChildren }) {
  return <p class="notice empty">{props.children}</p>;
}
