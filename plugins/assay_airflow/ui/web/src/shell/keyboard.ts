// Keys of a page: each page names what it listens to, and the help lists exactly that.
import { useEffect, useRef } from "preact/hooks";

export interface Key {
  keys: string[]; // as KeyboardEvent.key names them
  does: string;
  run: () => void;
}

const registered = new Set<{ current: Key[] }>();

/** All keys that the pages on the screen listen to, for the help. */
export function activeKeys(): Key[] {
  return [...registered].flatMap((keys) => keys.current);
}

function typesText(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && target.matches("input:not([type=checkbox]), select, textarea");
}

/** Enter and space belong to the link or button that has the focus. */
function actsItself(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && target.matches("a, button, summary, [role=button], [role=slider]");
}

/** Listen to `keys` while the component stands; a key that types text or has a modifier is left alone. */
export function useKeys(keys: Key[]): void {
  const latest = useRef(keys);
  latest.current = keys;
  useEffect(() => {
    registered.add(latest);
    const listen = (event: KeyboardEvent) => {
      if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
      if (typesText(event.target)) {
        if (event.key === "Escape") (event.target as HTMLElement).blur();
        return;
      }
      if ((event.key === "Enter" || event.key === " ") && actsItself(event.target)) return;
      if (event.key !== "?" && document.querySelector("dialog.help[open]")) return; // the page behind stays as it is
      const key = latest.current.find((candidate) => candidate.keys.includes(event.key));
      if (!key) return;
      if (event.key !== "Escape") event.preventDefault(); // the browser closes the dialog itself
      key.run();
    };
    window.addEventListener("keydown", listen);
    return () => {
      registered.delete(latest);
      window.removeEventListener("keydown", listen);
    };
  }, []);
}

/** Put the focus into the page's text filter. */
export function focusSearch(): void {
  document.querySelector<HTMLInputElement>("input[type=search]")?.focus();
}
