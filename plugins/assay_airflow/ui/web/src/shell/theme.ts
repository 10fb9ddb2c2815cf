// Light or dark as Airflow is: its colour mode lies in this origin's localStorage, and a change of it arrives as an event.

const KEY = "theme"; // as next-themes, which Airflow's pages use, names it

function wantedTheme(): "light" | "dark" {
  let stored: string | null = null;
  try {
    stored = window.localStorage.getItem(KEY);
  } catch {
    // Storage is closed to this page: follow the browser.
  }
  if (stored === "light" || stored === "dark") return stored;
  return window.matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
}

/** Set the class `dark` or `light` on the document, now and whenever Airflow's mode or the system's changes. */
export function followTheme(): void {
  const apply = () => {
    const theme = wantedTheme();
    document.documentElement.classList.toggle("dark", theme === "dark");
    document.documentElement.classList.toggle("light", theme === "light");
  };
  apply();
  window.addEventListener("storage", apply);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", apply);
}
