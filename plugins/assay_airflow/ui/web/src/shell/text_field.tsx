// A field whose text goes into the URL a moment after the last letter, so that not each letter asks the server.
import { useEffect, useRef, useState } from "preact/hooks";

const PAUSE_MS = 250;

export function TextField(props: {
  label: string;
  value: string;
  change: (value: string) => void;
  type?: "search" | "text" | "number";
  placeholder?: string;
}) {
  const [text, setText] = useState(props.value);
  const timer = useRef<number | undefined>(undefined);
  useEffect(() => setText(props.value), [props.value]);
  useEffect(() => () => window.clearTimeout(timer.current), []);
  const input = (event: Event) => {
    const value = (event.currentTarget as HTMLInputElement).value;
    setText(value);
    window.clearTimeout(timer.current);
    timer.current = window.setTimeout(() => props.change(value.trim()), PAUSE_MS);
  };
  return (
    <label class="field">
      <span>{props.label}</span>
      {props.type === "number" ? (
        <input type="number" step="any" value={text} onInput={input} />
      ) : props.type === "search" ? (
        <input type="search" value={text} maxLength={500} placeholder={props.placeholder} autocomplete="off" onInput={input} list={undefined} />
      ) : (
        <input type="text" value={text} maxLength={500} placeholder={props.placeholder} autocomplete="off" onInput={input} list={undefined} />
      )}
    </label>
  );
}

export function Choice(props: {
  label: string;
  value: string;
  options: [value: string, label: string][];
  change: (value: string) => void;
}) {
  return (
    <label class="field">
      <span>{props.label}</span>
      <select value={props.value} onChange={(event) => props.change(event.currentTarget.value)}>
        {props.options.map(([value, label]) => <option value={value} selected={value === props.value}>{label}</option>)}
      </select>
    </label>
  );
}
