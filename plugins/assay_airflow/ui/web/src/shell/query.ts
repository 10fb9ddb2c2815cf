// The state of a page is the query string of its URL: what a person sees can be shared, and the back button works.
import { useEffect, useState } from "preact/hooks";

export type Change = Record<string, string | string[] | null | undefined>;

const listeners = new Set<() => void>();

export function currentQuery(): URLSearchParams {
  return new URLSearchParams(window.location.search);
}

/** The query string of `base` with `change` in it: null, "" and [] take a parameter out, a list repeats it. */
export function changedQuery(change: Change, base: URLSearchParams = new URLSearchParams()): string {
  const query = new URLSearchParams(base);
  for (const [name, value] of Object.entries(change)) {
    query.delete(name);
    for (const item of Array.isArray(value) ? value : [value]) if (item) query.append(name, item);
  }
  return `?${query.toString()}`;
}

/** Go to `search` (a query string): `replace` leaves no entry in the history, as for a letter typed into a field. */
export function goTo(search: string, replace = false): void {
  if (search === window.location.search) return;
  if (replace) window.history.replaceState(null, "", search);
  else window.history.pushState(null, "", search);
  listeners.forEach((listener) => listener());
}

/** Change parameters of this page. */
export function changeState(change: Change, replace = false): void {
  goTo(changedQuery(change, currentQuery()), replace);
}

window.addEventListener("popstate", () => listeners.forEach((listener) => listener()));

/** The query string, and a render at each change of it. */
export function useQuery(): URLSearchParams {
  const [search, setSearch] = useState(window.location.search);
  useEffect(() => {
    const listener = () => setSearch(window.location.search);
    listeners.add(listener);
    listener();
    return () => void listeners.delete(listener);
  }, []);
  return new URLSearchParams(search);
}
