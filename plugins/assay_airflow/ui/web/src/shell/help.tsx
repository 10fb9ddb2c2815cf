import { useEffect, useRef } from "preact/hooks";
import { activeKeys } from "./keyboard";

const NAMES: Record<string, string> = { ArrowDown: "\u2193", ArrowUp: "\u2191", ArrowLeft: "\u2190", ArrowRight: "\u2192", Escape: "Esc" };

/** The keys of the page on the screen, in a modal dialog. */
export function Help(props: { close: () => void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => dialog.current?.showModal(), []);
  return (
    <dialog ref={dialog} class="help" aria-labelledby="help-title" onClose={props.close}>
      <h2 id="help-title">Keys</h2>
      <dl class="keys">
        {activeKeys().map((key) => (
          <div>
            <dt>{key.keys.map((name) => <kbd>{NAMES[name] ?? name}</kbd>)}</dt>
            <dd>{key.does}</dd>
          </div>
        ))}
      </dl>
      <p class="muted">
        The address of this page holds all that you see: share it, or go back. Licences of what is bundled:{" "}
        <code>static/licences.txt</code>.
      </p>
      <button type="button" class="button" onClick={() => dialog.current?.close()}>Close</button>
    </dialog>
  );
}
