// Questions to the server. URLs are relative, so that a reverse proxy's prefix works.
import { useEffect, useRef, useState } from "preact/hooks";

export class AnswerError extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

/** The JSON answer to `path`; raises AnswerError with the server's own line. */
export async function fetchJson<T>(path: string, signal?: AbortSignal): Promise<T> {
  let response: Response;
  try {
    response = await fetch(path, { signal, headers: { Accept: "application/json" } });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new AnswerError(0, "Airflow's API server cannot be reached. Try again.");
  }
  if (response.ok) return (await response.json()) as T;
  if (response.status === 401) throw new AnswerError(401, "You are logged out. Log in to Airflow, then reload this page.");
  let detail: unknown;
  try {
    detail = ((await response.json()) as { detail?: unknown }).detail;
  } catch {
    detail = null;
  }
  throw new AnswerError(response.status, typeof detail === "string" ? detail : `The server answered ${response.status}.`);
}

export interface Answer<T> {
  value: T | null; // the last value stays while the next one loads
  path: string | null; // the question that `value` answers
  error: AnswerError | null;
  loading: boolean;
}

/** The answer to `path`, asked again when it changes and after `everySeconds(value)`; null asks nothing. */
export function useAnswer<T>(path: string | null, everySeconds?: (value: T) => number): Answer<T> & { retry: () => void } {
  const [answer, setAnswer] = useState<Answer<T>>({ value: null, path: null, error: null, loading: path !== null });
  const [turn, setTurn] = useState(0);
  const interval = useRef(everySeconds);
  interval.current = everySeconds;
  useEffect(() => {
    if (path === null) return;
    const abort = new AbortController();
    let timer: number | undefined;
    const ask = () =>
      fetchJson<T>(path, abort.signal).then(
        (value) => {
          setAnswer({ value, path, error: null, loading: false });
          if (interval.current) timer = window.setTimeout(askWhenSeen, interval.current(value) * 1000);
        },
        (error: unknown) => {
          if (abort.signal.aborted) return;
          const line = error instanceof AnswerError ? error : new AnswerError(0, String(error));
          setAnswer((last) => ({ ...last, path, error: line, loading: false }));
          if (interval.current) timer = window.setTimeout(askWhenSeen, 30_000);
        },
      );
    // A tab in the background asks nothing.
    const askWhenSeen = () => {
      if (document.hidden) timer = window.setTimeout(askWhenSeen, 5_000);
      else void ask();
    };
    setAnswer((last) => ({ ...last, error: null, loading: true }));
    void ask();
    return () => {
      abort.abort();
      window.clearTimeout(timer);
    };
  }, [path, turn]);
  return { ...answer, retry: () => setTurn(turn + 1) };
}

/** `path?name=value&...` without the parameters that are empty. */
export function pathWith(path: string, parameters: Record<string, string | string[] | number | null | undefined>): string {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    for (const item of Array.isArray(value) ? value : [value]) {
      if (item !== null && item !== undefined && item !== "") query.append(name, String(item));
    }
  }
  return `${path}?${query.toString()}`;
}
